"""One task for all that need its outcome."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

Outcome = TypeVar("Outcome")


class Flights(Generic[Outcome]):
    """Tasks by key, of which one runs at a time. Whoever waits for one may be cancelled without ending it."""

    def __init__(self) -> None:
        self._running: dict[Hashable, asyncio.Task[Outcome]] = {}

    def start(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, Outcome]]) -> asyncio.Task[Outcome]:
        """The task that runs for `key`; a new one where there is none."""
        task = self._running.get(key)
        # One that is done is removed a little later.
        if task is None or task.done():
            task = self._running[key] = asyncio.create_task(work())
            task.add_done_callback(lambda ended: self._ended(key, ended))
        return task

    async def join(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, Outcome]]) -> Outcome:
        """The outcome of the task for `key`."""
        return await asyncio.shield(self.start(key, work))

    async def aclose(self) -> None:
        """Cancel all tasks, and those that begin since others end."""
        while tasks := [task for task in self._running.values() if not task.done()]:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    def _ended(self, key: Hashable, task: asyncio.Task[Outcome]) -> None:
        if self._running.get(key) is task:
            del self._running[key]
        if not task.cancelled():
            # Nobody may wait for it any more.
            task.exception()
