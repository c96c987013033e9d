"""The journal: records are safe on disk within microseconds, and reach SQLite a moment later.

`append` writes one line to a file of this process alone. From then on the record outlives the process, however it
ends. A thread moves what was written into the database, many records to a transaction; so do later processes with
what a killed one left behind.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from router.errors import FileError
from router.store.database import ForeignDatabaseError, database_fault, is_damage
from router.store.records.record import Entry, Record, Snapshot, read_entry, write_entry
from router.store.records.segment import Segment, segment_files
from router.store.records.sqlite import FILE_NAME, Records

FOLDER_NAME = "journal"
INTERVAL_S = 0.25
LIMIT_BYTES = 64 * 2**20
_WAKE_BYTES = 2**20
_LONGEST_PROMPT_BYTES = 2 * 2**20
_LEFTOVERS_EVERY_S = 15.0
_PRUNE_EVERY_S = 600.0
_LONGEST_PAUSE_S = 30.0
_SAY_AGAIN_S = 60.0
_DAY_S = 86_400.0
_LOG = logging.getLogger(__name__)


class Journal:
    """Keeps the records of one process. Open it in the process that uses it: a fork must not share it.

    `keep_days` is how long records are kept, None for ever; it may be changed at any time. Where the folder cannot be
    written, or more than `limit_bytes` wait for the database, records are dropped and counted, and the log says so
    once a minute at most: a full disk stops no request. A prompt of more than 2 MiB is left out of its record.
    """

    def __init__(
        self,
        folder: Path,
        *,
        keep_days: float | None = None,
        limit_bytes: int = LIMIT_BYTES,
        interval_s: float = INTERVAL_S,
    ) -> None:
        """Use `Journal.open`."""
        self.folder, self.keep_days = folder, keep_days
        self.written = self.dropped = 0
        self._limit, self._interval_s = limit_bytes, interval_s
        # `_lock` guards what `append` uses and is never held for long; `_moving` is held while records move.
        self._lock, self._moving = threading.Lock(), threading.RLock()
        self._active: Segment | None = None
        self._sealed: Segment | None = None
        self._records: Records | None = None
        self._inode = 0
        self._said_failing = False
        self._next_complaint = self._next_leftovers = self._next_prune = 0.0
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        keep_days: float | None = None,
        limit_bytes: int = LIMIT_BYTES,
        interval_s: float = INTERVAL_S,
    ) -> Journal:
        """Start keeping records in `folder`, which is made where it is missing.

        Raises ForeignDatabaseError where the database there is damaged or a newer release's. Where it can only not be
        written now, the journal says so in the log, and tries again later.
        """
        journal = cls(folder, keep_days=keep_days, limit_bytes=limit_bytes, interval_s=interval_s)
        try:
            journal._begin_segment()
            journal._connect()
        except ForeignDatabaseError:
            journal._let_go()
            raise
        except (OSError, FileError) as error:
            journal._say_failing(error)
        journal._thread.start()
        return journal

    def append(self, record: Record) -> None:
        """Keep `record`: when this returns it outlives the process, or is counted in `dropped`. Never raises."""
        if record.prompt is not None and len(record.prompt) > _LONGEST_PROMPT_BYTES:
            record = msgspec.structs.replace(record, prompt=None)
        if self._write(write_entry(Entry(record=record))):
            self.written += 1
        else:
            self.dropped += 1

    def keep(self, snapshot: Snapshot) -> bool:
        """Keep `snapshot` before the records that name it. Returns whether it is kept."""
        return self._write(write_entry(Entry(snapshot=snapshot)))

    @property
    def waiting_bytes(self) -> int:
        """How much is on disk but not yet in the database."""
        with self._lock:
            return self._waiting()

    def flush(self) -> None:
        """Move everything that waits into the database now. Raises sqlite3.Error, OSError or FileError."""
        with self._moving:
            self._move_sealed()
            self._move_sealed()

    def close(self) -> None:
        """Move what waits into the database and let go of all files. What cannot move stays for the next start."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._moving:
            try:
                self.flush()
            except (sqlite3.Error, OSError, FileError) as error:
                self._say_failing(error)
            self._let_go()

    def _write(self, line: bytes) -> bool:
        with self._lock:
            problem = self._problem(line)
        if problem is not None and time.monotonic() >= self._next_complaint:
            self._next_complaint = time.monotonic() + _SAY_AGAIN_S
            _LOG.error("%s: records are dropped: %s", self.folder, problem)
        return problem is None

    def _problem(self, line: bytes) -> str | None:
        """Write `line`, or say why not."""
        if self._active is None:
            return "the journal is not open"
        waiting = self._waiting()
        if waiting + len(line) > self._limit:
            return f"{waiting / 2**20:.0f} MiB wait for the database, which takes none"
        try:
            self._active.append(line)
        except OSError as error:
            return f"the journal cannot be written: {error.strerror}"
        if self._active.size > _WAKE_BYTES and not self._wake.is_set():
            self._wake.set()
        return None

    def _waiting(self) -> int:
        return sum(segment.size for segment in (self._active, self._sealed) if segment is not None)

    def _run(self) -> None:
        pause_s = self._interval_s
        while not self._stop.is_set():
            self._wake.wait(pause_s)
            self._wake.clear()
            try:
                with self._moving:
                    self._move_sealed()
                    self._move_leftovers()
                    self._prune()
            except (sqlite3.Error, OSError, FileError) as error:
                self._say_failing(error)
                pause_s = min(max(2 * pause_s, 1.0), _LONGEST_PAUSE_S)
            else:
                self._say_mended()
                pause_s = self._interval_s

    def _begin_segment(self) -> None:
        """Let `append` write to a new file, and seal the one before."""
        journal = self.folder / FOLDER_NAME
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        journal.mkdir(exist_ok=True, mode=0o700)
        fresh = Segment.create(journal)
        with self._lock:
            self._sealed, self._active = self._active, fresh

    def _move_sealed(self) -> None:
        """Take in the sealed segment. There is one at most, so that a database that fails costs no more files."""
        if self._sealed is None and (self._active is None or self._active.size):
            self._begin_segment()
        records = self._connect()
        sealed = self._sealed
        if sealed is not None:
            _take_in(sealed, records)
            with self._lock:
                self._sealed = None

    def _move_leftovers(self) -> None:
        now = time.monotonic()
        if now >= self._next_leftovers:
            self._next_leftovers = now + _LEFTOVERS_EVERY_S
            take_in_leftovers(self.folder, self._connect())

    def _prune(self) -> None:
        now = time.monotonic()
        if self.keep_days is not None and now >= self._next_prune:
            more = self._connect().prune(time.time() - self.keep_days * _DAY_S)
            self._next_prune = now if more else now + _PRUNE_EVERY_S

    def _connect(self) -> Records:
        file = self.folder / FILE_NAME
        if self._records is not None and not _is(file, self._inode):
            # Somebody moved the file away; what goes on being written to it would be lost.
            self._disconnect()
        if self._records is None:
            self._records = Records.open(self.folder)
            self._inode = file.stat().st_ino
        return self._records

    def _let_go(self) -> None:
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

    def _say_failing(self, error: sqlite3.Error | OSError | FileError) -> None:
        if isinstance(error, sqlite3.Error) and is_damage(error):
            self._disconnect()
        if not self._said_failing:
            self._said_failing = True
            _LOG.error("%s: records cannot reach the database: %s", self.folder, error)

    def _say_mended(self) -> None:
        if self._said_failing:
            self._said_failing = False
            _LOG.warning("%s: records reach the database again; %d were dropped so far", self.folder, self.dropped)


def open_records(folder: Path) -> Records | None:
    """The records in `folder` with what processes that are gone left in its journal; None where none were ever kept.

    Where the folder must not be written they are read as they are. Raises FileError.
    """
    file = folder / FILE_NAME
    try:
        if not file.exists() and not segment_files(folder / FOLDER_NAME):
            return None
        if not os.access(folder, os.W_OK) or (file.exists() and not os.access(file, os.W_OK)):
            return Records.open(folder, read_only=True)
        records = Records.open(folder)
        take_in_leftovers(folder, records)
    except sqlite3.Error as error:
        raise database_fault(file, error) from None
    except OSError as error:
        raise FileError(str(folder), None, f"cannot be read: {error.strerror}") from None
    return records


def take_in_leftovers(folder: Path, records: Records) -> None:
    """Take in what processes that are gone left in the journal of `folder`. Raises sqlite3.Error or OSError."""
    for file in segment_files(folder / FOLDER_NAME):
        segment = Segment.claim(file)
        if segment is not None:
            try:
                _take_in(segment, records)
            except BaseException:
                segment.release()
                raise


def _take_in(segment: Segment, records: Records) -> None:
    entries = _Entries(segment)
    refused = records.add(entries, time.time()) + entries.damaged
    segment.delete()
    if refused:
        _LOG.warning("%s: %d of its lines could not be read and were skipped", segment.file, refused)


class _Entries:
    """What stands in a segment, read while it is wanted. `damaged` counts lines that cannot be read."""

    def __init__(self, segment: Segment) -> None:
        self._segment, self.damaged = segment, 0

    def __iter__(self) -> Iterator[Record | Snapshot]:
        for line in self._segment.lines():
            try:
                entry = read_entry(line)
            except ValueError:
                self.damaged += 1
                continue
            found = entry.record or entry.snapshot
            if found is not None:
                yield found


def _is(file: Path, inode: int) -> bool:
    try:
        return file.stat().st_ino == inode
    except FileNotFoundError:
        return False
