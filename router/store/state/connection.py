"""A connection to the database of the shared state, which threads and processes use one at a time."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from router.store.database import BUSY
from router.store.state.protocol import StateError

_LOG = logging.getLogger(__name__)
_RETRY_PAUSE_S, _MAX_RETRY_PAUSE_S = 0.0002, 0.02
_RETRY_FOR_S = 2.0
_LOG_EVERY_S = 10.0

Values = Mapping[str, Any] | tuple[Any, ...]


class RetryingConnection:
    """A connection that threads use one at a time, and that retries while other processes hold the lock.

    The lock is needed because SQLite counts changed rows per connection, not per statement.
    """

    def __init__(self, database: sqlite3.Connection, file: Path | None) -> None:
        self._database, self._file = database, file
        self._lock = threading.Lock()
        self._next_log_s = 0.0
        self.close = database.close

    def run(self, sql: str, values: Values) -> tuple[int, list[tuple[Any, ...]]]:
        """Run one statement. Returns how many rows it changed, and its result rows. Raises StateError.

        SQLite's busy handler waits a millisecond at first, which is longer than most writes take.
        """
        deadline, pause_s = None, _RETRY_PAUSE_S
        while True:
            try:
                with self._lock:
                    cursor = self._database.execute(sql, values)
                    return cursor.rowcount, cursor.fetchall()
            except sqlite3.Error as error:
                deadline = deadline or time.monotonic() + _RETRY_FOR_S
                if getattr(error, "sqlite_errorcode", None) not in BUSY or time.monotonic() > deadline:
                    self._log(error)
                    raise StateError(f"shared state database unavailable: {error}") from None
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _MAX_RETRY_PAUSE_S)

    def _log(self, error: sqlite3.Error) -> None:
        if time.monotonic() >= self._next_log_s:
            self._next_log_s = time.monotonic() + _LOG_EVERY_S
            _LOG.error("%s: %s", self._file or "in-memory state", error)
