"""Batches of records on their way into PostgreSQL: by COPY, each record once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import asyncpg

from router.store.database import DatabaseError
from router.store.records.postgres import schema
from router.store.records.postgres.connection import Connection
from router.store.records.record import Record, Snapshot
from router.store.records.rows import COLUMNS, row_of

_BATCH_ROWS = 1000
_BATCH_BYTES = 4 * 2**20
_RECORD, _VECTOR, _PROMPT = (COLUMNS.index(name) for name in ("record", "vector", "prompt"))
_NAMES = ", ".join(COLUMNS)

_INCOMING = f"""
    CREATE TEMPORARY TABLE IF NOT EXISTS incoming ON COMMIT DELETE ROWS AS
    SELECT 0 AS position, {_NAMES} FROM records WHERE false"""
# A record of a batch that is repeated after a crash is there already, and then counts in no hour.
_INSERT = f"""
    WITH added AS (
        INSERT INTO records ({_NAMES}) SELECT {_NAMES} FROM incoming ORDER BY position ON CONFLICT DO NOTHING
        RETURNING at, surface, card, policy, key, status, error, input_tokens, output_tokens, cost_usd, total_ms
    )
    INSERT INTO hours AS total
    SELECT floor(at / 3600)::bigint * 3600, surface, coalesce(card, ''), coalesce(policy, ''), coalesce(key, ''),
        count(*), count(*) FILTER (WHERE status >= 400 OR error IS NOT NULL), coalesce(sum(input_tokens), 0),
        coalesce(sum(output_tokens), 0), coalesce(sum(cost_usd), 0), sum(total_ms)
    FROM added GROUP BY 1, 2, 3, 4, 5
    ON CONFLICT (hour, surface, card, policy, key) DO UPDATE SET
        requests = total.requests + excluded.requests,
        errors = total.errors + excluded.errors,
        input_tokens = total.input_tokens + excluded.input_tokens,
        output_tokens = total.output_tokens + excluded.output_tokens,
        cost_usd = total.cost_usd + excluded.cost_usd,
        total_ms = total.total_ms + excluded.total_ms"""
_SNAPSHOTS = """
    INSERT INTO snapshots AS kept VALUES ($1, $2, $3)
    ON CONFLICT (fingerprint) DO UPDATE SET seen_at = greatest(kept.seen_at, excluded.seen_at)"""
Rows = list[tuple[Any, ...]]


def add(connection: Connection, entries: Iterable[Record | Snapshot], now_s: float) -> int:
    """Insert `entries`, a batch to a transaction. Returns how many were rejected. Raises DatabaseError."""
    # Created ahead, so that midnight delays no record.
    today = schema.day_of(now_s)
    _ensure(connection, {today, today + 1})
    rejected = 0
    for snapshots, rows, damaged in _batches(entries):
        rejected += damaged + _add_batch(connection, snapshots, rows, now_s)
    return rejected


def _batches(entries: Iterable[Record | Snapshot]) -> Iterator[tuple[list[Snapshot], Rows, int]]:
    """The snapshots and rows of each batch, and how many of its records have no row."""
    snapshots: list[Snapshot] = []
    rows: Rows = []
    size = damaged = 0
    for entry in entries:
        if isinstance(entry, Snapshot):
            snapshots.append(entry)
            size += len(entry.content)
        else:
            try:
                schema.name_of(schema.day_of(entry.at))
                row = _clean(row_of(entry))
            except (ValueError, OverflowError):
                damaged += 1
                continue
            rows.append(row)
            size += sum(len(row[place] or b"") for place in (_RECORD, _VECTOR, _PROMPT))
        if len(rows) >= _BATCH_ROWS or size >= _BATCH_BYTES:
            yield snapshots, rows, damaged
            snapshots, rows, size, damaged = [], [], 0, 0
    yield snapshots, rows, damaged


def _clean(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """The row without the character 0, which no text of PostgreSQL has. In JSON it is escaped."""
    return tuple(value.replace("\x00", "\ufffd") if isinstance(value, str) else value for value in row)


def _add_batch(connection: Connection, snapshots: list[Snapshot], rows: Rows, now_s: float) -> int:
    if not snapshots and not rows:
        return 0
    days = {schema.day_of(row[1]) for row in rows}
    _ensure(connection, days)
    for is_last_try in (False, True):
        try:
            connection.run(_insert(connection.raw, snapshots, rows, now_s))
            return 0
        except _RejectedError:
            break
        except _NoPartitionError:
            if is_last_try:
                problem = "deletes days while records of them arrive; they are tried again"
                raise DatabaseError(connection.address.shown, None, problem) from None
            # Another gateway has deleted it since.
            connection.known_days.clear()
            _ensure(connection, days)
    if len(rows) + len(snapshots) == 1:
        return 1
    # One record that cannot be stored must not block the others.
    rejected = sum(_add_batch(connection, [one], [], now_s) for one in snapshots)
    return rejected + sum(_add_batch(connection, [], [row], now_s) for row in rows)


class _RejectedError(Exception):
    """A value of the batch is none that the database can store."""


class _NoPartitionError(Exception):
    """A day of the batch has no partition."""


async def _insert(raw: Any, snapshots: list[Snapshot], rows: Rows, now_s: float) -> None:
    try:
        async with raw.transaction():
            if snapshots:
                # Always in the same order, so that two gateways never wait for each other.
                unique = {each.fingerprint: each.content for each in snapshots}
                await raw.executemany(_SNAPSHOTS, [(name, now_s, unique[name]) for name in sorted(unique)])
            if rows:
                await raw.execute(_INCOMING)
                numbered = [(position, *row) for position, row in enumerate(rows)]
                await raw.copy_records_to_table("incoming", records=numbered, columns=("position", *COLUMNS))
                # One at a time, so that numbers become visible in their order: whoever follows them misses none.
                await schema.lock(raw, "numbers")
                await raw.execute(_INSERT)
    except asyncpg.exceptions.CheckViolationError as error:
        raise _NoPartitionError from error
    # The first two are raised by the client, which encodes the values, the last by the server.
    except (ValueError, OverflowError, asyncpg.DataError) as error:
        raise _RejectedError from error


def _ensure(connection: Connection, days: set[int]) -> None:
    """Create partitions that are missing."""
    missing = days - connection.known_days
    if missing:
        connection.run(schema.create_partitions(connection.raw, missing))
        connection.known_days |= missing
