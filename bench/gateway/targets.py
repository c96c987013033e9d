"""What Pulvinar's gateway is held to, and whether this run showed it."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from bench.gateway.measure import Lane, Plan
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
"""Of the events of streams, those that a busy machine may hold up."""
_Row = tuple[str, float, str, str, bool]


def targets(lanes: Sequence[Lane], plan: Plan, starts: Sequence[Server]) -> str:
    """A table of what was asked for and what was measured; what this run did not measure is left out."""
    rows = [
        [what, f"{value:.{2 if value < 20 else 0}f} {unit}".strip(), limit, "yes" if met else "no"]
        for what, value, unit, limit, met in (*_of_starts(starts), *_of_lanes(lanes, plan))
    ]
    return f"Targets\n\n{table(['', 'measured', 'target', 'met'], rows)}" if rows else ""


def _of_starts(starts: Sequence[Server]) -> Iterator[_Row]:
    if starts:
        ready_s = statistics.median(server.ready_s for server in starts)
        yield "start to ready", ready_s, "s", f"≤ {_READY_S:g} s", ready_s <= _READY_S


def _of_lanes(lanes: Sequence[Lane], plan: Plan) -> Iterator[_Row]:
    named = {lane.contender.name: lane for lane in lanes}
    ours = named.get(ROUTED)
    if ours is None:
        return
    yield "resident memory after the load", ours.rss_mb, "MB", f"≤ {_RESIDENT_MB:g} MB", ours.rss_mb <= _RESIDENT_MB
    for phase in plan.phases:
        if phase.stream and phase.rate is not None:
            held = median(ours, phase, lambda each: each.held_long)
            if held is not None:
                what = f"events held, {phase.name}"
                yield what, 100 * held, "%", f"≤ {100 * _HELD_SHARE:g} %", held <= _HELD_SHARE
        if phase.name != "json":
            continue
        cpu = median(ours, phase, lambda each: each.cpu)
        if not cpu:
            continue
        yield "CPU a JSON request, routing on", cpu, "ms", f"≤ {_CPU_MS:g} ms", cpu <= _CPU_MS
        for peer, least in ((LiteLLM.name, _TIMES_LESS_THAN_LITELLM), (Portkey.name, 1.0)):
            theirs = median(named[peer], phase, lambda each: each.cpu) if peer in named else None
            if theirs is not None:
                yield f"CPU of {peer}, times ours", theirs / cpu, "×", f"≥ {least:g} ×", theirs / cpu >= least
