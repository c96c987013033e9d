"""Feedback in SQLite, in the database of the records that it is about."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import msgspec

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
            record, card = self._asked(feedback, of_any_key)
            feedback = msgspec.structs.replace(feedback, record=record)
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
            if len(known) >= MAX_SOURCES and not of_any_key:
                raise FieldError("source", f"would be one too many: {MAX_SOURCES} sources have judged this answer")
            self._database.execute(f"INSERT INTO feedback ({FEEDBACK_COLUMNS}) VALUES (?{', ?' * 7})", _row(feedback))
        return Stored(feedback, card, is_new=True)

    def _asked(self, feedback: Feedback, of_any_key: bool) -> tuple[str, str]:
        """The id of the record, and the card that answered. The id of a client's own choice has a suffix there."""
        name = feedback.record
        own = "" if of_any_key else " AND key IS ?3"
        sql = f"SELECT id, card FROM records WHERE (id = ?1 OR (id > ?2 AND id < ?2 || char(1114111))){own} LIMIT 2"
        rows = self._database.execute(sql, (name, f"{name}.", *(() if of_any_key else (feedback.key,)))).fetchall()
        row = next((row for row in rows if row[0] == name), rows[0] if rows else None)
        if row is None:
            # Other keys' requests must look like requests that do not exist.
            problem = f'names no request of this key: "{excerpt(name)}"; send the `x-request-id` of an answer'
            raise UnknownIdError("id", problem)
        if len(rows) > 1 and row[0] != name:
            raise FieldError("id", f'is ambiguous: several requests had the id "{excerpt(name)}"')
        if row[1] is None:
            raise FieldError("id", f'names a request that no model answered: "{excerpt(name)}"')
        return str(row[0]), str(row[1])

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
