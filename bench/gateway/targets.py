"""The targets of Pulvinar's gateway, and whether this run met them."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from bench.gateway.measure import Plan, Trial
from bench.gateway.processes import Server
from bench.gateway.pulvinar import ROUTED
from bench.gateway.report import median, table
from bench.peers.litellm_proxy import LiteLLM
from bench.peers.portkey import Portkey

_CPU_MS = 0.6
_TIMES_LESS_THAN_LITELLM = 15.0
_READY_S = 1.5
_RESIDENT_MB = 150.0
_HELD_SHARE = 0.001
"""The share of stream events that a busy machine may delay."""
_Row = tuple[str, float, str, str, bool]


def targets(trials: Sequence[Trial], plan: Plan, starts: Sequence[Server]) -> str:
    """A table of targets and measurements, without targets that this run did not measure."""
    rows = [
        [label, f"{value:.{2 if value < 20 else 0}f} {unit}".strip(), limit, "yes" if met else "no"]
        for label, value, unit, limit, met in (*_of_starts(starts), *_of_trials(trials, plan))
    ]
    return f"Targets\n\n{table(['', 'measured', 'target', 'met'], rows)}" if rows else ""


def _of_starts(starts: Sequence[Server]) -> Iterator[_Row]:
    if starts:
        ready_s = statistics.median(server.ready_s for server in starts)
        yield "start to ready", ready_s, "s", f"≤ {_READY_S:g} s", ready_s <= _READY_S


def _of_trials(trials: Sequence[Trial], plan: Plan) -> Iterator[_Row]:
    by_name = {trial.contender.name: trial for trial in trials}
    routed = by_name.get(ROUTED)
    if routed is None:
        return
    yield (
        "resident memory after the load",
        routed.rss_mb,
        "MB",
        f"≤ {_RESIDENT_MB:g} MB",
        routed.rss_mb <= _RESIDENT_MB,
    )
    for phase in plan.phases:
        if phase.stream and phase.rate is not None:
            held = median(routed, phase, lambda figures: figures.held_long)
            if held is not None:
                label = f"events held, {phase.name}"
                yield label, 100 * held, "%", f"≤ {100 * _HELD_SHARE:g} %", held <= _HELD_SHARE
        if phase.name != "json":
            continue
        cpu = median(routed, phase, lambda figures: figures.cpu)
        if not cpu:
            continue
        yield "CPU a JSON request, routing on", cpu, "ms", f"≤ {_CPU_MS:g} ms", cpu <= _CPU_MS
        for peer, minimum in ((LiteLLM.name, _TIMES_LESS_THAN_LITELLM), (Portkey.name, 1.0)):
            peer_cpu = median(by_name[peer], phase, lambda figures: figures.cpu) if peer in by_name else None
            if peer_cpu is not None:
                yield f"CPU of {peer}, times ours", peer_cpu / cpu, "×", f"≥ {minimum:g} ×", peer_cpu / cpu >= minimum
