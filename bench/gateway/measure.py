"""Every gateway under every load, in rounds, so that disturbances of the machine affect all of them."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from bench.gateway.contender import Contender
from bench.gateway.processes import Server
from bench.gateway.samples import Load, Samples, run_load

HELD_TOO_LONG_MS = 30.0
"""A longer delay of an event has a cause, such as the 40 ms of a missing TCP_NODELAY."""
_HEADROOM = 1.1
_WARM_UP = 300


class Plan(msgspec.Struct, frozen=True):
    """The loads. Rates are requests a second; `pace_ms` is the time between the events of a stream in an open loop."""

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
        """The phases in the order in which they run: the closed loops together, since their CPU is compared."""
        json, stream = "json" in self.modes, "stream" in self.modes
        phases: list[Phase] = []
        if json:
            phases.append(Phase("json", False, self.requests))
        if stream:
            phases.append(Phase("stream", True, max(self.requests // 4, 1)))
        if json:
            phases += [Phase(f"json at {rate:g}/s", False, int(rate * self.seconds), rate) for rate in self.rates]
        if stream:
            rate = self.stream_rate
            count = int(rate * self.seconds)
            phases.append(Phase(f"stream at {rate:g}/s, paced", True, count, rate, self.pace_ms))
            phases.append(Phase(f"stream at {rate:g}/s, at once", True, count, rate))
        return tuple(phases)

    @property
    def prompts(self) -> int:
        """The number of prompts that every gateway receives in all."""
        return 2 * _WARM_UP + self.rounds * sum(phase.count for phase in self.phases)


class Phase(msgspec.Struct, frozen=True):
    """One load; a closed loop if `rate` is None."""

    name: str
    stream: bool
    count: int
    rate: float | None = None
    pace_ms: float = 0.0


class Figures(msgspec.Struct, frozen=True):
    """The metrics of one phase of one round. Milliseconds unless the name has another unit.

    `cpu` and `upstream_cpu` are per request. `late` is the 99th percentile of the delay with which requests were sent.
    `held_long` is the share of events that were held for more than HELD_TOO_LONG_MS. `from_cache` counts requests that
    were answered without an upstream request.
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


class Trial(msgspec.Struct):
    """A running contender and its metrics: by phase, one entry a round, None if it could not keep up."""

    contender: Contender
    server: Server | None
    figures: dict[str, list[Figures | None]] = {}
    rss_mb: float = 0.0
    pss_mb: float = 0.0


class Bench:
    """Runs the loads of a plan against trials, and reads the counters of the upstream."""

    def __init__(self, plan: Plan, upstream: Server, prompts: Path) -> None:
        self._plan, self._upstream, self._prompts = plan, upstream, prompts

    def warm_up(self, trial: Trial) -> str:
        """Send a few hundred requests. Returns the problem of the responses; empty if there is none."""
        for stream, first in ((False, 0), (True, _WARM_UP)):
            samples = run_load(self._load(trial, Phase("warm-up", stream, _WARM_UP), first))
            if samples.failed or not samples.answered:
                return samples.failure or "no response"
        return ""

    def run(self, trials: Sequence[Trial]) -> Iterator[tuple[int, str]]:
        """Add the figures to `trials`; yields the round and the phase before they run."""
        first = 2 * _WARM_UP
        for number in range(self._plan.rounds):
            # Another trial begins in every round.
            turn = number % len(trials)
            for phase in self._plan.phases:
                yield number + 1, phase.name
                self._control("POST", "/bench/pace", str(phase.pace_ms))
                for trial in (*trials[turn:], *trials[:turn]):
                    trial.figures.setdefault(phase.name, []).append(self._figures(trial, phase, first))
                first += phase.count
        for trial in trials:
            if trial.server is not None:
                trial.rss_mb, trial.pss_mb = trial.server.rss_mb(), trial.server.pss_mb()

    def _figures(self, trial: Trial, phase: Phase, first: int) -> Figures | None:
        if phase.rate is not None and not self._keeps_up(trial, phase):
            return None
        server = trial.server or self._upstream
        chats_before, cpu, upstream_cpu = self._chats_received(), server.cpu_s(), self._upstream.cpu_s()
        samples = run_load(self._load(trial, phase, first))
        cpu, upstream_cpu = server.cpu_s() - cpu, self._upstream.cpu_s() - upstream_cpu
        if phase.rate is not None and samples.overrun:
            return None
        return _summary(samples, cpu, upstream_cpu, samples.sent - (self._chats_received() - chats_before))

    def _keeps_up(self, trial: Trial, phase: Phase) -> bool:
        """Whether the closed loop of this round was faster than the rate of `phase`."""
        closed = trial.figures.get("stream" if phase.stream else "json")
        return not closed or closed[-1] is None or closed[-1].per_second > _HEADROOM * (phase.rate or 0.0)

    def _load(self, trial: Trial, phase: Phase, first: int) -> Load:
        contender = trial.contender
        port = (trial.server or self._upstream).port
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

    def _chats_received(self) -> int:
        return int(self._control("GET", "/bench/chats"))

    def _control(self, method: str, path: str, body: str | None = None) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self._upstream.port, timeout=10)
        with contextlib.closing(connection):
            connection.request(method, path, body)
            return connection.getresponse().read()


def _summary(samples: Samples, cpu_s: float, upstream_cpu_s: float, from_cache: int) -> Figures:
    count = max(samples.sent, 1)
    held = samples.held_ms
    return Figures(
        answered=samples.answered,
        failed=samples.sent - samples.answered,
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
