"""What the bench measures: hits beside LRU, FIFO and Belady, batches, waiting, and fairness between two tenants."""

from __future__ import annotations

import bisect
import statistics
from collections.abc import Callable, Sequence

import msgspec
from msgspec import Struct

from bench.residency.caches import belady_hits, fifo_hits, lru_hits
from bench.residency.simulator import FIRST_COME, Options, Result, Simulation, Speeds
from bench.residency.trace import LONGEST_TOKENS, Request, merged, trace

_WINDOW = 32
_MEAN_TOKENS = LONGEST_TOKENS / 4


class Hits(Struct, frozen=True):
    """One row: the trace and the servers, and the results.

    The hit ratios of FIFO and LRU are those of first come, first served, each adapter placed as in ours; that of Belady
    is of the calls as ours served them, and so the most that any eviction could have had. `no_looking`: ours without
    the queue. `distinct`: adapters among 32 calls in a row of a server; of first come, first served at the least busy
    server, as are its waits, in seconds. `most_passed`: the most later requests that were served before an earlier one.
    """

    alpha: float
    slots: int
    requests: int
    fifo: float
    lru: float
    ours: float
    belady: float
    no_looking: float
    distinct_first_come: float
    distinct: float
    wait_first_come_s: float
    wait_s: float
    most_passed: int
    most_extra_wait_s: float
    most_held: int


class Fairness(Struct, frozen=True):
    """Two tenants, of which one floods: the greatest difference of their token counters while both wait, its bound, and
    the mean and the 95th percentile of how long the other one's requests wait, in seconds.
    """

    flood: float
    most_apart: float
    bound: float
    wait_s: float
    wait_p95_s: float
    wait_first_come_s: float
    wait_p95_first_come_s: float


def hits(alpha: float, options: Options, requests: int, *, load: float = 0.9, seed: int = 0) -> Hits:
    """One row. `load` is the share of the servers' places that calls would take if no adapter had to be loaded."""
    asked = trace(requests, load * capacity(options), alpha=alpha, seed=seed)
    first = _run(asked, msgspec.structs.replace(FIRST_COME, **_sizes(options)))
    placed = _run(asked, msgspec.structs.replace(FIRST_COME, affinity=True, **_sizes(options)))
    ours = _run(asked, options)
    blind = _run(asked, msgspec.structs.replace(options, looks=False))
    return Hits(
        alpha=alpha,
        slots=options.slots,
        requests=requests,
        fifo=_ratio(placed, asked, options, fifo_hits),
        lru=_ratio(placed, asked, options, lru_hits),
        ours=ours.hit_ratio(),
        belady=_ratio(ours, asked, options, belady_hits),
        no_looking=blind.hit_ratio(),
        distinct_first_come=_distinct(first, asked),
        distinct=_distinct(ours, asked),
        wait_first_come_s=statistics.fmean(first.waited_s.values()),
        wait_s=statistics.fmean(ours.waited_s.values()),
        most_passed=_most_passed(ours),
        most_extra_wait_s=max(ours.waited_s[each.number] - placed.waited_s[each.number] for each in asked),
        most_held=ours.most_held,
    )


def fairness(options: Options, requests: int, *, flood: float = 3.0, seed: int = 0) -> Fairness:
    """One tenant sends `flood` times what the servers can do, the other one a tenth of it."""
    rate = capacity(options)
    modest = trace(requests, rate / 10, alpha=0.1, tenant="modest", seed=seed)
    greedy = trace(int(requests * flood * 10), rate * flood, alpha=0.1, tenant="greedy", seed=seed + 1)
    asked = merged(modest, greedy)
    fair, unfair = _run(asked, options), _run(asked, msgspec.structs.replace(options, fair=False))
    own = [[each.waited_s[one.number] for one in asked if one.tenant == "modest"] for each in (fair, unfair)]
    (mean_s, p95_s), (mean_first_s, p95_first_s) = ((statistics.fmean(each), _p95(each)) for each in own)
    bound = options.servers * options.places * LONGEST_TOKENS
    return Fairness(flood, fair.most_apart, bound, mean_s, p95_s, mean_first_s, p95_first_s)


def capacity(options: Options) -> float:
    """How many requests a second the servers can do if no adapter has to be loaded."""
    speeds = Speeds()
    return options.servers * options.places / (_MEAN_TOKENS * (speeds.input_s + speeds.output_s))


def _sizes(options: Options) -> dict[str, int]:
    return {"servers": options.servers, "slots": options.slots, "places": options.places}


def _run(asked: Sequence[Request], options: Options) -> Result:
    result = Simulation(asked, options).run()
    assert result.most_held <= options.slots, "a server holds more adapters than it has slots"
    return result


def _ratio(
    result: Result, asked: Sequence[Request], options: Options, count: Callable[[Sequence[str], int], int]
) -> float:
    """The hits of each server's calls in their order, with another eviction."""
    return sum(count(uses, options.slots) for uses in result.adapters_at(asked).values()) / len(asked)


def _distinct(result: Result, asked: Sequence[Request]) -> float:
    """The mean number of adapters among `_WINDOW` calls in a row of a server."""
    windows = [
        len(set(uses[start : start + _WINDOW]))
        for uses in result.adapters_at(asked).values()
        for start in range(0, len(uses) - _WINDOW + 1, _WINDOW)
    ]
    return statistics.fmean(windows)


def _most_passed(result: Result) -> int:
    """The most later requests that were served before an earlier one."""
    numbers: list[int] = []
    most = 0
    for number, _ in result.begun:
        most = max(most, len(numbers) - bisect.bisect(numbers, number))
        bisect.insort(numbers, number)
    return most


def _p95(values: Sequence[float]) -> float:
    return sorted(values)[int(0.95 * len(values))]
