"""The storage backend: one place, chosen by URL, for records and shared state."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from router.errors import ConfigurationError
from router.store.records.feedback import FeedbackStore
from router.store.records.patient import WatchedSink
from router.store.records.postgres.address import read_address, without_password
from router.store.records.protocol import RecordArchive, RecordStore
from router.store.state.threaded import CheckedStore

# A drive letter such as C: is not a scheme.
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+)://(?P<rest>.*)", re.DOTALL)
_STATE_FILE = "state.sqlite"


class Backend(Protocol):
    """Where records and shared state are stored. A method opens only what it returns."""

    @property
    def records_place(self) -> str:
        """Where the records are, as a message may say it: without a password."""

    def read_records(self) -> RecordStore | None:
        """The records; None if none were ever written. Raises FileError."""

    def record_sink(self, keep_days: float | None = None) -> WatchedSink:
        """Start writing records. They are deleted after `keep_days`, None for never.

        Raises ForeignDatabaseError if the database is damaged or of a newer release.
        """

    def archive(self) -> RecordArchive:
        """The records, to add to without a journal. Raises FileError."""

    def feedback(self) -> FeedbackStore:
        """The feedback about records. Raises FileError."""

    def shared_state(self, hold_s: float) -> CheckedStore:
        """The state that workers share; reservations are spent after `hold_s` unless renewed. Raises FileError."""


class FolderBackend(Struct, frozen=True):
    """Everything in one folder: SQLite files, and the journal of records on their way to the database.

    With `records_url`, records and feedback are in that PostgreSQL database; the folder still has the journal.
    """

    folder: Path
    records_url: str | None = None

    def __repr__(self) -> str:
        # A URL may have a password, and a traceback may print this.
        return f"FolderBackend({str(self.folder)!r}, records={without_password(self.records_url or '')!r})"

    @property
    def records_place(self) -> str:
        """See `Backend`."""
        return str(self.folder) if self.records_url is None else read_address(self.records_url).shown

    def read_records(self) -> RecordStore | None:
        """See `Backend`."""
        if self.records_url is not None:
            from router.store.records.postgres.queue import open_records as open_in_postgres

            return open_in_postgres(self.folder, read_address(self.records_url))
        from router.store.records.journal import open_records

        return open_records(self.folder)

    def record_sink(self, keep_days: float | None = None) -> WatchedSink:
        """See `Backend`."""
        from router.store.records.journal import Journal

        if self.records_url is not None:
            from router.store.records.postgres.queue import destination

            return Journal.open(self.folder, destination(read_address(self.records_url)), keep_days=keep_days)
        return Journal.open(self.folder, keep_days=keep_days)

    def archive(self) -> RecordArchive:
        """See `Backend`."""
        if self.records_url is not None:
            from router.store.records.postgres.records import PostgresRecords

            return PostgresRecords.open(read_address(self.records_url))
        from router.store.records.sqlite import SqliteRecords

        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return SqliteRecords.open(self.folder)

    def feedback(self) -> FeedbackStore:
        """See `Backend`."""
        if self.records_url is not None:
            from router.store.records.postgres.feedback import PostgresFeedback

            return PostgresFeedback.open(read_address(self.records_url))
        from router.store.records.sqlite_feedback import SqliteFeedback

        return SqliteFeedback.open(self.folder)

    def shared_state(self, hold_s: float) -> CheckedStore:
        """See `Backend`."""
        from router.store.state.sqlite import SqliteState

        return SqliteState(self.folder / _STATE_FILE, hold_s=hold_s)


def open_store(url: str | Path, *, records: str | None = None) -> Backend:
    """The backend at `url`: the path of a folder, or `sqlite:///` and the path of a folder.

    `records` is the URL of the PostgreSQL database that has the records; None where the folder has them, too.

    As in SQLAlchemy, `sqlite:///folder` is relative to the working directory, and `sqlite:////folder` is absolute.
    Raises ConfigurationError for any other URL.
    """
    if records is not None:
        read_address(records)
    return FolderBackend(_folder_at(url), records_url=records)


def _folder_at(url: str | Path) -> Path:
    parts = _URL.fullmatch(url) if isinstance(url, str) else None
    if parts is None:
        return Path(url).expanduser()
    scheme, shown = parts["scheme"], without_password(str(url))
    if scheme.lower() != "sqlite":
        hint = "; records in PostgreSQL are chosen with --records" if scheme.lower().startswith("postgres") else ""
        problem = f'unknown scheme "{scheme}"; use a folder or sqlite:///folder{hint}'
        raise ConfigurationError(f'cannot open the store "{shown}": {problem}')
    if not parts["rest"].startswith("/") or parts["rest"] == "/":
        raise ConfigurationError(f'cannot open the store "{shown}": it names no folder; use sqlite:///folder')
    return Path(parts["rest"][1:])
