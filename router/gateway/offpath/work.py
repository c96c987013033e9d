"""Jobs that run beside the requests of clients, and end first where there is too much to do."""

from __future__ import annotations

import asyncio
import collections
import logging
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

_LOG = logging.getLogger(__name__)
MOST_WAITING, MOST_RUNNING = 32, 2
_LOOK_EVERY_S = 0.05


class Job(NamedTuple):
    """Something to do. `dropped` is called instead where there is no room for it."""

    run: Callable[[], Coroutine[Any, Any, None]]
    dropped: Callable[[], None] = lambda: None


class OffPath:
    """Runs jobs, a few at once, as long as clients need nothing. Use it on one event loop.

    `may_begin`: whether there is room for a job now; if not, those that wait are dropped. `must_end`: whether clients
    wait for something; then the running jobs are cancelled, too.
    """

    def __init__(self, may_begin: Callable[[], bool], must_end: Callable[[], bool]) -> None:
        self._may_begin, self._must_end = may_begin, must_end
        self._waiting: collections.deque[Job] = collections.deque()
        self._has_work = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """How many jobs wait or run."""
        return len(self._waiting) + len(self._running)

    def offer(self, job: Job) -> None:
        """Run the job soon, or drop it."""
        if len(self._waiting) >= MOST_WAITING or not self._may_begin():
            job.dropped()
            return
        self._waiting.append(job)
        self._has_work.set()

    async def run(self) -> None:
        """Run what comes, until cancelled; running jobs are cancelled then, and have ended when this returns."""
        try:
            while True:
                await self._has_work.wait()
                self._has_work.clear()
                while self._waiting or self._running:
                    self._begin()
                    if self._running:
                        await asyncio.wait(self._running, timeout=_LOOK_EVERY_S, return_when=asyncio.FIRST_COMPLETED)
                    if self._must_end():
                        await self._end_all()
        finally:
            await self._end_all()

    def _begin(self) -> None:
        if self._waiting and not self._may_begin():
            self._drop_all()
        while self._waiting and len(self._running) < MOST_RUNNING:
            task = asyncio.create_task(self._waiting.popleft().run())
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _drop_all(self) -> None:
        while self._waiting:
            self._waiting.popleft().dropped()

    async def _end_all(self) -> None:
        self._drop_all()
        running = tuple(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _LOG.error("a job beside the requests failed: %s", error)
