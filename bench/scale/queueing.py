"""Queueing formulas: how long requests wait at `servers` that are busy for `service_ms` with each.

Erlang's delay formula (A. K. Erlang 1917; L. Kleinrock, Queueing Systems, Volume 1, Wiley 1975, section 3.5) with the
correction of Allen and Cunneen for service times that are not exponential (A. O. Allen, Probability, Statistics, and
Queueing Theory, 2nd edition, Academic Press 1990, section 5.3): the mean wait is that of M/M/c times (ca² + cs²) / 2.
"""

from __future__ import annotations

import math


def waiting_share(servers: int, utilisation: float) -> float:
    """Erlang's C: the share of requests that wait, where all `servers` together are busy for this share of the time.

    Computed by Erlang's B, whose recursion does not overflow.
    """
    if utilisation >= 1:
        return 1.0
    load, blocked = servers * utilisation, 1.0
    for count in range(1, servers + 1):
        blocked = load * blocked / (count + load * blocked)
    return blocked / (1 - utilisation * (1 - blocked))


def mean_wait_ms(servers: int, utilisation: float, service_ms: float, cs2: float = 1.0, ca2: float = 1.0) -> float:
    """The mean wait. `ca2` and `cs2` are the squared coefficients of variation of the times between arrivals and of
    service times: 1 for exponential ones, 0 for constant ones.
    """
    if utilisation >= 1:
        return math.inf
    return waiting_share(servers, utilisation) * service_ms / (servers * (1 - utilisation)) * (ca2 + cs2) / 2


def wait_percentile_ms(
    percent: float, servers: int, utilisation: float, service_ms: float, cs2: float = 1.0, ca2: float = 1.0
) -> float:
    """The wait that `percent` of the requests do not exceed. Those that wait at all wait an exponential time, as in
    M/M/c, with the mean of the correction.
    """
    share = waiting_share(servers, utilisation)
    rest = 1 - percent / 100
    if share <= rest:
        return 0.0
    return mean_wait_ms(servers, utilisation, service_ms, cs2, ca2) / share * math.log(share / rest)


def servers_for(rate: float, service_ms: float, target: float) -> int:
    """The number of servers with which each is busy for at most the share `target` of the time."""
    return max(math.ceil(rate * service_ms / 1e3 / target - 1e-9), 1)
