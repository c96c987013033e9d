"""The journal: a record is safe on disk within microseconds, and is moved to the database a moment later.

`append` writes one line to a file that only this process writes. From then on the record survives the process, however
it ends. A background thread moves the lines to the database, many to a transaction. Files left by a killed process are
moved by later processes.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from router.errors import FileError
from router.store.database import ForeignDatabaseError
from router.store.records.protocol import RecordArchive
from router.store.records.record import Entry, Record, Snapshot, read_entry, write_entry
from router.store.records.segment import Segment, segment_files
from router.store.records.sqlite import FILE_NAME, SqliteRecords

FOLDER_NAME = "journal"
INTERVAL_S = 0.25
LIMIT_BYTES = 64 * 2**20
_WAKE_BYTES = 2**20
_MAX_PROMPT_BYTES = 2 * 2**20
_RECOVER_EVERY_S = 15.0
_PRUNE_EVERY_S = 600.0
_MAX_PAUSE_S = 30.0
_LOG_EVERY_S = 60.0
_SLOW_S = 0.05
_DAY_S = 86_400.0
_LOG = logging.getLogger(__name__)


class Destination(Struct, frozen=True):
    """Where the records of a journal go: `open` connects to it.

    Until then they are in the folder `queue` of the store, so that those for one database never get into another.
    """

    open: Callable[[], RecordArchive]
    queue: str


def sqlite_in(folder: Path) -> Destination:
    """The database in the store's own folder."""
    return Destination(lambda: SqliteRecords.open(folder), FOLDER_NAME)


class Journal:
    """The `RecordSink` of one process. Open it in the process that uses it, not before a fork.

    `keep_days` is the age at which records are deleted, None for never; it may be changed at any time. If the folder
    cannot be written, or more than `limit_bytes` are waiting for the database, records are dropped and counted, with a
    log message at most once a minute: a full disk fails no request. Prompts over 2 MiB are not recorded.
    """

    def __init__(
        self,
        folder: Path,
        destination: Destination | None = None,
        *,
        keep_days: float | None = None,
        limit_bytes: int = LIMIT_BYTES,
        interval_s: float = INTERVAL_S,
    ) -> None:
        """Use `Journal.open`."""
        self.folder, self.keep_days = folder, keep_days
        self._destination = destination or sqlite_in(folder)
        self.written = self.dropped = 0
        self._limit, self._interval_s = limit_bytes, interval_s
        # `_lock` guards what `append` uses and is held only briefly; `_moving` is held while records are moved.
        self._lock, self._moving = threading.Lock(), threading.RLock()
        self._active: Segment | None = None
        self._sealed: Segment | None = None
        self._records: RecordArchive | None = None
        # When the thread began to write to the folder, and whether that took long the last time.
        self._writing_since_s: float | None = None
        self._was_slow = False
        self._problem: str | None = None
        self._next_drop_log = self._next_recovery = self._next_prune = 0.0
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    @classmethod
    def open(
        cls,
        folder: Path,
        destination: Destination | None = None,
        *,
        keep_days: float | None = None,
        limit_bytes: int = LIMIT_BYTES,
        interval_s: float = INTERVAL_S,
    ) -> Journal:
        """Start writing records to `folder`, which is created if it does not exist, on their way to `destination`, by
        default the database in the folder.

        Raises ForeignDatabaseError if the database is damaged or of a newer release. If it only cannot be written
        at the moment, the journal logs an error and tries again later.
        """
        journal = cls(folder, destination, keep_days=keep_days, limit_bytes=limit_bytes, interval_s=interval_s)
        try:
            journal._begin_segment()
            journal._connect()
        except ForeignDatabaseError:
            journal._release_files()
            raise
        except (OSError, FileError) as error:
            journal._log_failure(error)
        journal._thread.start()
        return journal

    def append(self, record: Record) -> None:
        """Write `record`. On return it survives the process, or is counted in `dropped`. Never raises."""
        if record.prompt is not None and len(record.prompt) > _MAX_PROMPT_BYTES:
            record = msgspec.structs.replace(record, prompt=None)
        if self._write(write_entry(Entry(record=record))):
            self.written += 1
        else:
            self.dropped += 1

    def keep(self, snapshot: Snapshot) -> bool:
        """Write `snapshot` before the records that refer to it. Returns whether it was written."""
        return self._write(write_entry(Entry(snapshot=snapshot)))

    @property
    def is_stalled(self) -> bool:
        """Whether the thread noticed that writing to the disk takes long."""
        since_s = self._writing_since_s
        return self._was_slow or (since_s is not None and time.monotonic() - since_s > _SLOW_S)

    @property
    def problem(self) -> str | None:
        """Why records cannot be moved to the database at present; None if they can."""
        return self._problem

    @property
    def waiting_bytes(self) -> int:
        """The size of the records that are waiting for the database, about; known even while the disk hangs."""
        # Without the lock, which `append` has until the disk has the record.
        return self._waiting_bytes()

    def flush(self) -> None:
        """Move all waiting records to the database now. Raises OSError or FileError."""
        with self._moving:
            self._move_sealed()
            self._move_sealed()

    def close(self) -> None:
        """Move waiting records to the database and close all files. What cannot be moved is left for the next start."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._moving:
            try:
                self.flush()
            except (OSError, FileError) as error:
                self._log_failure(error)
            self._release_files()

    def _write(self, line: bytes) -> bool:
        with self._lock:
            problem = self._append_line(line)
        if problem is not None and time.monotonic() >= self._next_drop_log:
            self._next_drop_log = time.monotonic() + _LOG_EVERY_S
            _LOG.error("%s: records are being dropped: %s", self.folder, problem)
        return problem is None

    def _append_line(self, line: bytes) -> str | None:
        """Write `line` to the active segment. Returns what prevented it, None on success."""
        if self._active is None:
            return "the journal is not open"
        waiting_bytes = self._waiting_bytes()
        if waiting_bytes + len(line) > self._limit:
            return f"{waiting_bytes / 2**20:.0f} MiB queued; the database is not accepting writes"
        try:
            self._active.append(line)
        except OSError as error:
            return f"the journal cannot be written: {error.strerror}"
        if self._active.size > _WAKE_BYTES and not self._wake.is_set():
            self._wake.set()
        return None

    def _waiting_bytes(self) -> int:
        active, sealed = self._active, self._sealed
        return (0 if active is None else active.size) + (0 if sealed is None else sealed.size)

    def _run(self) -> None:
        pause_s = self._interval_s
        while not self._stop.is_set():
            self._wake.wait(pause_s)
            self._wake.clear()
            try:
                with self._moving:
                    self._move_sealed()
                    self._recover()
                    self._prune()
            except (OSError, FileError) as error:
                self._log_failure(error)
                pause_s = min(max(2 * pause_s, 1.0), _MAX_PAUSE_S)
            else:
                self._log_recovery()
                pause_s = self._interval_s

    def _begin_segment(self) -> None:
        """Seal the active segment, and let `append` write to a new file."""
        journal = self.folder / self._destination.queue
        started_s = self._writing_since_s = time.monotonic()
        try:
            try:
                new = Segment.create(journal)
            except FileNotFoundError:
                # Not made each time: behind every call of the system, a busy event loop has the interpreter's lock for
                # some milliseconds, and the disk would seem to be slow.
                self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                journal.mkdir(exist_ok=True, mode=0o700)
                new = Segment.create(journal)
        finally:
            self._was_slow, self._writing_since_s = time.monotonic() - started_s > _SLOW_S, None
        with self._lock:
            self._sealed, self._active = self._active, new

    def _move_sealed(self) -> None:
        """Move the sealed segment to the database. There is at most one, so that retries create no further files."""
        if self._sealed is None and (self._active is None or self._active.size):
            self._begin_segment()
        records = self._connect()
        sealed = self._sealed
        if sealed is not None:
            _move(sealed, records)
            with self._lock:
                self._sealed = None

    def _recover(self) -> None:
        now = time.monotonic()
        if now >= self._next_recovery:
            self._next_recovery = now + _RECOVER_EVERY_S
            recover_segments(self.folder / self._destination.queue, self._connect())

    def _prune(self) -> None:
        now = time.monotonic()
        if self.keep_days is not None and now >= self._next_prune:
            more = self._connect().prune(time.time() - self.keep_days * _DAY_S)
            self._next_prune = now if more else now + _PRUNE_EVERY_S

    def _connect(self) -> RecordArchive:
        if self._records is not None and not self._records.is_current():
            self._disconnect()
        if self._records is None:
            self._records = self._destination.open()
        return self._records

    def _release_files(self) -> None:
        with self._lock:
            segments, self._active, self._sealed = (self._active, self._sealed), None, None
        for segment in segments:
            if segment is not None and segment.size:
                segment.release()
            elif segment is not None:
                segment.delete()
        self._disconnect()

    def _disconnect(self) -> None:
        if self._records is not None:
            self._records.close()
            self._records = None

    def _log_failure(self, error: OSError | FileError) -> None:
        if isinstance(error, ForeignDatabaseError):
            # Reopen the file next time; it may have been replaced by then.
            self._disconnect()
        if self._problem is None:
            _LOG.error("%s: records cannot be written to the database: %s", self.folder, error)
        self._problem = str(error)

    def _log_recovery(self) -> None:
        if self._problem is not None:
            self._problem = None
            message = "%s: records are written to the database again; %d have been dropped so far"
            _LOG.warning(message, self.folder, self.dropped)


def open_records(folder: Path) -> SqliteRecords | None:
    """The records in `folder`, including those that exited processes left in its journal; None if there are none.

    If the folder is read-only, the journal is not read. Raises FileError.
    """
    file = folder / FILE_NAME
    try:
        if not file.exists() and not segment_files(folder / FOLDER_NAME):
            return None
        if not os.access(folder, os.W_OK) or (file.exists() and not os.access(file, os.W_OK)):
            return SqliteRecords.open(folder, read_only=True)
        records = SqliteRecords.open(folder)
        recover_segments(folder / FOLDER_NAME, records)
    except OSError as error:
        raise FileError(str(folder), None, f"cannot be read: {error.strerror}") from None
    return records


def recover_segments(queue: Path, records: RecordArchive) -> None:
    """Move what exited processes left in the folder `queue` to `records`. Raises DatabaseError or OSError."""
    for file in segment_files(queue):
        segment = Segment.claim(file)
        if segment is not None:
            try:
                _move(segment, records)
            except BaseException:
                segment.release()
                raise


def _move(segment: Segment, records: RecordArchive) -> None:
    entries = _Entries(segment)
    skipped = records.add(entries, time.time()) + entries.damaged
    segment.delete()
    if skipped:
        _LOG.warning("%s: skipped %d unreadable lines", segment.file, skipped)


class _Entries:
    """The records and snapshots of a segment, read lazily. `damaged` counts the lines that cannot be read."""

    def __init__(self, segment: Segment) -> None:
        self._segment, self.damaged = segment, 0

    def __iter__(self) -> Iterator[Record | Snapshot]:
        for line in self._segment.lines():
            try:
                entry = read_entry(line)
            except ValueError:
                self.damaged += 1
                continue
            content = entry.record or entry.snapshot
            if content is not None:
                yield content
