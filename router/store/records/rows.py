"""Records and feedback as rows of a database: the columns, and both ways between these and the values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from router.errors import CallerError
from router.store.database import DatabaseError
from router.store.records.feedback import JUDGE, Feedback, judges_source
from router.store.records.protocol import Filter
from router.store.records.record import Record

COLUMNS = (
    *("id", "at", "surface", "asked", "key", "policy", "card", "status", "error"),
    *("input_tokens", "output_tokens", "cost_usd", "total_ms", "record", "vector", "prompt"),
)
"""Those that `row_of` fills. `record` is JSON without vector and prompt; the columns before it repeat its fields for
queries in SQL.
"""
FEEDBACK_COLUMNS = "record, source, at, value, verdict, comment, key, idempotency_key, propensity"
BATCH = 500
"""How many rows are read at once."""

_MAX_INTEGER = 2**63 - 1
_BY = "by "
_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Record)


def row_of(record: Record) -> tuple[Any, ...]:
    """The values of COLUMNS."""
    outcome, decision, usage = record.outcome, record.decision, record.outcome.usage
    plain = record
    if decision is not None:
        plain = msgspec.structs.replace(record, prompt=None, decision=msgspec.structs.replace(decision, vector=b""))
    elif record.prompt is not None:
        plain = msgspec.structs.replace(record, prompt=None)
    return (
        record.id,
        record.at,
        record.surface,
        record.asked,
        record.key,
        decision.policy if decision else None,
        outcome.card,
        outcome.status,
        outcome.error,
        min(usage.input_tokens, _MAX_INTEGER) if usage else None,
        min(usage.output_tokens, _MAX_INTEGER) if usage else None,
        outcome.cost_usd,
        outcome.total_ms,
        _ENCODER.encode(plain).decode(),
        decision.vector if decision else None,
        record.prompt,
    )


def record_in(row: Sequence[Any], database: str) -> Record:
    """The record in a row of its number and the last three of COLUMNS. Raises DatabaseError about `database`."""
    number, text, vector, prompt, *_ = row
    try:
        record = _DECODER.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DatabaseError(database, None, f"record number {number} cannot be read: {error}") from None
    if vector is not None and record.decision is not None:
        record = msgspec.structs.replace(record, decision=msgspec.structs.replace(record.decision, vector=vector))
    return record if prompt is None else msgspec.structs.replace(record, prompt=prompt)


def feedback_in(row: Sequence[Any]) -> Feedback:
    """The feedback in a row of FEEDBACK_COLUMNS."""
    record, source, at, value, verdict, comment, key, idempotency_key, propensity = row
    if source == JUDGE and propensity is not None and comment is not None and comment.startswith(_BY):
        # As verdicts of judges were stored before their source named the card.
        source, comment = judges_source(comment.removeprefix(_BY)), None
    return Feedback(record, value, at, source, verdict, comment, key, idempotency_key, propensity)


def feedback_row(feedback: Feedback) -> tuple[Any, ...]:
    """The values of FEEDBACK_COLUMNS."""
    return (
        feedback.record,
        feedback.source,
        feedback.at,
        feedback.value,
        feedback.verdict,
        feedback.comment,
        feedback.key,
        feedback.idempotency_key,
        feedback.propensity,
    )


def conditions(wanted: Filter) -> list[tuple[str, object]]:
    """The conditions of a filter, each with `{}` in the place of its value, and the value."""
    conditions = (
        ("card = {}", wanted.card),
        ("key = {}", wanted.key),
        ("at >= {}", wanted.since),
        ("at < {}", wanted.until),
        ("(at, number) < (SELECT at, number FROM records WHERE id = {})", wanted.before),
    )
    return [(condition, value) for condition, value in conditions if value is not None]


def fixed_conditions(wanted: Filter) -> list[str]:
    """The conditions of a filter that need no value."""
    return [
        *(["policy IS NOT NULL"] if wanted.routed else []),
        *(["(status >= 400 OR error IS NOT NULL)"] if wanted.errors else []),
        # A constant, as in the index of shadows: a parameter would not use that.
        *(["surface = 'shadow'"] if wanted.shadows else []),
    ]


def only_match(matches: Sequence[Record], prefix: str) -> Record:
    """The record that a prefix names, of the first two in order of id that begin with it. Raises CallerError."""
    if not matches:
        raise CallerError(f'there is no record "{prefix}" (`route records tail` lists the newest)')
    if len(matches) > 1 and matches[0].id != prefix:
        examples = f"{matches[0].id} and {matches[1].id}"
        raise CallerError(f'"{prefix}" is ambiguous: several record ids begin with it, such as {examples}')
    return matches[0]


def scanned_feedback(
    select: Callable[[tuple[object, ...]], Sequence[Any]], since_s: float | None
) -> Iterator[Feedback]:
    """All feedback given since then, oldest first, in the pages that `select` returns: the rows after a time, record
    and source, in this order.
    """
    place: tuple[object, ...] = (float("-inf") if since_s is None else since_s, "", "")
    while rows := select(place):
        for row in rows:
            yield feedback_in(row)
        record, source, at, *_ = rows[-1]
        place = at, record, source
