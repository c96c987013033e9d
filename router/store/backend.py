"""The storage backend: one place, chosen by URL, for records and shared state."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from router.errors import ConfigurationError
from router.store.records.feedback import FeedbackStore
from router.store.records.patient import WatchedSink
from router.store.records.postgres.address import read_address, without_password
from router.store.records.protocol import RecordArchive, RecordStore
from router.store.state.loss import SharedState
from router.store.state.protocol import RemoteState, StateStore

# A drive letter such as C: is not a scheme.
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+)://(?P<rest>.*)", re.DOTALL)
_OTHER_OPTIONS = {
    "postgres": "; records in PostgreSQL are chosen with --records",
    "redis": "; state in Redis is chosen with --state",
    "valkey": "; state in Valkey is chosen with --state",
}
_STATE_FILE = "state.sqlite"


class StateUse(Struct, frozen=True):
    """How the shared state is used.

    Reservations are spent after `hold_s` seconds unless they are renewed. `is_needed` says whether a state in a folder
    should be tried although nothing uses it; `rules` what to do without one on another machine, and `workers` is the
    number of processes of this gateway.
    """

    hold_s: float = 30.0
    is_needed: Callable[[], bool] = lambda: True
    rules: Callable[[], SharedState] = SharedState
    workers: int = 1


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

    def shared_state(self, use: StateUse) -> StateStore:
        """The state that workers share. Raises FileError, and MissingExtraError."""

    def remote_state(self, use: StateUse) -> RemoteState | None:
        """The same where it is on another machine; None where it is in the folder. Raises MissingExtraError."""


class FolderBackend(Struct, frozen=True):
    """Everything in one folder: SQLite files, and the journal of records on their way to the database.

    With `state_url`, the shared state is at that URL. With `records_url`, records and feedback are in that PostgreSQL
    database; the folder still has the journal.
    """

    folder: Path
    state_url: str | None = None
    records_url: str | None = None

    def __repr__(self) -> str:
        # A URL may have a password, and a traceback may print this.
        state, records = without_password(self.state_url or ""), without_password(self.records_url or "")
        return f"FolderBackend({str(self.folder)!r}, state={state!r}, records={records!r})"

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

    def shared_state(self, use: StateUse) -> StateStore:
        """See `Backend`."""
        from router.store.state.sqlite import SqliteState
        from router.store.state.threaded import ThreadedState

        if (remote := self.remote_state(use)) is not None:
            return remote
        return ThreadedState(SqliteState(self.folder / _STATE_FILE, hold_s=use.hold_s), use.is_needed)

    def remote_state(self, use: StateUse) -> RemoteState | None:
        """See `Backend`."""
        if self.state_url is None:
            return None
        from router.store.state.redis.store import RedisState
        from router.store.state.redis.url import read_url

        return RedisState(read_url(self.state_url), hold_s=use.hold_s, rules=use.rules, workers=use.workers)


def open_store(url: str | Path, *, state: str | None = None, records: str | None = None) -> Backend:
    """The backend at `url`: the path of a folder, or `sqlite:///` and the path of a folder.

    `records` is the URL of the PostgreSQL database that has the records; None where the folder has them, too.

    As in SQLAlchemy, `sqlite:///folder` is relative to the working directory, and `sqlite:////folder` is absolute.
    `state` is the URL of a Redis or Valkey server for the shared state. Raises ConfigurationError for any other URL.
    """
    if records is not None:
        read_address(records)
    return FolderBackend(_folder_at(url), _checked_state(state), records)


def _checked_state(url: str | None) -> str | None:
    if url is not None:
        from router.store.state.redis.url import read_url

        read_url(url)
    return url


def _folder_at(url: str | Path) -> Path:
    parts = _URL.fullmatch(url) if isinstance(url, str) else None
    if parts is None:
        return Path(url).expanduser()
    scheme, shown = parts["scheme"], without_password(str(url))
    if scheme.lower() != "sqlite":
        option = next((hint for start, hint in _OTHER_OPTIONS.items() if scheme.lower().startswith(start)), "")
        problem = f'unknown scheme "{scheme}"; use a folder or sqlite:///folder{option}'
        raise ConfigurationError(f'cannot open the store "{shown}": {problem}')
    if not parts["rest"].startswith("/") or parts["rest"] == "/":
        raise ConfigurationError(f'cannot open the store "{shown}": it names no folder; use sqlite:///folder')
    return Path(parts["rest"][1:])
