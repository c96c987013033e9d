"""Shared state behind threads: the event loop never waits for a lock or a disk."""

from __future__ import annotations

import asyncio
import collections
import logging
import queue
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from router.store.state.protocol import Blob, Claim, LastAnswer, Reservation, StateError, StateStore, TrialCounts

T = TypeVar("T")
_LOG = logging.getLogger(__name__)
LIMIT_S = 2.5
"""For how long a request waits for the state; the store itself tries for two seconds."""

# A conversation is remembered later where the state is slow.
_REMEMBER_LIMIT_S = 0.2
_MAX_WAITING = 4096
_SLOW_S, _MAX_BATCH = 0.001, 50
_CHECK_EVERY_S = 3.0
_RECHECK_EVERY_S = 0.25
_UNAVAILABLE = "the limits of this key cannot be checked now: the shared state does not respond; try again soon"


class CheckedStore(StateStore, Protocol):
    """A store whose methods do not suspend, and that can try to write."""

    def check(self) -> None:
        """Write something. Raises StateError if that is not possible now."""


class _Job:
    """One call of the store. `keeps`: it is done later if it cannot be done now, whoever waits for it.

    `may_be_lost`: where too many of them would have to be kept. `undo` takes back a result for which nobody waits any
    more.
    """

    def __init__(
        self,
        call: Callable[[], Coroutine[Any, Any, Any]],
        keeps: bool = False,
        undo: Callable[[Any], Coroutine[Any, Any, Any]] | None = None,
        *,
        may_be_lost: bool = False,
    ) -> None:
        self.call, self.keeps, self.undo, self.may_be_lost = call, keeps, undo, may_be_lost
        self.loop = asyncio.get_running_loop()
        self.waiter: asyncio.Future[Any] = self.loop.create_future()
        self.is_abandoned = self.has_run = False
        self.result: Any = None
        self.error: Exception | None = None

    def run(self) -> None:
        self.result = self.error = None
        try:
            self.result = _result(self.call())
        except Exception as error:  # noqa: BLE001 - raised again where the caller waits
            self.error = error
        self.has_run = True

    def finish(self) -> None:
        """Hand the result to the waiter, on its event loop."""
        if self.waiter.done():
            return
        if self.error is not None:
            self.waiter.set_exception(self.error)
        else:
            self.waiter.set_result(self.result)

    def expire(self) -> None:
        """Stop waiting, on the event loop."""
        if not self.waiter.done():
            self.waiter.set_exception(StateError(_UNAVAILABLE))


class _Lane:
    """A thread that runs jobs in their order by `run`.

    `idle` is called when there is none, and returns after how many seconds to call it again; None for not before the
    next job.
    """

    def __init__(self, name: str, run: Callable[[_Job], None], idle: Callable[[], float | None]) -> None:
        self._run_job, self._idle = run, idle
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        # Nothing is added behind the None of `close`.
        self._adding, self._is_closed = threading.Lock(), False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def add(self, job: _Job) -> None:
        """Add a job, on its event loop. Raises StateError where too many wait; there are no more costs to settle than
        were reserved. After `close`, these are settled at once, and all other jobs raise StateError.
        """
        with self._adding:
            is_closed = self._is_closed
            if (is_closed or self._jobs.qsize() >= _MAX_WAITING) and (job.may_be_lost or not job.keeps):
                raise StateError(_UNAVAILABLE)
            if not is_closed:
                self._jobs.put(job)
        if is_closed:
            job.run()
            job.finish()

    def close(self) -> None:
        """Run the jobs that wait, and stop."""
        with self._adding:
            self._is_closed = True
            self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        pause_s = self._idle()
        finished: list[_Job] = []
        while True:
            try:
                job = self._jobs.get(timeout=pause_s)
            except queue.Empty:
                pause_s = self._idle()
                continue
            if job is None:
                _hand_over(finished)
                return
            started_s = time.monotonic()
            if job.keeps or not job.is_abandoned:
                self._run_job(job)
                finished.append(job)
            # Many results wake the event loop once, unless they took long.
            if finished and (
                self._jobs.empty() or time.monotonic() - started_s > _SLOW_S or len(finished) > _MAX_BATCH
            ):
                _hand_over(finished)
                finished = []
            if self._jobs.empty():
                pause_s = self._idle()


class ThreadedState:
    """The `StateStore` in `store`, called in threads: one that writes, one that reads.

    A call that takes longer than `LIMIT_S` raises StateError. While the state cannot be written, calls that need it
    fail at once, `problem` says so, and costs and conversations are kept in memory until it can. `is_needed` says
    whether it should be tried from time to time although nothing uses it.
    """

    def __init__(
        self, store: CheckedStore, is_needed: Callable[[], bool] = lambda: True, limit_s: float = LIMIT_S
    ) -> None:
        self._store, self._is_needed, self._limit_s = store, is_needed, limit_s
        self.problem: str | None = None
        self._late: collections.deque[_Job] = collections.deque()
        self._waiting: set[_Job] = set()
        self._next_check_s = 0.0
        self._writes = _Lane("state-writes", self._run_write, self._check)
        self._reads = _Lane("state-reads", _Job.run, lambda: None)

    async def take_request(self, key_id: str, rpm: int, now_s: float) -> None:
        """See `StateStore`."""
        await self._write(_Job(lambda: self._store.take_request(key_id, rpm, now_s)))

    async def reserve(self, claim: Claim, now_s: float) -> Reservation:
        """See `StateStore`."""
        reserved: Reservation = await self._write(
            _Job(
                lambda: self._store.reserve(claim, now_s),
                undo=lambda reservation: self._store.settle(reservation, 0.0),
            )
        )
        return reserved

    async def settle(self, *arguments: Any, **named: Any) -> None:
        """See `StateStore`. It is done later if it cannot be done now."""
        await self._write(_Job(lambda: self._store.settle(*arguments, **named), keeps=True))

    async def remember(self, session: str, answer: LastAnswer, now_s: float, key_id: str = "") -> None:
        """See `StateStore`. It is done later if it cannot be done now, unless too much is left to do."""
        job = _Job(lambda: self._store.remember(session, answer, now_s, key_id), keeps=True, may_be_lost=True)
        await self._write(job, min(self._limit_s, _REMEMBER_LIMIT_S))

    async def spent_usd(self, key_id: str, now_s: float) -> float:
        """See `StateStore`."""
        spent: float = await self._wait(_Job(lambda: self._store.spent_usd(key_id, now_s)), self._reads, self._limit_s)
        return spent

    async def last_answer(self, session: str, now_s: float, key_id: str = "") -> LastAnswer | None:
        """See `StateStore`."""
        job = _Job(lambda: self._store.last_answer(session, now_s, key_id))
        last: LastAnswer | None = await self._wait(job, self._reads, self._limit_s)
        return last

    async def count_trial(self, trial: tuple[str, str], *, is_new: bool, is_bad: bool, key_id: str = "") -> TrialCounts:
        """See `StateStore`."""
        job = _Job(lambda: self._store.count_trial(trial, is_new=is_new, is_bad=is_bad, key_id=key_id))
        counts: TrialCounts = await self._write(job, min(self._limit_s, _REMEMBER_LIMIT_S))
        return counts

    async def trial_by_key(self, trial: tuple[str, str]) -> tuple[TrialCounts, ...]:
        """See `StateStore`."""
        job = _Job(lambda: self._store.trial_by_key(trial))
        found: tuple[TrialCounts, ...] = await self._wait(job, self._reads, self._limit_s)
        return found

    async def stop_trial(self, trial: tuple[str, str], why: str, now_s: float) -> bool:
        """See `StateStore`."""
        is_first: bool = await self._write(_Job(lambda: self._store.stop_trial(trial, why, now_s)))
        return is_first

    async def restart_trial(self, trial: tuple[str, str]) -> None:
        """See `StateStore`."""
        await self._write(_Job(lambda: self._store.restart_trial(trial)))

    async def trials(self) -> tuple[TrialCounts, ...]:
        """See `StateStore`."""
        found: tuple[TrialCounts, ...] = await self._wait(_Job(self._store.trials), self._reads, self._limit_s)
        return found

    async def swap_blob(self, blob: Blob, now_s: float) -> int:
        """See `StateStore`."""
        version: int = await self._write(_Job(lambda: self._store.swap_blob(blob, now_s)))
        return version

    async def blobs_after(self, version: int, prefix: str) -> tuple[Blob, ...]:
        """See `StateStore`."""
        job = _Job(lambda: self._store.blobs_after(version, prefix))
        found: tuple[Blob, ...] = await self._wait(job, self._reads, self._limit_s)
        return found

    async def maintain(self) -> None:
        """See `StateStore`."""
        await self._store.maintain()

    def close(self) -> None:
        """Do what is left to do, and close the store."""
        self._writes.close()
        self._reads.close()
        self._do_late()
        self._store.close()

    async def _write(self, job: _Job, limit_s: float | None = None) -> Any:
        if self.problem is None:
            return await self._wait(job, self._writes, self._limit_s if limit_s is None else limit_s)
        if not job.keeps:
            raise StateError(_UNAVAILABLE)
        self._keep(job)
        return None

    async def _wait(self, job: _Job, lane: _Lane, limit_s: float) -> Any:
        lane.add(job)
        if lane is self._writes and not job.keeps:
            self._waiting.add(job)
        timer = job.loop.call_later(limit_s, self._expire, job, lane is self._writes and limit_s >= self._limit_s)
        try:
            return await job.waiter
        except asyncio.CancelledError:
            self._abandon(job)
            raise
        finally:
            timer.cancel()
            self._waiting.discard(job)

    def _expire(self, job: _Job, is_down: bool) -> None:
        """Stop waiting for a job, on the event loop. `is_down`: the others need not wait either."""
        if is_down and self.problem is None:
            self._failed(StateError("a write takes too long"))
        self._abandon(job)
        job.expire()

    def _abandon(self, job: _Job) -> None:
        """Take back what a job for which nobody waits any more has done; else the thread does, when it has run."""
        job.is_abandoned = True
        if job.has_run and job.undo is not None and job.error is None:
            undo, result = job.undo, job.result
            self._late_or_queued(_Job(lambda: undo(result), keeps=True))

    def _late_or_queued(self, job: _Job) -> None:
        if self.problem is None:
            self._writes.add(job)
        else:
            self._keep(job)

    def _keep(self, job: _Job) -> None:
        """Keep a job for later. A cost is never lost: what is reserved for it would stay reserved."""
        if not job.may_be_lost or len(self._late) < _MAX_WAITING:
            self._late.append(job)

    def _run_write(self, job: _Job) -> None:
        """Run a write, in the thread."""
        if self.problem is not None:
            # It would take as long to fail as the last one did.
            if job.keeps:
                self._keep(job)
            else:
                job.error = StateError(_UNAVAILABLE)
            return
        job.run()
        if not isinstance(job.error, StateError):
            if job.is_abandoned and job.undo is not None and job.error is None:
                self._undo(job)
            self._recovered()
            return
        self._failed(job.error)
        if job.keeps:
            self._keep(job)
        # They would all wait as long, one after the other.
        for waiting in tuple(self._waiting):
            waiting.is_abandoned = True
            waiting.loop.call_soon_threadsafe(waiting.expire)

    def _undo(self, job: _Job) -> None:
        assert job.undo is not None
        undo, result = job.undo, job.result
        job.call, job.keeps, job.undo = lambda: undo(result), True, None
        job.run()
        if isinstance(job.error, StateError):
            self._failed(job.error)
            self._keep(job)

    def _check(self) -> float | None:
        """Try to write where that is due, in the thread."""
        now_s = time.monotonic()
        if self.problem is None and not self._is_needed():
            return _CHECK_EVERY_S
        if now_s >= self._next_check_s:
            self._next_check_s = now_s + _CHECK_EVERY_S
            try:
                self._store.check()
            except StateError as error:
                self._failed(error)
            else:
                self._recovered()
        return _RECHECK_EVERY_S if self.problem is not None else max(self._next_check_s - now_s, _RECHECK_EVERY_S)

    def _failed(self, error: StateError) -> None:
        if self.problem is None:
            _LOG.error("the limits of keys cannot be kept until the shared state can be written: %s", error)
        self.problem = str(error)
        self._next_check_s = time.monotonic() + _RECHECK_EVERY_S

    def _recovered(self) -> None:
        if self.problem is not None:
            self.problem = None
            _LOG.warning("the shared state can be written again; the limits of keys are kept")
        self._do_late()

    def _do_late(self) -> None:
        """Do what could not be done before, until it fails again."""
        while self._late:
            job = self._late.popleft()
            job.run()
            if isinstance(job.error, StateError):
                self._late.appendleft(job)
                self._failed(job.error)
                return


def _hand_over(jobs: list[_Job]) -> None:
    def finish() -> None:
        for job in jobs:
            job.finish()

    # A loop that has been closed has no waiters left.
    loops = {job.loop for job in jobs}
    for loop in loops:
        if not loop.is_closed():
            loop.call_soon_threadsafe(finish)


def _result(call: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that does not suspend."""
    try:
        call.send(None)
    except StopIteration as stop:
        value: T = stop.value
        return value
    raise RuntimeError("a store suspended in a thread")
