"""The model's own check: a discrete simulation of gateways with workers of their own queues, in simpy.

A request goes to a gateway machine at random, as behind a load balancer, where the first free worker takes it. It takes
its CPU time there, a shard's time for each shared operation, and a database's for its record.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np
import simpy


class Station(msgspec.Struct, frozen=True):
    """`queues` equal machines with `servers` each, of which one request takes `visits` times `service_ms`.

    `cs2` is the squared coefficient of variation of the service times: that of a gamma distribution.
    """

    name: str
    queues: int
    servers: int
    service_ms: float
    visits: int = 1
    cs2: float = 1.0


class Waits(msgspec.Struct, frozen=True):
    """What the simulation found at a station: mean wait and 99th percentile of one visit, and the busy share."""

    name: str
    mean_ms: float
    p99_ms: float
    utilisation: float


def simulate(stations: list[Station], rate: float, requests: int, seed: int = 0) -> list[Waits]:
    """Send `requests` at random times, `rate` a second, through the stations in order; the first tenth do not count."""
    rng = np.random.default_rng(seed)
    clock = simpy.Environment()
    machines = [[simpy.Resource(clock, of.servers) for _ in range(of.queues)] for of in stations]
    waits: list[list[float]] = [[] for _ in stations]
    busy_ms = [0.0] * len(stations)

    def service_ms(of: Station) -> float:
        return of.service_ms if of.cs2 == 0 else float(rng.gamma(1 / of.cs2, of.service_ms * of.cs2))

    def request(number: int) -> Iterator[simpy.Event]:
        for place, of in enumerate(stations):
            for _ in range(of.visits):
                arrived = clock.now
                with machines[place][int(rng.integers(of.queues))].request() as turn:
                    yield turn
                    if number >= requests // 10:
                        waits[place].append(clock.now - arrived)
                    time_ms = service_ms(of)
                    busy_ms[place] += time_ms
                    yield clock.timeout(time_ms)

    def arrivals() -> Iterator[simpy.Event]:
        for number in range(requests):
            yield clock.timeout(rng.exponential(1e3 / rate))
            clock.process(request(number))

    clock.process(arrivals())
    clock.run()
    return [
        Waits(
            of.name,
            float(np.mean(waits[place])),
            float(np.percentile(waits[place], 99)),
            busy_ms[place] / (clock.now * of.servers * of.queues),
        )
        for place, of in enumerate(stations)
    ]
