"""Feedback in SQLite, in the database of the records that it is about."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import msgspec

from router.store.database import Transaction, database_errors, open_database
from router.store.records.feedback import Feedback, Stored, given_before, meant_record, used_idempotency_key
from router.store.records.rows import FEEDBACK_COLUMNS, feedback_in, feedback_row
from router.store.records.sqlite import FILE_NAME, MIGRATIONS

_TAKE = f"""
    UPDATE feedback SET waiting = NULL WHERE (record, source) IN (
        SELECT record, source FROM feedback WHERE waiting = 1 ORDER BY at LIMIT ?
    ) RETURNING {FEEDBACK_COLUMNS}
"""


class SqliteFeedback:
    """The `FeedbackStore` of one folder, over its own connection."""

    def __init__(self, file: Path, database: sqlite3.Connection) -> None:
        self.file, self._database = file, database

    @classmethod
    def open(cls, folder: Path) -> SqliteFeedback:
        """Open the database in `folder`; create it if it does not exist. Raises DatabaseError."""
        file = folder / FILE_NAME
        return cls(file, open_database(file, MIGRATIONS))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._database.close()

    def add(self, feedback: Feedback, *, of_any_key: bool = False, waits: bool = False) -> Stored:
        """See `FeedbackStore`."""
        with database_errors(self.file), Transaction(self._database):
            record, card = self._asked(feedback, of_any_key)
            feedback = msgspec.structs.replace(feedback, record=record)
            known = self._select("record = ?", [record])
            if (earlier := given_before(feedback, known, of_any_key=of_any_key)) is not None:
                return Stored(earlier, card, is_new=False)
            if feedback.idempotency_key is not None:
                same = "ifnull(key, '') = ? AND idempotency_key = ?"
                if self._select(same, [feedback.key or "", feedback.idempotency_key]):
                    raise used_idempotency_key()
            insert = f"INSERT INTO feedback ({FEEDBACK_COLUMNS}, waiting) VALUES (?{', ?' * 9})"
            self._database.execute(insert, (*feedback_row(feedback), 1 if waits else None))
        return Stored(feedback, card, is_new=True)

    def take_waiting(self, limit: int) -> list[Feedback]:
        """See `FeedbackStore`."""
        with database_errors(self.file):
            # Usually there is none, and a transaction would wait for other writers.
            if self._database.execute("SELECT 1 FROM feedback WHERE waiting = 1 LIMIT 1").fetchone() is None:
                return []
            with Transaction(self._database):
                rows = self._database.execute(_TAKE, (limit,)).fetchall()
        return sorted((feedback_in(row) for row in rows), key=lambda each: (each.at, each.record, each.source))

    def _asked(self, feedback: Feedback, of_any_key: bool) -> tuple[str, str]:
        """The id of the record, and the card that answered."""
        name = feedback.record
        own = "" if of_any_key else " AND key IS ?3"
        sql = f"SELECT id, card FROM records WHERE (id = ?1 OR (id > ?2 AND id < ?2 || char(1114111))){own} LIMIT 2"
        rows = self._database.execute(sql, (name, f"{name}.", *(() if of_any_key else (feedback.key,)))).fetchall()
        return meant_record(name, rows)

    def _select(self, condition: str, values: Sequence[object]) -> list[Feedback]:
        sql = f"SELECT {FEEDBACK_COLUMNS} FROM feedback WHERE {condition}"
        return [feedback_in(row) for row in self._database.execute(sql, tuple(values))]
