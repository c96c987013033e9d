"""Every gateway's turn at every load, in rounds, so that what disturbs the machine disturbs them all."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from bench.gateway.contender import Contender
from bench.gateway.processes import Server
from bench.gateway.samples import Load, Samples, ask

HELD_TOO_LONG_MS = 30.0
"""An event held for longer waited for something: 40 ms where TCP_NODELAY is missing."""
_HEADROOM = 1.1
_WARM_UP = 300


class Plan(msgspec.Struct, frozen=True):
    """How much is asked. Rates are requests a second; `pace_ms` is between the events of a stream in an open loop."""

    rounds: int = 3
    requests: int = 4_000
    connections: int = 8
    rates: tuple[float, ...] = (50.0, 200.0)
    stream_rate: float = 10.0
    pace_ms: float = 10.0
    seconds: float = 10.0
    limit_s: float = 20.0
    modes: tuple[str, ...] = ("json", "stream")

    @property
    def phases(self) -> tuple[Phase, ...]:
        """In the order in which they run."""
        phases: list[Phase] = []
        if "json" in self.modes:
            phases.append(Phase("json", False, self.requests))
            phases += [Phase(f"json at {rate:g}/s", False, int(rate * self.seconds), rate) for rate in self.rates]
        if "stream" in self.modes:
            rate = self.stream_rate
            phases.append(Phase("stream", True, max(self.requests // 4, 1)))
            count = int(rate * self.seconds)
            phases.append(Phase(f"stream at {rate:g}/s, paced", True, count, rate, self.pace_ms))
            phases.append(Phase(f"stream at {rate:g}/s, at once", True, count, rate))
        return tuple(phases)

    @property
    def prompts(self) -> int:
        """How many prompts a gateway is asked in all."""
        return 2 * _WARM_UP + self.rounds * sum(phase.count for phase in self.phases)


class Phase(msgspec.Struct, frozen=True):
    """One load; without a rate a closed loop."""

    name: str
    stream: bool
    count: int
    rate: float | None = None
    pace_ms: float = 0.0


class Figures(msgspec.Struct, frozen=True):
    """What one phase of one round showed. Milliseconds unless the name says otherwise.

    `cpu` and `upstream_cpu` are a request's. `late` is the 99th percentile of how late requests were sent. `held_long`
    is the share of events that were held for more than HELD_TOO_LONG_MS. `from_cache` counts requests that were
    answered without asking the upstream.
    """

    answered: int
    failed: int
    failure: str
    per_second: float
    cpu: float
    upstream_cpu: float
    latency_p50: float
    latency_p99: float
    first_p50: float | None
    first_p99: float | None
    held_p50: float | None
    held_p99: float | None
    held_long: float | None
    late: float
    from_cache: int


class Lane(msgspec.Struct):
    """A contender that runs, and what it showed: by phase, a figure a round, None where it could not keep up."""

    contender: Contender
    server: Server | None
    figures: dict[str, list[Figures | None]] = {}
    rss_mb: float = 0.0
    pss_mb: float = 0.0


class Bench:
    """Asks lanes, with the upstream's help."""

    def __init__(self, plan: Plan, upstream: Server, prompts: Path) -> None:
        self._plan, self._upstream, self._prompts = plan, upstream, prompts

    def warm_up(self, lane: Lane) -> str:
        """Ask a few hundred times. Returns what is wrong with the answers; empty where nothing is."""
        for stream, first in ((False, 0), (True, _WARM_UP)):
            samples = ask(self._load(lane, Phase("warm-up", stream, _WARM_UP), first))
            if samples.failed or not samples.answered:
                return samples.failure or "no answer"
        return ""

    def run(self, lanes: Sequence[Lane]) -> Iterator[tuple[int, str]]:
        """Fill the lanes' figures; yields each round and phase before it runs."""
        first = 2 * _WARM_UP
        for number in range(self._plan.rounds):
            # Who goes first changes with the round.
            turn = number % len(lanes)
            for phase in self._plan.phases:
                yield number + 1, phase.name
                self._control("POST", "/bench/pace", str(phase.pace_ms))
                for lane in (*lanes[turn:], *lanes[:turn]):
                    lane.figures.setdefault(phase.name, []).append(self._figures(lane, phase, first))
                first += phase.count
        for lane in lanes:
            if lane.server is not None:
                lane.rss_mb, lane.pss_mb = lane.server.rss_mb(), lane.server.pss_mb()

    def _figures(self, lane: Lane, phase: Phase, first: int) -> Figures | None:
        if phase.rate is not None and not self._keeps_up(lane, phase):
            return None
        server = lane.server or self._upstream
        asked, cpu, upstream_cpu = self._asked(), server.cpu_s(), self._upstream.cpu_s()
        samples = ask(self._load(lane, phase, first))
        cpu, upstream_cpu = server.cpu_s() - cpu, self._upstream.cpu_s() - upstream_cpu
        if phase.rate is not None and samples.overrun:
            return None
        return _summary(samples, cpu, upstream_cpu, samples.asked - (self._asked() - asked))

    def _keeps_up(self, lane: Lane, phase: Phase) -> bool:
        """Whether this round's closed loop was faster than the rate."""
        closed = lane.figures.get("stream" if phase.stream else "json")
        return not closed or closed[-1] is None or closed[-1].per_second > _HEADROOM * (phase.rate or 0.0)

    def _load(self, lane: Lane, phase: Phase, first: int) -> Load:
        contender = lane.contender
        port = (lane.server or self._upstream).port
        return Load(
            port,
            contender.path,
            contender.headers,
            contender.model,
            str(self._prompts),
            first,
            phase.count,
            phase.stream,
            self._plan.connections,
            phase.rate,
            max(self._plan.limit_s, phase.count / phase.rate if phase.rate else 0.0),
        )

    def _asked(self) -> int:
        return int(self._control("GET", "/bench/asked"))

    def _control(self, method: str, path: str, body: str | None = None) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self._upstream.port, timeout=10)
        with contextlib.closing(connection):
            connection.request(method, path, body)
            return connection.getresponse().read()


def _summary(samples: Samples, cpu_s: float, upstream_cpu_s: float, from_cache: int) -> Figures:
    count = max(samples.asked, 1)
    held = samples.held_ms
    return Figures(
        answered=samples.answered,
        failed=samples.asked - samples.answered,
        failure=samples.failure,
        per_second=samples.answered / samples.seconds,
        cpu=cpu_s * 1e3 / count,
        upstream_cpu=upstream_cpu_s * 1e3 / count,
        latency_p50=_percentile(samples.latency_ms, 50) or 0.0,
        latency_p99=_percentile(samples.latency_ms, 99) or 0.0,
        first_p50=_percentile(samples.first_ms, 50),
        first_p99=_percentile(samples.first_ms, 99),
        held_p50=_percentile(held, 50),
        held_p99=_percentile(held, 99),
        held_long=float(np.mean(np.asarray(held) > HELD_TOO_LONG_MS)) if held else None,
        late=_percentile(samples.late_ms, 99) or 0.0,
        from_cache=max(from_cache, 0),
    )


def _percentile(values: Sequence[float], percent: float) -> float | None:
    return float(np.percentile(values, percent)) if values else None
