"""Recorded requests: the rows of a list, and one of them in full."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from router.analysis.replay import Replay, Replayer
from router.errors import PulvinarError
from router.gateway.config.reload import ActiveConfig
from router.store.records.protocol import RecordStore
from router.store.records.record import Record
from router.store.records.snapshots import CatalogSnapshot


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


def _replayed(replay: Callable[[], Replay]) -> Mapping[str, Any]:
    try:
        replayed = replay()
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
