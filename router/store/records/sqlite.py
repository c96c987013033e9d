"""The records in SQLite: adding, finding and forgetting them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from router.errors import CallerError, FileError
from router.store.database import Transaction, database_fault, open_database
from router.store.records.record import Record, Snapshot

FILE_NAME = "records.sqlite"

MIGRATIONS = (
    (
        # `record` is JSON without vector and prompt; the columns before it repeat what people ask for in SQL.
        """CREATE TABLE records (
            number INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            at REAL NOT NULL,
            surface TEXT NOT NULL,
            asked TEXT NOT NULL,
            key TEXT,
            policy TEXT,
            card TEXT,
            status INTEGER NOT NULL,
            error TEXT,
            input_tokens INTEGER,
            output_tokens INTEGER,
            cost_usd REAL,
            total_ms REAL NOT NULL,
            record TEXT NOT NULL,
            vector BLOB,
            prompt BLOB
        )""",
        "CREATE INDEX records_by_time ON records (at)",
        "CREATE TABLE snapshots (fingerprint TEXT PRIMARY KEY, seen_at REAL NOT NULL, content BLOB NOT NULL)",
    ),
    (
        "CREATE INDEX records_by_card ON records (card, at)",
        "CREATE INDEX records_by_key ON records (key, at) WHERE key IS NOT NULL",
        "CREATE INDEX records_of_errors ON records (at) WHERE status >= 400 OR error IS NOT NULL",
    ),
)

_INSERT = f"INSERT OR IGNORE INTO records VALUES (NULL{', ?' * 16})"
_KEEP_SNAPSHOT = """INSERT INTO snapshots VALUES (?, ?, ?)
    ON CONFLICT (fingerprint) DO UPDATE SET seen_at = max(seen_at, excluded.seen_at)"""
_COLUMNS = "number, record, vector, prompt"
_GREATEST_INTEGER = 2**63 - 1
_BATCH = 500
_SNAPSHOT_GRACE_S = 86_400.0
_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Record)


class Filter(Struct, frozen=True):
    """Which records are wanted. `card` served them, `key` is the id of a client's key, `errors` those that failed,
    `routed` those with a decision, `since` and `until` seconds since 1970, the first included and the second not.
    """

    card: str | None = None
    key: str | None = None
    errors: bool = False
    routed: bool = False
    since: float | None = None
    until: float | None = None

    def where(self) -> tuple[str, list[object]]:
        """A condition in SQL, and its parameters."""
        wanted = (
            ("card = ?", self.card),
            ("key = ?", self.key),
            ("at >= ?", self.since),
            ("at < ?", self.until),
        )
        given = [(text, value) for text, value in wanted if value is not None]
        texts = [text for text, _ in given]
        if self.routed:
            texts.append("policy IS NOT NULL")
        if self.errors:
            texts.append("(status >= 400 OR error IS NOT NULL)")
        return " AND ".join(texts) or "TRUE", [value for _, value in given]


EVERYTHING = Filter()


class Records:
    """The records of one folder, over a connection of its own."""

    def __init__(self, file: Path, database: sqlite3.Connection) -> None:
        self.file, self._database = file, database

    @classmethod
    def open(cls, folder: Path, *, read_only: bool = False) -> Records:
        """Open the database in `folder`, or make one. Raises FileError."""
        file = folder / FILE_NAME
        return cls(file, open_database(file, MIGRATIONS, read_only=read_only))

    def __enter__(self) -> Records:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._database.close()

    def add(self, entries: Iterable[Record | Snapshot], now: float) -> int:
        """Keep all of them in one transaction; what is there already stays as it is. Returns how many SQLite refused.

        Raises sqlite3.Error, and then keeps none.
        """
        refused = 0
        with Transaction(self._database):
            for entry in entries:
                try:
                    if isinstance(entry, Record):
                        self._database.execute(_INSERT, _row(entry))
                    else:
                        self._database.execute(_KEEP_SNAPSHOT, (entry.fingerprint, now, entry.content))
                except (ValueError, OverflowError, sqlite3.DataError):
                    # One record that cannot be kept must not hold up the others.
                    refused += 1
        return refused

    def prune(self, before: float) -> bool:
        """Forget some of the records older than `before`, and old snapshots. Returns whether there is more to forget.

        Raises sqlite3.Error.
        """
        with Transaction(self._database):
            old = "SELECT number FROM records WHERE at < ? ORDER BY at LIMIT ?"
            gone = self._database.execute(f"DELETE FROM records WHERE number IN ({old})", (before, _BATCH)).rowcount
            # A snapshot is noted again every hour of its use, so no record that is left can need these.
            self._database.execute("DELETE FROM snapshots WHERE seen_at < ?", (before - _SNAPSHOT_GRACE_S,))
        if gone:
            # `execute` would give back a single page.
            self._database.executescript("PRAGMA incremental_vacuum(500)")
        return gone == _BATCH

    def count(self, wanted: Filter = EVERYTHING) -> int:
        """How many there are."""
        condition, values = wanted.where()
        return int(self._select(f"SELECT count(*) FROM records WHERE {condition}", values)[0][0])

    def tail(self, limit: int, wanted: Filter = EVERYTHING) -> list[Record]:
        """The newest, oldest first."""
        condition, values = wanted.where()
        sql = f"SELECT {_COLUMNS} FROM records WHERE {condition} ORDER BY at DESC, number DESC LIMIT ?"
        return [self._record(row) for row in reversed(self._select(sql, [*values, limit]))]

    def last_number(self) -> int:
        """The number of the record that was added last; 0 where there is none."""
        return int(self._select("SELECT coalesce(max(number), 0) FROM records")[0][0])

    def added_after(self, number: int, wanted: Filter = EVERYTHING) -> list[tuple[int, Record]]:
        """What was added after the record of this number, in the order of adding, each with its number."""
        condition, values = wanted.where()
        sql = f"SELECT {_COLUMNS} FROM records WHERE number > ? AND {condition} ORDER BY number LIMIT {_BATCH}"
        return [(int(row[0]), self._record(row)) for row in self._select(sql, [number, *values])]

    def named(self, prefix: str) -> Record:
        """The record whose id begins so. Raises CallerError where there is none or more than one."""
        sql = f"SELECT {_COLUMNS} FROM records WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT 2"
        # The greatest code point: no id that begins with the prefix comes after it.
        found = [self._record(row) for row in self._select(sql, [prefix, prefix + "\U0010ffff"])] if prefix else []
        if not found:
            raise CallerError(f'there is no record "{prefix}" (`route records tail` lists the newest)')
        if len(found) > 1 and found[0].id != prefix:
            raise CallerError(f'"{prefix}" begins the ids of several records, such as {found[0].id} and {found[1].id}')
        return found[0]

    def each(self, wanted: Filter = EVERYTHING) -> Iterator[Record]:
        """All of them, oldest first, without their prompts; records added meanwhile may be among them."""
        condition, values = wanted.where()
        sql = (
            f"SELECT number, record, vector, NULL, at FROM records WHERE (at, number) > (?, ?) AND {condition} "
            f"ORDER BY at, number LIMIT {_BATCH}"
        )
        # By pages: one long read would keep the write-ahead log from being taken in.
        at, number = float("-inf"), 0
        while rows := self._select(sql, [at, number, *values]):
            for row in rows:
                yield self._record(row)
            number, at = rows[-1][0], rows[-1][4]

    def snapshot(self, fingerprint: str) -> bytes | None:
        """The content of the snapshot; None where it is not kept."""
        found = self._select("SELECT content FROM snapshots WHERE fingerprint = ?", [fingerprint])
        return bytes(found[0][0]) if found else None

    def _select(self, sql: str, values: Iterable[object] = ()) -> list[Any]:
        try:
            return self._database.execute(sql, tuple(values)).fetchall()
        except sqlite3.Error as error:
            raise database_fault(self.file, error) from None

    def _record(self, row: Sequence[Any]) -> Record:
        number, text, vector, prompt, *_ = row
        try:
            record = _DECODER.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise FileError(str(self.file), None, f"record number {number} cannot be read: {error}") from None
        if vector is not None and record.decision is not None:
            record = msgspec.structs.replace(record, decision=msgspec.structs.replace(record.decision, vector=vector))
        return record if prompt is None else msgspec.structs.replace(record, prompt=prompt)


def _row(record: Record) -> tuple[object, ...]:
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
        min(usage.input_tokens, _GREATEST_INTEGER) if usage else None,
        min(usage.output_tokens, _GREATEST_INTEGER) if usage else None,
        outcome.cost_usd,
        outcome.total_ms,
        _ENCODER.encode(plain).decode(),
        decision.vector if decision else None,
        record.prompt,
    )
