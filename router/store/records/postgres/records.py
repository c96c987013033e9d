"""Records in PostgreSQL: insert, query and delete."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Self

import asyncpg

from router.store.records import totals
from router.store.records.feedback import Feedback
from router.store.records.postgres import schema, writing
from router.store.records.postgres.address import Address
from router.store.records.postgres.connection import SCHEMA, Connection, give_back, lend
from router.store.records.protocol import EVERYTHING, Filter
from router.store.records.record import Record, Snapshot
from router.store.records.rows import (
    BATCH,
    FEEDBACK_COLUMNS,
    conditions,
    feedback_in,
    fixed_conditions,
    only_match,
    record_in,
    scanned_feedback,
)

_COLUMNS = "number, record, vector, prompt"
# A partition is deleted when its whole day is too old, so a record may live a day longer than it is kept; a snapshot
# in use is written again every hour.
_SNAPSHOT_GRACE_S = 2 * 86_400.0
# Whoever waits longer for a reader of a partition tries again later: meanwhile others would wait behind it.
_LOCK_TIMEOUT = "SET LOCAL lock_timeout = '2s'"
_SUMS = (
    "sum(requests)::bigint, sum(errors)::bigint, sum(input_tokens), sum(output_tokens), sum(cost_usd), sum(total_ms)"
)


class PostgresRecords:
    """The `RecordArchive` in PostgreSQL, over a connection that it returns at the end."""

    def __init__(self, connection: Connection) -> None:
        """Use `PostgresRecords.open`."""
        self.connection = connection

    @classmethod
    def open(cls, address: Address) -> PostgresRecords:
        """Connect, and create the schema or bring it up to date. Raises DatabaseError."""
        records = cls.open_existing(address, create=True)
        assert records is not None
        return records

    @classmethod
    def open_existing(cls, address: Address, *, create: bool = False) -> PostgresRecords | None:
        """Connect; None where the schema does not exist, unless it is to be created. Raises DatabaseError."""
        connection = lend(address)
        try:
            exists = schema.prepare(connection, create=create)
        except BaseException:
            connection.close()
            raise
        if exists:
            return cls(connection)
        give_back(connection)
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Return the connection, which is used again."""
        give_back(self.connection)

    def is_current(self) -> bool:
        """See `RecordArchive`."""
        return not self.connection.is_broken

    def add(self, entries: Iterable[Record | Snapshot], now_s: float) -> int:
        """See `RecordArchive`."""
        return writing.add(self.connection, entries, now_s)

    def prune(self, before_s: float) -> bool:
        """Delete the oldest day that lies before `before_s`. Returns whether more such days are left.

        Raises DatabaseError.
        """
        return self.connection.run(_prune(self.connection, before_s))

    def tail(self, limit: int, wanted: Filter = EVERYTHING, *, prompts: bool = True) -> list[Record]:
        """See `RecordStore`."""
        condition, values = _where(wanted)
        columns = _COLUMNS if prompts else "number, record, vector, NULL"
        sql = f"SELECT {columns} FROM records WHERE {condition} ORDER BY at DESC, number DESC LIMIT {int(limit)}"
        return [self._record(row) for row in reversed(self.connection.select(sql, *values))]

    def last_number(self) -> int:
        """See `RecordStore`."""
        return int(self.connection.select("SELECT coalesce(max(number), 0) FROM records")[0][0])

    def added_after(self, number: int, wanted: Filter = EVERYTHING) -> list[tuple[int, Record]]:
        """See `RecordStore`."""
        condition, values = _where(wanted, 1)
        sql = f"SELECT {_COLUMNS} FROM records WHERE number > $1 AND {condition} ORDER BY number LIMIT {BATCH}"
        return [(int(row[0]), self._record(row)) for row in self.connection.select(sql, number, *values)]

    def find(self, prefix: str) -> Record:
        """See `RecordStore`."""
        sql = f"SELECT {_COLUMNS} FROM records WHERE id >= $1 AND id < $2 ORDER BY id LIMIT 2"
        # As ids are stored: without the character 0. The greatest code point sorts after every id with the prefix.
        start = prefix.replace("\x00", "\ufffd")
        rows = self.connection.select(sql, start, start + "\U0010ffff") if prefix else []
        return only_match([self._record(row) for row in rows], prefix)

    def scan(self, wanted: Filter = EVERYTHING) -> Iterator[Record]:
        """See `RecordStore`."""
        condition, values = _where(wanted, 2)
        # The first comparison says nothing new, but leaves out the partitions of earlier days.
        sql = (
            "SELECT number, record, vector, NULL, at FROM records WHERE at >= $1 AND (at, number) > ($1, $2) "
            f"AND {condition} ORDER BY at, number LIMIT {BATCH}"
        )
        at, number = float("-inf"), 0
        while rows := self.connection.select(sql, at, number, *values):
            for row in rows:
                yield self._record(row)
            number, at = rows[-1][0], rows[-1][4]

    def feedback_of(self, record: str) -> list[Feedback]:
        """See `RecordStore`."""
        sql = f"SELECT {FEEDBACK_COLUMNS} FROM feedback WHERE record = $1 ORDER BY at, source"
        return [feedback_in(row) for row in self.connection.select(sql, record)]

    def scan_feedback(self, since_s: float | None = None) -> Iterator[Feedback]:
        """See `RecordStore`."""
        sql = (
            f"SELECT {FEEDBACK_COLUMNS} FROM feedback WHERE (at, record, source) > ($1, $2, $3) "
            f"ORDER BY at, record, source LIMIT {BATCH}"
        )
        return scanned_feedback(lambda place: self.connection.select(sql, *place), since_s)

    def judged(self, limit: int, since_s: float) -> list[tuple[Feedback, Record]]:
        """See `RecordStore`."""
        columns = ", ".join(f"feedback.{name}" for name in FEEDBACK_COLUMNS.split(", "))
        # The time selects the partition.
        sql = (
            f"SELECT number, records.record, vector, NULL::bytea, {columns} FROM feedback "
            "JOIN records ON records.id = feedback.record AND records.at = feedback.record_at "
            f"WHERE feedback.at >= $1 ORDER BY feedback.at DESC LIMIT {int(limit)}"
        )
        return [(feedback_in(row[4:]), self._record(row)) for row in self.connection.select(sql, since_s)]

    def totals(
        self, by: Sequence[totals.Grouping], since_s: float, until_s: float, surfaces: Collection[str]
    ) -> list[totals.Totals]:
        """See `RecordStore`."""
        columns = ", ".join(by)
        sql = (
            f"SELECT {columns}, {_SUMS} FROM "
            f"(SELECT *, hour / {totals.DAY_S} * {totals.DAY_S} AS day FROM hours) AS each "
            "WHERE hour >= $1::float8 AND hour < $2::float8 AND surface = ANY($3::text[]) "
            f"GROUP BY {columns} ORDER BY {columns}"
        )
        rows = self.connection.select(sql, since_s, until_s, list(surfaces))
        return [totals.Totals(tuple(row[: len(by)]), *_whole(row[len(by) :])) for row in rows]

    def snapshot(self, fingerprint: str) -> bytes | None:
        """See `RecordStore`."""
        rows = self.connection.select("SELECT content FROM snapshots WHERE fingerprint = $1", fingerprint)
        return bytes(rows[0][0]) if rows else None

    def _record(self, row: Sequence[Any]) -> Record:
        return record_in(row, self.connection.address.shown)


def _whole(sums: Sequence[Any]) -> tuple[int, int, int, int, float, float]:
    requests, errors, read, written, cost_usd, total_ms = sums
    return requests, errors, int(read), int(written), cost_usd, total_ms


async def _prune(connection: Connection, before_s: float) -> bool:
    raw, first_kept = connection.raw, schema.day_of(before_s)
    start_s = float(first_kept * schema.DAY_S)
    async with raw.transaction():
        await raw.execute("DELETE FROM snapshots WHERE seen_at < $1", before_s - _SNAPSHOT_GRACE_S)
        await raw.execute("DELETE FROM hours WHERE hour < $1", first_kept * schema.DAY_S)
        await raw.execute("DELETE FROM feedback WHERE record_at < $1", start_s)
    try:
        async with raw.transaction():
            await raw.execute(_LOCK_TIMEOUT)
            await schema.lock(raw, "partitions")
            old = [day for day in await schema.partitions(raw) if day < first_kept]
            if old:
                await raw.execute(f"DROP TABLE {SCHEMA}.{schema.name_of(old[0])}")
                connection.known_days.discard(old[0])
    except asyncpg.exceptions.LockNotAvailableError:
        return False
    return len(old) > 1


def _where(wanted: Filter, before: int = 0) -> tuple[str, list[object]]:
    """The filter as a condition in SQL with its parameters, of which `before` others come first."""
    given = conditions(wanted)
    numbered = [condition.format(f"${number}") for number, (condition, _) in enumerate(given, before + 1)]
    return " AND ".join((*numbered, *fixed_conditions(wanted))) or "TRUE", [value for _, value in given]
