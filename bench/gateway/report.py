"""The tables, as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

from bench.gateway.measure import HELD_TOO_LONG_MS, Figures, Lane, Phase, Plan
from bench.gateway.processes import Server

_Pick = Callable[[Figures], float | None]


def tables(lanes: Sequence[Lane], plan: Plan, absent: Mapping[str, str]) -> str:
    """What `lanes` showed. The first is the upstream asked directly, the second what CPU is compared with."""
    direct, ours = lanes[0], lanes[min(1, len(lanes) - 1)]
    parts = []
    for phase in plan.phases:
        if phase.rate is None:
            header, rows = _closed_header(phase, ours), [_closed_row(lane, ours, phase) for lane in lanes]
        else:
            header, rows = _open_header(phase), [_open_row(lane, direct, phase) for lane in lanes]
        parts.append(f"{_title(phase, plan)}\n\n{table(header, rows)}")
    header = ["", "start to ready s", "CPU s to ready", "MB at ready", "MB at the end", "of it its own (PSS)"]
    parts.append(f"Start and resident memory\n\n{table(header, [_memory_row(lane) for lane in lanes])}")
    parts += [f"{name}: {reason}" for name, reason in absent.items()]
    return "\n\n".join([*parts, *_remarks(lanes, plan)])


def start_table(servers: Sequence[Server]) -> str:
    """`route serve` with the built-in catalogue, started several times."""
    rows = [
        [name, f"{statistics.median(values):.{digits}f}", f"{max(values):.{digits}f}"]
        for name, digits, values in (
            ("start to ready, s", 2, [server.ready_s for server in servers]),
            ("CPU to ready, s", 2, [server.cpu_at_ready_s for server in servers]),
            ("resident at ready, MB", 0, [server.rss_at_ready_mb for server in servers]),
        )
        if values
    ]
    title = f"`route serve` with the built-in catalogue, one worker, {len(servers)} starts"
    return f"{title}\n\n{table(['', 'median', 'worst'], rows)}" if rows else ""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its columns aligned, numbers to the right."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    lines = [header, ["-" * widths[0], *(f"{'-' * (width - 1)}:" for width in widths[1:])], *rows]
    shown = [[each[0].ljust(widths[0]), *map(str.rjust, each[1:], widths[1:])] for each in lines]
    return "\n".join(f"| {' | '.join(each)} |" for each in shown)


def median(lane: Lane, phase: Phase, pick: _Pick) -> float | None:
    """Over the rounds; None where it could not keep up in every round."""
    values = [None if each is None else pick(each) for each in lane.figures.get(phase.name, [])]
    known = [value for value in values if value is not None]
    return statistics.median(known) if known and len(known) == len(values) else None


def added(lane: Lane, direct: Lane, phase: Phase, pick: _Pick) -> float | None:
    """The median over the rounds of what `lane` takes longer than `direct` in the same round."""
    pairs = zip(lane.figures.get(phase.name, []), direct.figures.get(phase.name, []), strict=True)
    differences = []
    for own, other in pairs:
        if own is None or other is None or (mine := pick(own)) is None or (theirs := pick(other)) is None:
            return None
        differences.append(mine - theirs)
    return statistics.median(differences) if differences else None


def _title(phase: Phase, plan: Plan) -> str:
    what = "Streams" if phase.stream else "JSON"
    if phase.rate is None:
        return f"{what}: {phase.count} in a closed loop on {plan.connections} connections"
    gap = f"{phase.pace_ms:g} ms between events" if phase.pace_ms else "all events at once"
    pace = f", {gap}" if phase.stream else ""
    return f"{what}: {phase.rate:g}/s in an open loop{pace}; ms more than asked directly"


def _closed_header(phase: Phase, ours: Lane) -> list[str]:
    what = "stream" if phase.stream else "request"
    return ["", f"CPU ms a {what}", f"times {ours.contender.name}", f"{what}s/s", "p50 ms", "p99 ms", "failed"]


def _closed_row(lane: Lane, ours: Lane, phase: Phase) -> list[str]:
    cpu, our_cpu = median(lane, phase, lambda each: each.cpu), median(ours, phase, lambda each: each.cpu)
    times = cpu / our_cpu if cpu and our_cpu and lane.server is not None else None
    return [
        lane.contender.name,
        _shown(cpu, 3),
        _shown(times, 2),
        _shown(median(lane, phase, lambda each: each.per_second), 0),
        _shown(median(lane, phase, lambda each: each.latency_p50), 2),
        _shown(median(lane, phase, lambda each: each.latency_p99), 2),
        _failed(lane, phase),
    ]


def _open_header(phase: Phase) -> list[str]:
    if not phase.stream:
        return ["", "CPU ms a request", "p50", "p99", "failed"]
    held = ["event held p50", "event held p99", f"held > {HELD_TOO_LONG_MS:.0f} ms"]
    return ["", "CPU ms a stream", "first content p50", "first content p99", *held, "failed"]


def _open_row(lane: Lane, direct: Lane, phase: Phase) -> list[str]:
    picks: list[_Pick] = [lambda each: each.latency_p50, lambda each: each.latency_p99]
    if phase.stream:
        picks = [
            lambda each: each.first_p50,
            lambda each: each.first_p99,
            lambda each: each.held_p50,
            lambda each: each.held_p99,
        ]
    if lane is direct:
        name, times = f"{lane.contender.name} (in all)", [median(lane, phase, pick) for pick in picks]
    else:
        name, times = lane.contender.name, [added(lane, direct, phase, pick) for pick in picks]
    cells = [name, _shown(median(lane, phase, lambda each: each.cpu), 3), *(_shown(each, 2) for each in times)]
    if phase.stream:
        long = median(lane, phase, lambda each: each.held_long)
        cells.append("–" if long is None else f"{long:.2%}")
    return [*cells, _failed(lane, phase)]


def _failed(lane: Lane, phase: Phase) -> str:
    figures = lane.figures.get(phase.name, [])
    if any(each is None for each in figures):
        return "cannot keep up"
    known = [each for each in figures if each is not None]
    return f"{sum(each.failed for each in known)} of {sum(each.failed + each.answered for each in known)}"


def _memory_row(lane: Lane) -> list[str]:
    server = lane.server
    if server is None:
        return [lane.contender.name, *["–"] * 5]
    ready = [_shown(server.ready_s, 2), _shown(server.cpu_at_ready_s, 2), _shown(server.rss_at_ready_mb, 0)]
    return [lane.contender.name, *ready, _shown(lane.rss_mb, 0), _shown(lane.pss_mb, 0)]


def _remarks(lanes: Sequence[Lane], plan: Plan) -> list[str]:
    """What a reader should know before believing a figure."""
    remarks = []
    for lane in lanes:
        known = [each for figures in lane.figures.values() for each in figures if each is not None]
        why = next((each.failure for each in known if each.failure), "")
        if why:
            remarks.append(f"{lane.contender.name}: the first failure was: {why}")
        if cached := sum(each.from_cache for each in known):
            remarks.append(f"{lane.contender.name}: {cached} requests never reached the upstream")
    late = [
        each.late
        for lane in lanes
        for phase in plan.phases
        if phase.rate is not None
        for each in lane.figures.get(phase.name, [])
        if each is not None
    ]
    if late:
        remarks.append(
            f"Requests of open loops left {statistics.median(late):.2f} ms after they were due "
            f"(99th percentile; the median of all loops, {max(late):.2f} in the worst)."
        )
    return remarks


def _shown(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
