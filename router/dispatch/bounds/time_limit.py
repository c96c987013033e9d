"""The time limit of a block, without a coroutine of its own."""

from __future__ import annotations

import asyncio
from types import TracebackType


class TimeLimit:
    """A block (`with`) of a task that ends after so many seconds, whatever it waits for. Use it once.

    Raises TimeoutError for its own limit alone, as `asyncio.timeout` does, at a fraction of the cost: a cancellation
    from outside, and the limit of a block around this one, pass on as they are. `loop` is the running one, where it is
    known: to ask for it costs a system call.
    """

    __slots__ = ("_cancelling", "_is_over", "_loop", "_seconds", "_task", "_timer")

    def __init__(self, seconds: float, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._seconds, self._loop = seconds, loop
        self._is_over = False

    def __enter__(self) -> None:
        loop = self._loop or asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None
        self._task, self._cancelling = task, task.cancelling()
        self._timer = loop.call_later(self._seconds, self._end)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        # The task may have been cancelled from outside as well.
        is_own = self._is_over and self._task.uncancel() <= self._cancelling
        if is_own and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise TimeoutError from error

    def _end(self) -> None:
        self._is_over = True
        self._task.cancel()
