"""Records on a slow disk: while it is slow, a thread writes them, so that the event loop does not wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from router.store.records.protocol import RecordSink
from router.store.records.record import Record, Snapshot

SLOW_S = 0.02
# One slow write may be chance, and a thread costs each record much: so long it writes then, twice as long after each
# further one, up to the most. A write counts as the first again when none was slow for the most after such a time.
_SLOW_FOR_S, _MOST_SLOW_FOR_S = 0.25, 5.0
# For how long an answer waits until its record is on the disk.
_LIMIT_S = 1.0
_MAX_WAITING = 10_000


class WatchedSink(RecordSink, Protocol):
    """A sink that also writes in the background, and notices there that the disk is slow."""

    @property
    def is_stalled(self) -> bool:
        """Whether its last write to the disk took long, or one that is running does."""


class PatientSink:
    """The `RecordSink` in `sink`, for one event loop.

    A fast disk gets records at once. While it is slow, a thread writes them, and `append` returns what to await before
    the request is acknowledged: until the record is on the disk, but at most a second. Records that wait longer are
    still written; more than 10,000 of them are dropped.
    """

    def __init__(self, sink: WatchedSink) -> None:
        self._sink = sink
        self._executor = ThreadPoolExecutor(1, "records")
        self._waiting, self._overflow = 0, 0
        self._slow_until_s, self._slow_for_s, self._is_late = 0.0, 0.0, False

    @property
    def keep_days(self) -> float | None:
        """See `RecordSink`."""
        return self._sink.keep_days

    @keep_days.setter
    def keep_days(self, days: float | None) -> None:
        self._sink.keep_days = days

    @property
    def dropped(self) -> int:
        """See `RecordSink`."""
        return self._sink.dropped + self._overflow

    @property
    def problem(self) -> str | None:
        """See `RecordSink`."""
        return self._sink.problem

    @property
    def waiting_bytes(self) -> int:
        """See `RecordSink`."""
        return self._sink.waiting_bytes

    def append(self, record: Record) -> Awaitable[None] | None:
        """Write the record, or have it written. Returns what to await until it is; None where it is already."""
        if not self._is_slow():
            self._timed_append(record)
            return None
        if self._waiting >= _MAX_WAITING:
            self._overflow += 1
            return None
        self._waiting += 1
        written = asyncio.get_running_loop().run_in_executor(self._executor, self._timed_append, record)
        written.add_done_callback(self._on_written)
        # Where the one before has waited in vain, the others need not.
        return None if self._is_late else self._within_limit(written)

    def keep(self, snapshot: Snapshot) -> bool:
        """See `RecordSink`."""
        if not self._is_slow():
            return self._sink.keep(snapshot)
        # In the order of the queue, it is written before the records that refer to it.
        self._executor.submit(self._sink.keep, snapshot)
        return True

    def close(self) -> None:
        """See `RecordSink`."""
        self._executor.shutdown()
        self._sink.close()

    def _is_slow(self) -> bool:
        return bool(self._waiting) or self._sink.is_stalled or time.monotonic() < self._slow_until_s

    def _timed_append(self, record: Record) -> None:
        started_s = time.monotonic()
        self._sink.append(record)
        now_s = time.monotonic()
        if now_s - started_s > SLOW_S:
            is_first = now_s > self._slow_until_s + _MOST_SLOW_FOR_S
            self._slow_for_s = _SLOW_FOR_S if is_first else min(2 * self._slow_for_s, _MOST_SLOW_FOR_S)
            self._slow_until_s = now_s + self._slow_for_s

    def _on_written(self, _: object) -> None:
        self._waiting -= 1
        self._is_late = False

    async def _within_limit(self, written: asyncio.Future[None]) -> None:
        done, _ = await asyncio.wait((written,), timeout=_LIMIT_S)
        self._is_late = not done
