"""How many requests run at once: beyond that they wait, and beyond what may wait they are sent away."""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import AsyncIterator

from router.dispatch import Queue
from router.errors import BusyError

_RETRY_AFTER_S = 1.0


class Admission:
    """Lets `most` requests of one worker run at once. Both limits may be changed at any time."""

    def __init__(self, most: int, queue: Queue) -> None:
        self.most, self.queue = most, queue
        self.running = 0
        self._waiting: collections.deque[asyncio.Future[None]] = collections.deque()

    @property
    def waiting(self) -> int:
        """How many requests wait for their turn."""
        return len(self._waiting)

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and hold it. Raises BusyError where too many wait, or it takes too long."""
        if self.running >= self.most:
            await self._wait()
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            self._wake()

    async def _wait(self) -> None:
        busy = BusyError("the gateway is busy; try again soon", _RETRY_AFTER_S)
        if len(self._waiting) >= self.queue.size:
            raise busy
        mine = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        try:
            async with asyncio.timeout(self.queue.wait_s):
                await mine
        except TimeoutError:
            raise busy from None
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                # The turn was given to a request whose client has left.
                self._wake()
            raise
        finally:
            with contextlib.suppress(ValueError):
                self._waiting.remove(mine)

    def _wake(self) -> None:
        while self._waiting and self.running < self.most:
            first = self._waiting.popleft()
            if not first.done():
                first.set_result(None)
                return
