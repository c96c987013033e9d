"""The targets of Pulvinar's gateway, and whether this run met them."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from bench.gateway.measure import Figures, Phase, Plan, Trial
from bench.gateway.processes import Server
from bench.gateway.pulvinar import NAMED, ROUTED
from bench.gateway.report import added, median, table
from bench.peers.litellm_proxy import LiteLLM
from bench.peers.portkey import Portkey
from bench.peers.tensorzero import TensorZero

_READY_S = 1.0
_RESIDENT_MB = 130.0
_ROUTED_CPU_MS, _NAMED_CPU_MS, _STREAM_CPU_MS = 1.0, 0.5, 1.4
_TIMES_OURS = {LiteLLM.name: 15.0, Portkey.name: 3.0}
"""The least CPU of other gateways as a multiple of a routed request's."""
_TIMES_TENSORZERO = 1.3
"""The greatest CPU of a request for a named card as a multiple of TensorZero's, which is compiled."""
_ADDED_P50_MS, _ADDED_P99_MS = 2.0, 5.0
_HELD_PERCENT = 0.1
"""The share of stream events that a busy machine may delay."""
_Row = tuple[str, float, str, str, bool]


def targets(trials: Sequence[Trial], plan: Plan, starts: Sequence[Server]) -> str:
    """A table of targets and measurements, without targets that this run did not measure."""
    rows = [
        [label, f"{value:.{2 if value < 20 else 0}f} {unit}".strip(), limit, "yes" if met else "no"]
        for label, value, unit, limit, met in (*_of_starts(starts), *_of_trials(trials, plan))
    ]
    return f"Targets\n\n{table(['', 'measured', 'target', 'met'], rows)}" if rows else ""


def _at_most(label: str, value: float | None, unit: str, limit: float) -> Iterator[_Row]:
    if value is not None:
        yield label, value, unit, f"≤ {limit:g} {unit}", value <= limit


def _at_least(label: str, value: float | None, unit: str, limit: float) -> Iterator[_Row]:
    if value is not None:
        yield label, value, unit, f"≥ {limit:g} {unit}", value >= limit


def _of_starts(starts: Sequence[Server]) -> Iterator[_Row]:
    if starts:
        yield from _at_most("start to ready", statistics.median(server.ready_s for server in starts), "s", _READY_S)


def _of_trials(trials: Sequence[Trial], plan: Plan) -> Iterator[_Row]:
    by_name = {trial.contender.name: trial for trial in trials}
    if ROUTED not in by_name:
        return
    routed = by_name[ROUTED]
    yield from _at_most("resident memory after the load", routed.rss_mb, "MB", _RESIDENT_MB)
    for phase in plan.phases:
        if phase.rate is None:
            yield from _of_closed_loop(by_name, phase)
        elif phase.stream:
            held = median(routed, phase, lambda figures: figures.held_long)
            percent = None if held is None else 100 * held
            yield from _at_most(f"events held, {phase.name}", percent, "%", _HELD_PERCENT)
        else:
            direct = next(trial for trial in trials if trial.server is None)
            for name, pick, limit in (("p50", _p50, _ADDED_P50_MS), ("p99", _p99, _ADDED_P99_MS)):
                label = f"added {name} at {phase.rate:g} requests/s, routing on"
                yield from _at_most(label, added(routed, direct, phase, pick), "ms", limit)


def _of_closed_loop(by_name: dict[str, Trial], phase: Phase) -> Iterator[_Row]:
    cpu_ms = {name: median(trial, phase, lambda figures: figures.cpu) for name, trial in by_name.items()}
    routed, named = cpu_ms[ROUTED], cpu_ms.get(NAMED)
    if phase.stream:
        yield from _at_most("CPU a stream, routing on", routed, "ms", _STREAM_CPU_MS)
        return
    yield from _at_most("CPU a JSON request, routing on", routed, "ms", _ROUTED_CPU_MS)
    for peer, least in _TIMES_OURS.items():
        yield from _at_least(f"CPU of {peer}, times ours", _ratio(cpu_ms.get(peer), routed), "×", least)
    yield from _at_most("CPU a JSON request, routing off", named, "ms", _NAMED_CPU_MS)
    times = _ratio(named, cpu_ms.get(TensorZero.name))
    yield from _at_most(f"the same, times that of {TensorZero.name}", times, "×", _TIMES_TENSORZERO)


def _p50(figures: Figures) -> float:
    return figures.latency_p50


def _p99(figures: Figures) -> float:
    return figures.latency_p99


def _ratio(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None
