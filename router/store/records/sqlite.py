"""Records in SQLite: insert, query and delete."""

from __future__ import annotations

import functools
import itertools
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from router.store.database import Transaction, database_errors, open_database
from router.store.records import totals
from router.store.records.feedback import Feedback
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
    row_of,
    scanned_feedback,
)

FILE_NAME = "records.sqlite"

MIGRATIONS = (
    (
        # `record` is JSON without vector and prompt; the columns before it repeat fields for queries in SQL.
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
    (
        """CREATE TABLE feedback (
            record TEXT NOT NULL,
            source TEXT NOT NULL,
            at REAL NOT NULL,
            value REAL NOT NULL,
            verdict TEXT,
            comment TEXT,
            key TEXT,
            idempotency_key TEXT,
            PRIMARY KEY (record, source)
        ) WITHOUT ROWID""",
        "CREATE INDEX feedback_by_time ON feedback (at, record, source)",
        """CREATE UNIQUE INDEX feedback_once ON feedback (ifnull(key, ''), idempotency_key)
            WHERE idempotency_key IS NOT NULL""",
        """CREATE TRIGGER feedback_of_deleted_records AFTER DELETE ON records
            BEGIN DELETE FROM feedback WHERE record = OLD.id; END""",
    ),
    totals.MIGRATION,
    totals.DAYS_MIGRATION,
    (
        "ALTER TABLE feedback ADD COLUMN propensity REAL",
        # 1 where a gateway is to learn from it.
        "ALTER TABLE feedback ADD COLUMN waiting INTEGER",
        "CREATE INDEX feedback_waiting ON feedback (at) WHERE waiting = 1",
    ),
    # There are few, or none: without it, whoever asks for the newest ones reads every record.
    ("CREATE INDEX records_of_shadows ON records (at) WHERE surface = 'shadow'",),
)

# One statement for many records: the connection gives the interpreter's lock away with each, and the event loop has to
# give it back. More records to a statement gain nothing.
_INSERTED_AT_ONCE = 32
_BYTES_AT_ONCE = 2**20
_ROW = f"(NULL{', ?' * 16})"
_INSERT_SNAPSHOT = """INSERT INTO snapshots VALUES (?, ?, ?)
    ON CONFLICT (fingerprint) DO UPDATE SET seen_at = max(seen_at, excluded.seen_at)"""
_UNSTORABLE = (ValueError, OverflowError, sqlite3.DataError)
_COLUMNS = "number, record, vector, prompt"
_SNAPSHOT_GRACE_S = 86_400.0


def _few(entries: Iterator[Record | Snapshot]) -> list[Record | Snapshot]:
    """The next entries that one statement inserts; the database copies all of them, and a prompt may be large."""
    few: list[Record | Snapshot] = []
    size = 0
    while len(few) < _INSERTED_AT_ONCE and size < _BYTES_AT_ONCE and (entry := next(entries, None)) is not None:
        few.append(entry)
        size += len((entry.prompt if isinstance(entry, Record) else entry.content) or b"")
    return few


class SqliteRecords:
    """The `RecordStore` of one folder, over its own connection. The journal also writes through it."""

    def __init__(self, file: Path, database: sqlite3.Connection) -> None:
        self.file, self._database = file, database
        self._added_up_until_s = 0.0
        self._inode = _inode(file)

    @classmethod
    def open(cls, folder: Path, *, read_only: bool = False) -> SqliteRecords:
        """Open the database in `folder`; create it if it does not exist. Raises DatabaseError."""
        file = folder / FILE_NAME
        return cls(file, open_database(file, MIGRATIONS, read_only=read_only))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._database.close()

    def add(self, entries: Iterable[Record | Snapshot], now_s: float) -> int:
        """Insert `entries` in one transaction, except those already stored. Returns how many SQLite rejected.

        Raises DatabaseError, and then inserts none.
        """
        rejected, remaining = 0, iter(entries)
        with database_errors(self.file), Transaction(self._database):
            while some := _few(remaining):
                try:
                    self._insert(some, now_s)
                except _UNSTORABLE:
                    rejected += self._insert_singly(some, now_s)
            today_s = now_s // totals.DAY_S * totals.DAY_S
            if today_s > self._added_up_until_s:
                self._database.execute(totals.ADD_UP, (today_s,))
                self._added_up_until_s = today_s
        return rejected

    def _insert_singly(self, entries: Sequence[Record | Snapshot], now_s: float) -> int:
        """One record that cannot be stored must not block the others. Returns how many cannot."""
        rejected = 0
        for entry in entries:
            try:
                self._insert([entry], now_s)
            except _UNSTORABLE:
                rejected += 1
        return rejected

    def _insert(self, entries: Sequence[Record | Snapshot], now_s: float) -> None:
        rows = [row_of(entry) for entry in entries if isinstance(entry, Record)]
        snapshots = [(entry.fingerprint, now_s, entry.content) for entry in entries if isinstance(entry, Snapshot)]
        if rows:
            # Not OR IGNORE: it would take the place of what the trigger of `totals` does on a conflict.
            sql = f"INSERT INTO records VALUES {', '.join([_ROW] * len(rows))} ON CONFLICT (id) DO NOTHING"
            self._database.execute(sql, [*itertools.chain.from_iterable(rows)])
        if snapshots:
            self._database.executemany(_INSERT_SNAPSHOT, snapshots)

    def prune(self, before_s: float) -> bool:
        """Delete a batch of records older than `before_s`, and old snapshots. Returns whether more records are left.

        Raises DatabaseError.
        """
        with database_errors(self.file):
            with Transaction(self._database):
                old = "SELECT number FROM records WHERE at < ? ORDER BY at LIMIT ?"
                delete = f"DELETE FROM records WHERE number IN ({old})"
                deleted = self._database.execute(delete, (before_s, BATCH)).rowcount
                # A snapshot in use is written again every hour, so no remaining record refers to these.
                self._database.execute("DELETE FROM snapshots WHERE seen_at < ?", (before_s - _SNAPSHOT_GRACE_S,))
                self._database.execute("DELETE FROM hours WHERE hour < ?", (before_s - totals.HOUR_S,))
                self._database.execute("DELETE FROM days WHERE day < ?", (before_s - totals.DAY_S,))
            if deleted:
                # `execute` would free a single page.
                self._database.executescript("PRAGMA incremental_vacuum(500)")
        return deleted == BATCH

    def is_current(self) -> bool:
        """Whether the file has not been moved away since; further writes to it would be lost."""
        return _inode(self.file) == self._inode

    def tail(self, limit: int, wanted: Filter = EVERYTHING, *, prompts: bool = True) -> list[Record]:
        """The newest records, oldest first; their prompts, which may be large, only where `prompts`."""
        condition, values = _where(wanted)
        columns = _COLUMNS if prompts else "number, record, vector, NULL"
        sql = f"SELECT {columns} FROM records WHERE {condition} ORDER BY at DESC, number DESC LIMIT ?"
        return [record_in(row, str(self.file)) for row in reversed(self._select(sql, [*values, limit]))]

    def last_number(self) -> int:
        """The number of the record that was added last; 0 if there are no records."""
        return int(self._select("SELECT coalesce(max(number), 0) FROM records")[0][0])

    def added_after(self, number: int, wanted: Filter = EVERYTHING) -> list[tuple[int, Record]]:
        """A batch of records added after record `number`, in the order of insertion, each with its own number."""
        condition, values = _where(wanted)
        sql = f"SELECT {_COLUMNS} FROM records WHERE number > ? AND {condition} ORDER BY number LIMIT {BATCH}"
        return [(int(row[0]), record_in(row, str(self.file))) for row in self._select(sql, [number, *values])]

    def find(self, prefix: str) -> Record:
        """The record whose id is `prefix` or is the only one to begin with it. Raises CallerError."""
        sql = f"SELECT {_COLUMNS} FROM records WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT 2"
        # The greatest code point: every id that begins with the prefix sorts before it.
        rows = self._select(sql, [prefix, prefix + "\U0010ffff"]) if prefix else []
        return only_match([record_in(row, str(self.file)) for row in rows], prefix)

    def scan(self, wanted: Filter = EVERYTHING) -> Iterator[Record]:
        """All records, oldest first, without their prompts. Records added meanwhile may be included."""
        condition, values = _where(wanted)
        sql = (
            f"SELECT number, record, vector, NULL, at FROM records WHERE (at, number) > (?, ?) AND {condition} "
            f"ORDER BY at, number LIMIT {BATCH}"
        )
        # In pages: one long read would block checkpoints of the write-ahead log.
        at, number = float("-inf"), 0
        while rows := self._select(sql, [at, number, *values]):
            for row in rows:
                yield record_in(row, str(self.file))
            number, at = rows[-1][0], rows[-1][4]

    def feedback_of(self, record: str) -> list[Feedback]:
        """All feedback about the request with this id, oldest first."""
        rows = self._select(f"SELECT {FEEDBACK_COLUMNS} FROM feedback WHERE record = ? ORDER BY at, source", [record])
        return [feedback_in(row) for row in rows]

    def scan_feedback(self, since_s: float | None = None) -> Iterator[Feedback]:
        """All feedback given since then, in seconds since 1970, oldest first."""
        sql = (
            f"SELECT {FEEDBACK_COLUMNS} FROM feedback WHERE (at, record, source) > (?, ?, ?) "
            f"ORDER BY at, record, source LIMIT {BATCH}"
        )
        return scanned_feedback(functools.partial(self._select, sql), since_s)

    def judged(self, limit: int, since_s: float) -> list[tuple[Feedback, Record]]:
        """See `RecordStore`."""
        columns = ", ".join(f"feedback.{name}" for name in FEEDBACK_COLUMNS.split(", "))
        sql = (
            f"SELECT number, records.record, vector, NULL, {columns} FROM feedback "
            "JOIN records ON id = feedback.record WHERE feedback.at >= ? ORDER BY feedback.at DESC LIMIT ?"
        )
        return [(feedback_in(row[4:]), record_in(row, str(self.file))) for row in self._select(sql, (since_s, limit))]

    def totals(
        self, by: Sequence[totals.Grouping], since_s: float, until_s: float, surfaces: Collection[str]
    ) -> list[totals.Totals]:
        """See `RecordStore`."""
        rows = self._select(*totals.select(by, since_s, until_s, surfaces))
        return [totals.Totals(row[: len(by)], *row[len(by) :]) for row in rows]

    def snapshot(self, fingerprint: str) -> bytes | None:
        """The content of a snapshot; None if it is not stored."""
        rows = self._select("SELECT content FROM snapshots WHERE fingerprint = ?", [fingerprint])
        return bytes(rows[0][0]) if rows else None

    def _select(self, sql: str, values: Iterable[object] = ()) -> list[Any]:
        with database_errors(self.file):
            return self._database.execute(sql, tuple(values)).fetchall()


def _inode(file: Path) -> int | None:
    try:
        return file.stat().st_ino
    except FileNotFoundError:
        return None


def _where(wanted: Filter) -> tuple[str, list[object]]:
    """The filter as a condition in SQL with its parameters."""
    given = conditions(wanted)
    every = [*(condition.format("?") for condition, _ in given), *fixed_conditions(wanted)]
    return " AND ".join(every) or "TRUE", [value for _, value in given]
