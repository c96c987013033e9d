"""Servers with adapter slots in front of a trace: the gateway's own policy decides, the rest is arithmetic.

A call begins at a server with a place for it, loads its adapter if need be, reads its input and writes its output at
the speeds of `Speeds`. Which server, which eviction, which waiting request is next: `router.dispatch.residency`.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

from msgspec import Struct

from bench.residency.trace import Request
from router.dispatch.residency import Full, Load, Residency, ServerLoad, TokenCounters
from router.dispatch.residency.line import WaitingLine


class Speeds(Struct, frozen=True):
    """How long parts of a call take in seconds: to load an adapter, to read and to write a token."""

    load_s: float = 0.5
    input_s: float = 1 / 5000
    output_s: float = 1 / 50

    def call_s(self, request: Request) -> float:
        """The time of a call whose adapter is loaded."""
        return request.input_tokens * self.input_s + request.output_tokens * self.output_s


class Options(Struct, frozen=True):
    """The servers, and which parts of the policy are on.

    `places` are the calls that one server runs at once. `affinity`: servers by `rank`, else the least busy one.
    `looks`: the queue is known to evictions, and adapters are loaded ahead. `warm_first`: waiting requests whose
    adapter is loaded go first. `fair`: token counters, else first come, first served.
    """

    servers: int = 4
    slots: int = 16
    places: int = 8
    affinity: bool = True
    looks: bool = True
    warm_first: bool = True
    fair: bool = True


FIRST_COME = Options(affinity=False, looks=False, warm_first=False, fair=False)
"""First come, first served at the least busy server, which evicts the least recently used adapter."""


class Result(Struct):
    """What has happened: the requests (by number) in the order in which they began and where, how long each waited, and
    how often adapters were loaded. `most_held`: the most adapters at one server. `most_apart`: the greatest difference
    of the token counters of two tenants that both waited.
    """

    begun: list[tuple[int, str]] = []
    waited_s: dict[int, float] = {}
    loads: int = 0
    most_held: int = 0
    most_apart: float = 0.0

    def hit_ratio(self) -> float:
        """The share of calls for which no adapter was loaded; loading ahead counts as loading."""
        return 1 - self.loads / len(self.begun)

    def adapters_at(self, requests: Sequence[Request]) -> dict[str, list[str]]:
        """The adapters of the calls at each server, in order."""
        at: dict[str, list[str]] = {}
        for number, server in self.begun:
            at.setdefault(server, []).append(requests[number].adapter)
        return at


class Simulation:
    """One run of a trace. `names` are those of the servers, on which rendezvous hashing depends."""

    def __init__(
        self,
        requests: Sequence[Request],
        options: Options,
        speeds: Speeds = Speeds(),  # noqa: B008
        names: Sequence[str] = (),
    ) -> None:
        self._requests, self._options, self._speeds = requests, options, speeds
        self.result = Result()
        self.counters = TokenCounters()
        self._line: WaitingLine[Request] = WaitingLine(self.counters)
        self._residency = Residency()
        self._running = dict.fromkeys(names or [f"http://server-{number}" for number in range(options.servers)], 0)
        for server in self._running:
            self._residency.set_server(server, options.slots)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._now_s, self._steps = 0.0, 0
        # Calls whose adapter is being loaded.
        self._loading: dict[tuple[str, str], list[Request]] = {}
        self._held = dict.fromkeys(self._running, 0)
        self._tenants = sorted({request.tenant for request in requests})

    def run(self) -> Result:
        """Every request to its end."""
        for request in self._requests:
            self._at(request.arrives_s, lambda request=request: self._arrive(request))  # type: ignore[misc]
        while self._events:
            self._now_s, _, step = heapq.heappop(self._events)
            step()
            self._compare()
        assert len(self.result.begun) == len(self._requests), "a request was lost"
        return self.result

    def _at(self, time_s: float, step: Callable[[], None]) -> None:
        self._steps += 1
        heapq.heappush(self._events, (time_s, self._steps, step))

    def _arrive(self, request: Request) -> None:
        if (not self._options.warm_first and len(self._line)) or not self._begin(request):
            self._line.add(self._tenant(request), request)
            if self._options.looks:
                self._residency.enqueue(request.adapter, request.number)
                self._load_ahead()

    def _tenant(self, request: Request) -> str:
        return request.tenant if self._options.fair else ""

    def _free(self) -> list[ServerLoad]:
        places = self._options.places
        return [ServerLoad(server, running) for server, running in self._running.items() if running < places]

    def _begin(self, request: Request) -> bool:
        """Begin the call, if a server has a place and a slot for it."""
        free = self._free()
        if self._options.affinity:
            order = self._residency.rank(request.adapter, free)
        else:
            order = [each.server for each in sorted(free, key=lambda each: each.running)]
        server = next((each for each in order if self._residency.can_begin(each, request.adapter)), None)
        if server is None:
            return False
        step = self._residency.begin(server, request.adapter, self._now_s)
        assert not isinstance(step, Full)
        self._running[server] += 1
        self.counters.begin(request.tenant)
        self.result.begun.append((request.number, server))
        self.result.waited_s[request.number] = self._now_s - request.arrives_s
        if isinstance(step, Load):
            self._load(server, request.adapter, step).append(request)
        else:
            self._serve(server, request)
        return True

    def _load(self, server: str, adapter: str, step: Load) -> list[Request]:
        """Load, or wait for the load that runs; the calls that wait for it."""
        waiting = self._loading.get((server, adapter))
        if waiting is None:
            for name in step.evict:
                self._residency.unloaded(server, name, self._now_s)
            self.result.loads += 1
            self._held[server] += 1 - len(step.evict)
            self.result.most_held = max(self.result.most_held, self._held[server])
            waiting = self._loading[server, adapter] = []
            self._at(self._now_s + self._speeds.load_s, lambda: self._loaded(server, adapter))
        return waiting

    def _loaded(self, server: str, adapter: str) -> None:
        self._residency.loaded(server, adapter, self._now_s)
        for request in self._loading.pop((server, adapter)):
            self._serve(server, request)
        self._next()

    def _serve(self, server: str, request: Request) -> None:
        self._at(self._now_s + self._speeds.call_s(request), lambda: self._end(server, request))

    def _end(self, server: str, request: Request) -> None:
        self._residency.end(server, request.adapter, self._now_s)
        self._running[server] -= 1
        self.counters.end(request.tenant)
        self.counters.charge(request.tenant, request.tokens)
        self._next()

    def _next(self) -> None:
        """Offer what has become free to those that wait."""
        if self._free():
            for tenant, request in self._line.offers(lambda _: bool(self._free()), self._is_warm):
                if self._begin(request):
                    self._line.serve(tenant, request)
                    self._residency.dequeue(request.number)
                elif not self._options.warm_first:
                    break
        self._load_ahead()

    def _is_warm(self, request: Request) -> bool:
        free = self._free()
        return not self._options.warm_first or any(self._residency.holds(each.server, request.adapter) for each in free)

    def _load_ahead(self) -> None:
        if not self._options.looks or not len(self._line):
            return
        busy = {server for server, _ in self._loading}
        for server in self._running:
            adapter = None if server in busy else self._residency.prefetch(server, self._now_s)
            if adapter is not None:
                step = self._residency.begin(server, adapter, self._now_s)
                assert isinstance(step, Load)
                self._load(server, adapter, step)
                self._residency.end(server, adapter, self._now_s)

    def _compare(self) -> None:
        if len(self._tenants) == 2 and all(self._line.of_tenant(tenant) for tenant in self._tenants):
            first, second = (self.counters.counter(tenant) for tenant in self._tenants)
            self.result.most_apart = max(self.result.most_apart, abs(first - second))
