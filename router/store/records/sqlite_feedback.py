"""Feedback in SQLite, in the database of the records that it is about."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from router.errors import ConflictError, FieldError, UnknownIdError, excerpt
from router.store.database import Transaction, database_errors, open_database
from router.store.records.feedback import MAX_SOURCES, Feedback, Stored
from router.store.records.sqlite import FEEDBACK_COLUMNS, FILE_NAME, MIGRATIONS, feedback_in


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

    def add(self, feedback: Feedback, *, of_any_key: bool = False) -> Stored:
        """See `FeedbackStore`."""
        with database_errors(self.file), Transaction(self._database):
            card = self._card_of(feedback, of_any_key)
            known = self._select("record = ?", [feedback.record])
            earlier = next((each for each in known if each.source == feedback.source), None)
            if earlier is not None:
                if not earlier.says_the_same(feedback):
                    problem = f'"{feedback.source}" has judged {excerpt(feedback.record)} before, differently'
                    raise ConflictError(f"`source` {problem}; each source judges an answer once")
                return Stored(earlier, card, is_new=False)
            if feedback.idempotency_key is not None:
                same = "ifnull(key, '') = ? AND idempotency_key = ?"
                if self._select(same, [feedback.key or "", feedback.idempotency_key]):
                    raise ConflictError("`idempotency_key` was used for other feedback; use a new one")
            if len(known) >= MAX_SOURCES:
                raise FieldError("source", f"would be one too many: {MAX_SOURCES} sources have judged this answer")
            self._database.execute(f"INSERT INTO feedback ({FEEDBACK_COLUMNS}) VALUES (?{', ?' * 7})", _row(feedback))
        return Stored(feedback, card, is_new=True)

    def _card_of(self, feedback: Feedback, of_any_key: bool) -> str:
        sql = "SELECT key, card FROM records WHERE id = ?"
        row = self._database.execute(sql, (feedback.record,)).fetchone()
        if row is None or not (of_any_key or row[0] == feedback.key):
            # Other keys' requests must look like requests that do not exist.
            problem = (
                f'names no request of this key: "{excerpt(feedback.record)}"; send the `x-request-id` of an answer'
            )
            raise UnknownIdError("id", problem)
        if row[1] is None:
            raise FieldError("id", f'names a request that no model answered: "{excerpt(feedback.record)}"')
        return str(row[1])

    def _select(self, condition: str, values: Sequence[object]) -> list[Feedback]:
        sql = f"SELECT {FEEDBACK_COLUMNS} FROM feedback WHERE {condition}"
        return [feedback_in(row) for row in self._database.execute(sql, tuple(values))]


def _row(feedback: Feedback) -> tuple[object, ...]:
    return (
        feedback.record,
        feedback.source,
        feedback.at,
        feedback.value,
        feedback.verdict,
        feedback.comment,
        feedback.key,
        feedback.idempotency_key,
    )
