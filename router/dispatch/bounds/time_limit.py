"""The time limit of a block, without a coroutine of its own."""

from __future__ import annotations

import asyncio
from types import TracebackType

from router.dispatch.bounds.deadlines import Deadlines, deadlines_of


class TimeLimit:
    """A block (`with`) of a task that ends after so many seconds, whatever it waits for. Use it once.

    Raises TimeoutError for its own limit alone, as `asyncio.timeout` does, at a fraction of the cost: a cancellation
    from outside, and the limit of a block around this one, pass on as they are. `deadlines` are those of the running
    loop, where they are known: to ask for it costs a system call.
    """

    __slots__ = ("_cancelling", "_deadlines", "_is_over", "_seconds", "_task")

    def __init__(self, seconds: float, deadlines: Deadlines | None = None) -> None:
        self._seconds, self._deadlines = seconds, deadlines
        self._is_over = False

    def __enter__(self) -> None:
        deadlines = self._deadlines
        if deadlines is None:
            deadlines = self._deadlines = deadlines_of(asyncio.get_running_loop())
        loop = deadlines.loop
        task = asyncio.current_task(loop)
        assert task is not None
        self._task, self._cancelling = task, task.cancelling()
        deadlines.begin(self, loop.time() + self._seconds)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._deadlines is not None
        self._deadlines.end(self)
        # The task may have been cancelled from outside as well.
        is_own = self._is_over and self._task.uncancel() <= self._cancelling
        if is_own and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise TimeoutError from error

    def expire(self) -> None:
        """See `Deadlines`."""
        self._is_over = True
        self._task.cancel()
