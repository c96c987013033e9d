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
from router.store.records.protocol import RecordStore
from router.store.state.loss import SharedState
from router.store.state.protocol import RemoteState, StateStore

# A drive letter such as C: is not a scheme.
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+)://(?P<rest>.*)", re.DOTALL)
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

    def read_records(self) -> RecordStore | None:
        """The records; None if none were ever written. Raises FileError."""

    def record_sink(self, keep_days: float | None = None) -> WatchedSink:
        """Start writing records. They are deleted after `keep_days`, None for never.

        Raises ForeignDatabaseError if the database is damaged or of a newer release.
        """

    def feedback(self) -> FeedbackStore:
        """The feedback about records. Raises FileError."""

    def shared_state(self, use: StateUse) -> StateStore:
        """The state that workers share. Raises FileError, and MissingExtraError."""

    def remote_state(self, use: StateUse) -> RemoteState | None:
        """The same where it is on another machine; None where it is in the folder. Raises MissingExtraError."""


class FolderBackend(Struct, frozen=True):
    """Everything in one folder: SQLite files, and the journal of records on their way there.

    With `state_url`, the shared state is at that URL.
    """

    folder: Path
    state_url: str | None = None

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


def open_store(url: str | Path, *, state: str | None = None) -> Backend:
    """The backend at `url`: the path of a folder, or `sqlite:///` and the path of a folder.

    As in SQLAlchemy, `sqlite:///folder` is relative to the working directory, and `sqlite:////folder` is absolute.
    `state` is the URL of a Redis or Valkey server for the shared state. Raises ConfigurationError for any other URL.
    """
    return FolderBackend(_folder(url), _checked_state(state))


def _checked_state(url: str | None) -> str | None:
    if url is not None:
        from router.store.state.redis.url import read_url

        read_url(url)
    return url


def _folder(url: str | Path) -> Path:
    parts = _URL.fullmatch(url) if isinstance(url, str) else None
    if parts is None:
        return Path(url).expanduser()
    if parts["scheme"].lower() != "sqlite":
        raise ConfigurationError(
            f'cannot open the store "{url}": unknown scheme "{parts["scheme"]}"; use a folder or sqlite:///folder'
        )
    if not parts["rest"].startswith("/") or parts["rest"] == "/":
        raise ConfigurationError(f'cannot open the store "{url}": it names no folder; use sqlite:///folder')
    return Path(parts["rest"][1:])
