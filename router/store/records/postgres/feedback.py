"""Feedback in PostgreSQL, beside the records that it is about."""

from __future__ import annotations

from typing import Any, Self

import asyncpg
import msgspec

from router.store.records.feedback import Feedback, Stored, given_before, meant_record, used_idempotency_key
from router.store.records.postgres.address import Address
from router.store.records.postgres.connection import Connection, give_back
from router.store.records.postgres.records import PostgresRecords
from router.store.records.rows import FEEDBACK_COLUMNS, feedback_in, feedback_row

_INSERT = (
    f"INSERT INTO feedback ({FEEDBACK_COLUMNS}, record_at, waiting) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
)
_TAKE = f"""
    UPDATE feedback SET waiting = NULL WHERE (record, source) IN (
        SELECT record, source FROM feedback WHERE waiting ORDER BY at LIMIT $1 FOR UPDATE SKIP LOCKED
    ) RETURNING {FEEDBACK_COLUMNS}
"""
# One judgement of a record at a time: how many there are, and by whom, is checked before one is added.
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('feedback ' || $1, 0))"


class PostgresFeedback:
    """The `FeedbackStore` in PostgreSQL, over a connection that it returns at the end."""

    def __init__(self, connection: Connection) -> None:
        """Use `PostgresFeedback.open`."""
        self._connection = connection

    @classmethod
    def open(cls, address: Address) -> PostgresFeedback:
        """Connect, and create the schema or bring it up to date. Raises DatabaseError."""
        return cls(PostgresRecords.open(address).connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Return the connection, which is used again."""
        give_back(self._connection)

    def add(self, feedback: Feedback, *, of_any_key: bool = False, waits: bool = False) -> Stored:
        """See `FeedbackStore`."""
        return self._connection.run(_add(self._connection.raw, feedback, of_any_key, waits))

    def take_waiting(self, limit: int) -> list[Feedback]:
        """See `FeedbackStore`."""
        rows = self._connection.run(self._connection.raw.fetch(_TAKE, limit))
        return sorted((feedback_in(row) for row in rows), key=lambda each: (each.at, each.record, each.source))


async def _add(raw: Any, feedback: Feedback, of_any_key: bool, waits: bool) -> Stored:
    try:
        async with raw.transaction():
            return await _add_in_transaction(raw, feedback, of_any_key, waits)
    except asyncpg.exceptions.UniqueViolationError:
        # Another judgement, of another record, has used the key at the same moment.
        raise used_idempotency_key() from None


async def _add_in_transaction(raw: Any, feedback: Feedback, of_any_key: bool, waits: bool) -> Stored:
    feedback = msgspec.structs.replace(feedback, comment=_clean(feedback.comment))
    name = _clean(feedback.record) or ""
    own = "" if of_any_key else " AND key IS NOT DISTINCT FROM $3"
    sql = f"SELECT id, card, at FROM records WHERE (id = $1 OR (id > $2 AND id < $2 || chr(1114111))){own} LIMIT 2"
    rows = await raw.fetch(sql, name, f"{name}.", *(() if of_any_key else (_clean(feedback.key),)))
    record, card = meant_record(name, [(row[0], row[1]) for row in rows])
    await raw.execute(_LOCK, record)
    feedback = msgspec.structs.replace(feedback, record=record)
    known = await raw.fetch(f"SELECT {FEEDBACK_COLUMNS} FROM feedback WHERE record = $1", record)
    earlier = given_before(feedback, [feedback_in(row) for row in known], of_any_key=of_any_key)
    if earlier is not None:
        return Stored(earlier, card, is_new=False)
    if feedback.idempotency_key is not None:
        same = "SELECT true FROM feedback WHERE coalesce(key, '') = $1 AND idempotency_key = $2"
        if await raw.fetchval(same, feedback.key or "", feedback.idempotency_key):
            raise used_idempotency_key()
    record_at = next(row[2] for row in rows if row[0] == record)
    await raw.execute(_INSERT, *feedback_row(feedback), record_at, True if waits else None)
    return Stored(feedback, card, is_new=True)


def _clean(text: str | None) -> str | None:
    """The text without the character 0, which no text of PostgreSQL has."""
    return None if text is None else text.replace("\x00", "\ufffd")
