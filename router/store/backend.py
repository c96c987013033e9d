"""The storage backend: one place, chosen by URL, for records and shared state."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from router.errors import ConfigurationError
from router.store.records.feedback import FeedbackStore
from router.store.records.patient import WatchedSink
from router.store.records.protocol import RecordStore
from router.store.state.threaded import CheckedStore

# A drive letter such as C: is not a scheme.
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+)://(?P<rest>.*)", re.DOTALL)
_STATE_FILE = "state.sqlite"


class Backend(Protocol):
    """Where records and shared state are stored. A method opens only what it returns."""

    def read_records(self) -> RecordStore | None:
        """The records; None if none were ever written. Raises FileError."""

    def record_sink(self, keep_days: float | None = None) -> WatchedSink:
        """Start writing records. They are deleted after `keep_days`, None for never.

        Raises ForeignDatabaseError if the database is damaged or of a newer release.
        """

    def feedback(self) -> FeedbackStore:
        """The feedback about records. Raises FileError."""

    def shared_state(self, hold_s: float) -> CheckedStore:
        """The state that workers share; reservations are spent after `hold_s` unless renewed. Raises FileError."""


class FolderBackend(Struct, frozen=True):
    """Everything in one folder: SQLite files, and the journal of records on their way there."""

    folder: Path

    def read_records(self) -> RecordStore | None:
        """See `Backend`."""
        from router.store.records.journal import open_records

        return open_records(self.folder)

    def record_sink(self, keep_days: float | None = None) -> WatchedSink:
        """See `Backend`."""
        from router.store.records.journal import Journal

        return Journal.open(self.folder, keep_days=keep_days)

    def feedback(self) -> FeedbackStore:
        """See `Backend`."""
        from router.store.records.sqlite_feedback import SqliteFeedback

        return SqliteFeedback.open(self.folder)

    def shared_state(self, hold_s: float) -> CheckedStore:
        """See `Backend`."""
        from router.store.state.sqlite import SqliteState

        return SqliteState(self.folder / _STATE_FILE, hold_s=hold_s)


def open_store(url: str | Path) -> Backend:
    """The backend at `url`: the path of a folder, or `sqlite:///` and the path of a folder.

    As in SQLAlchemy, `sqlite:///folder` is relative to the working directory, and `sqlite:////folder` is absolute.
    Raises ConfigurationError for any other URL.
    """
    parts = _URL.fullmatch(url) if isinstance(url, str) else None
    if parts is None:
        return FolderBackend(Path(url).expanduser())
    if parts["scheme"].lower() != "sqlite":
        raise ConfigurationError(
            f'cannot open the store "{url}": unknown scheme "{parts["scheme"]}"; use a folder or sqlite:///folder'
        )
    if not parts["rest"].startswith("/") or parts["rest"] == "/":
        raise ConfigurationError(f'cannot open the store "{url}": it names no folder; use sqlite:///folder')
    return FolderBackend(Path(parts["rest"][1:]))
