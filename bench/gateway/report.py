"""The tables, as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

from bench.gateway.measure import HELD_TOO_LONG_MS, Figures, Phase, Plan, Trial
from bench.gateway.processes import Server

_Pick = Callable[[Figures], float | None]


def tables(trials: Sequence[Trial], plan: Plan, absent: Mapping[str, str]) -> str:
    """The tables for `trials`. The first is the upstream without a gateway; CPU is relative to the second."""
    direct, reference = trials[0], trials[min(1, len(trials) - 1)]
    parts = []
    for phase in plan.phases:
        if phase.rate is None:
            header, rows = (
                _closed_header(phase, reference),
                [_closed_row(trial, reference, phase) for trial in trials],
            )
        else:
            header, rows = _open_header(phase), [_open_row(trial, direct, phase) for trial in trials]
        parts.append(f"{_title(phase, plan)}\n\n{table(header, rows)}")
    header = ["", "start to ready s", "CPU s to ready", "MB at ready", "MB at the end", "of it its own (PSS)"]
    parts.append(f"Start and resident memory\n\n{table(header, [_memory_row(trial) for trial in trials])}")
    parts += [f"{name}: {reason}" for name, reason in absent.items()]
    return "\n\n".join([*parts, *_remarks(trials, plan)])


def start_table(servers: Sequence[Server]) -> str:
    """The start-up times of `route serve` with the built-in catalogue."""
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
    """A Markdown table with aligned columns, numbers to the right."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    lines = [header, ["-" * widths[0], *(f"{'-' * (width - 1)}:" for width in widths[1:])], *rows]
    cells = [[line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] for line in lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def median(trial: Trial, phase: Phase, pick: _Pick) -> float | None:
    """The median over the rounds; None if the trial could not keep up in every round."""
    values = [None if figures is None else pick(figures) for figures in trial.figures.get(phase.name, [])]
    known = [value for value in values if value is not None]
    return statistics.median(known) if known and len(known) == len(values) else None


def added(trial: Trial, direct: Trial, phase: Phase, pick: _Pick) -> float | None:
    """The median over the rounds of the additional time of `trial` over `direct` in the same round."""
    pairs = zip(trial.figures.get(phase.name, []), direct.figures.get(phase.name, []), strict=True)
    differences = []
    for of_lane, of_direct in pairs:
        if of_lane is None or of_direct is None:
            return None
        value, direct_value = pick(of_lane), pick(of_direct)
        if value is None or direct_value is None:
            return None
        differences.append(value - direct_value)
    return statistics.median(differences) if differences else None


def _title(phase: Phase, plan: Plan) -> str:
    what = "Streams" if phase.stream else "JSON"
    if phase.rate is None:
        return f"{what}: {phase.count} in a closed loop on {plan.connections} connections"
    gap = f"{phase.pace_ms:g} ms between events" if phase.pace_ms else "all events at once"
    pace = f", {gap}" if phase.stream else ""
    return f"{what}: {phase.rate:g}/s in an open loop{pace}; ms more than without a gateway"


def _closed_header(phase: Phase, reference: Trial) -> list[str]:
    what = "stream" if phase.stream else "request"
    return ["", f"CPU ms a {what}", f"times {reference.contender.name}", f"{what}s/s", "p50 ms", "p99 ms", "failed"]


def _closed_row(trial: Trial, reference: Trial, phase: Phase) -> list[str]:
    cpu, reference_cpu = (
        median(trial, phase, lambda figures: figures.cpu),
        median(reference, phase, lambda figures: figures.cpu),
    )
    times = cpu / reference_cpu if cpu and reference_cpu and trial.server is not None else None
    return [
        trial.contender.name,
        _shown(cpu, 3),
        _shown(times, 2),
        _shown(median(trial, phase, lambda figures: figures.per_second), 0),
        _shown(median(trial, phase, lambda figures: figures.latency_p50), 2),
        _shown(median(trial, phase, lambda figures: figures.latency_p99), 2),
        _failed(trial, phase),
    ]


def _open_header(phase: Phase) -> list[str]:
    if not phase.stream:
        return ["", "CPU ms a request", "p50", "p99", "failed"]
    held = ["event held p50", "event held p99", f"held > {HELD_TOO_LONG_MS:.0f} ms"]
    return ["", "CPU ms a stream", "first content p50", "first content p99", *held, "failed"]


def _open_row(trial: Trial, direct: Trial, phase: Phase) -> list[str]:
    picks: list[_Pick] = [lambda figures: figures.latency_p50, lambda figures: figures.latency_p99]
    if phase.stream:
        picks = [
            lambda figures: figures.first_p50,
            lambda figures: figures.first_p99,
            lambda figures: figures.held_p50,
            lambda figures: figures.held_p99,
        ]
    if trial is direct:
        name, times = f"{trial.contender.name} (in all)", [median(trial, phase, pick) for pick in picks]
    else:
        name, times = trial.contender.name, [added(trial, direct, phase, pick) for pick in picks]
    cells = [
        name,
        _shown(median(trial, phase, lambda figures: figures.cpu), 3),
        *(_shown(time, 2) for time in times),
    ]
    if phase.stream:
        long = median(trial, phase, lambda figures: figures.held_long)
        cells.append("–" if long is None else f"{long:.2%}")
    return [*cells, _failed(trial, phase)]


def _failed(trial: Trial, phase: Phase) -> str:
    rounds = trial.figures.get(phase.name, [])
    if None in rounds:
        return "cannot keep up"
    known = [figures for figures in rounds if figures is not None]
    failed = sum(figures.failed for figures in known)
    return f"{failed} of {failed + sum(figures.answered for figures in known)}"


def _memory_row(trial: Trial) -> list[str]:
    server = trial.server
    if server is None:
        return [trial.contender.name, *["–"] * 5]
    ready = [_shown(server.ready_s, 2), _shown(server.cpu_at_ready_s, 2), _shown(server.rss_at_ready_mb, 0)]
    return [trial.contender.name, *ready, _shown(trial.rss_mb, 0), _shown(trial.pss_mb, 0)]


def _remarks(trials: Sequence[Trial], plan: Plan) -> list[str]:
    """Remarks on the validity of the figures."""
    remarks = []
    for trial in trials:
        known = [figures for rounds in trial.figures.values() for figures in rounds if figures is not None]
        failure = next((figures.failure for figures in known if figures.failure), "")
        if failure:
            remarks.append(f"{trial.contender.name}: the first failure was: {failure}")
        if cached := sum(figures.from_cache for figures in known):
            remarks.append(f"{trial.contender.name}: {cached} requests never reached the upstream")
    late = [
        figures.late
        for trial in trials
        for phase in plan.phases
        if phase.rate is not None
        for figures in trial.figures.get(phase.name, [])
        if figures is not None
    ]
    if late:
        remarks.append(
            f"Requests of open loops were sent {statistics.median(late):.2f} ms after they were due "
            f"(99th percentile; the median of all loops, {max(late):.2f} in the worst)."
        )
    return remarks


def _shown(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
