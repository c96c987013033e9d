"""What the gateway did: requests by hour, the newest ones, and one of them in full."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from router.analysis.replay import Replay, Replayer
from router.errors import PulvinarError
from router.gateway.config.reload import ActiveConfig
from router.gateway.http.surfaces import CALLING
from router.store.records.protocol import Filter, RecordStore
from router.store.records.record import Record
from router.store.records.snapshots import CatalogSnapshot
from router.store.records.totals import HOUR_S, Grouping, Totals

_SURFACES = frozenset(surface.name for surface in CALLING)
# Of so many newest requests, the times are shown: those of all would have to be read.
_TIMED = 1000
_QUANTILES = (0.5, 0.95)


class Row(Struct, frozen=True):
    """A request in a list: what `route records tail` shows of it."""

    id: str
    at: float
    surface: str
    asked: str
    status: int
    total_ms: float
    card: str | None = None
    policy: str | None = None
    plan: str | None = None
    key: str | None = None
    cost_usd: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    ttft_ms: float | None = None
    calls: int = 0
    guard: str | None = None
    quality: float | None = None
    error: str | None = None


class Traffic(Struct, frozen=True):
    """The requests of some hours, in groups. `latency_ms` are the median and the 95 % quantile of the `timed` newest
    requests that were answered, `ttft_ms` those of their first tokens; None where there are none.
    """

    since: float
    until: float
    hours: list[Totals]
    cards: list[Totals]
    policies: list[Totals]
    keys: list[Totals]
    timed: int
    latency_ms: tuple[float, float] | None
    ttft_ms: tuple[float, float] | None


def traffic(records: RecordStore, since_s: float, until_s: float) -> Traffic:
    """The requests to models since then, by hour, the one that is running included."""
    first = since_s // HOUR_S * HOUR_S

    def totals(by: Grouping) -> list[Totals]:
        return records.totals(by, first, until_s, _SURFACES)

    recorded = records.tail(_TIMED, Filter(since=since_s), prompts=False)
    newest = [one for one in recorded if one.outcome.card and not one.outcome.error]
    firsts = [one.outcome.ttft_ms for one in newest if one.outcome.ttft_ms is not None]
    times = [one.outcome.total_ms for one in newest]
    groups = totals("hour"), totals("card"), totals("policy"), totals("key")
    return Traffic(first, until_s, *groups, len(newest), _quantiles(times), _quantiles(firsts))


def rows(records: Iterable[Record]) -> list[Row]:
    """The rows of these records."""
    return [_row(record) for record in records]


def in_full(record: Record, records: RecordStore, active: ActiveConfig, today: datetime.date) -> dict[str, Any]:
    """One request: its record, feedback, and its decision again, with what was recorded and with today's files."""
    found: dict[str, Any] = {
        "row": _row(record),
        "outcome": record.outcome,
        "session": record.session,
        "stream": record.stream,
        "has_prompt": record.prompt is not None,
        "feedback": records.feedback_of(record.id),
    }
    decision = record.decision
    if decision is None:
        return found
    plain = msgspec.to_builtins(msgspec.structs.replace(decision, vector=b"", parts=()))
    router = active.router
    replayer = Replayer(records, router.predictor)
    current = CatalogSnapshot(router.catalog, router.evidence)
    return {
        **found,
        "decision": {name: value for name, value in plain.items() if name not in ("vector", "parts")},
        "then": _replayed(lambda: replayer.replay(decision)),
        "now": _replayed(lambda: replayer.re_decide(decision, current, router.policies, today, router.plans)),
    }


def _replayed(replay: Any) -> Mapping[str, Any]:
    try:
        replayed: Replay = replay()
    except PulvinarError as error:
        # The inputs are not stored any more, or of another encoder.
        return {"problem": str(error)}
    decision = None if replayed.decision is None else replayed.decision.document()
    return {
        "same": replayed.same,
        "differences": replayed.differences,
        "reasons": replayed.reasons,
        "problem": replayed.problem,
        "decision": decision,
    }


def _row(record: Record) -> Row:
    outcome, decision, usage = record.outcome, record.decision, record.outcome.usage
    return Row(
        id=record.id,
        at=record.at,
        surface=record.surface,
        asked=record.asked,
        status=outcome.status,
        total_ms=outcome.total_ms,
        card=outcome.card,
        policy=None if decision is None else decision.policy,
        plan=outcome.plan,
        key=record.key,
        cost_usd=outcome.cost_usd,
        input_tokens=None if usage is None else usage.input_tokens,
        output_tokens=None if usage is None else usage.output_tokens,
        ttft_ms=outcome.ttft_ms,
        calls=len(outcome.attempts),
        guard=None if decision is None else decision.guard,
        quality=None if decision is None else decision.quality,
        error=outcome.error,
    )


def _quantiles(values: list[float]) -> tuple[float, float] | None:
    if not values:
        return None
    values.sort()
    middle, high = (values[min(int(share * len(values)), len(values) - 1)] for share in _QUANTILES)
    return middle, high
