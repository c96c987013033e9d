"""The waiting queue for free slots: those of a deployment, or of the gateway itself.

A freed slot is granted to the first waiter that it fits. It is taken for the waiter at once, so no other request can
take it before the waiter runs.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import AsyncIterator, Callable, Collection
from typing import Annotated, Generic, TypeVar

import msgspec
from msgspec import Meta, Struct

from router.errors import BusyError
from router.formats.quantities import Seconds

T = TypeVar("T")
RETRY_AFTER_S = 1.0
"""After how many seconds a client should retry when the queue was full."""

# A waiter may also fit a slot that no call frees, such as that of a deployment whose cooldown ends.
_RECHECK_S = 1.0


class QueueLimits(Struct, frozen=True, forbid_unknown_fields=True, rename={"wait_s": "wait"}):
    """How many requests may wait for a free slot, and for how long. Any further request is rejected."""

    size: Annotated[int, Meta(ge=0, le=1_000_000)] = 1024
    # A factory, because msgspec cannot write a quantity's default into a JSON Schema.
    wait_s: Seconds = msgspec.field(default_factory=lambda: Seconds(10))


class _Waiter(Generic[T]):
    """One request in the queue. `take` takes a slot that fits, returns None where there is none, or raises BusyError
    where waiting cannot help; `keys` are the names of the slots that fit.
    """

    def __init__(self, take: Callable[[], T | None], keys: Collection[str] | None) -> None:
        self.take, self.keys = take, keys
        self.granted: asyncio.Future[T] = asyncio.get_running_loop().create_future()


class WaitingQueue(Generic[T]):
    """Requests that wait for a slot, first come, first served. Use it on one event loop.

    `release` frees a slot that was granted to a request which is cancelled before it runs, and calls `notify`.
    """

    def __init__(self, release: Callable[[T], None]) -> None:
        self._release = release
        self._waiters: collections.deque[_Waiter[T]] = collections.deque()

    def __len__(self) -> int:
        return len(self._waiters)

    async def wait(
        self, take: Callable[[], T | None], limits: QueueLimits, busy: BusyError, keys: Collection[str] | None = None
    ) -> T:
        """Wait until `take` gets a slot. Raises `busy` where the queue is full, or the time limit is exceeded."""
        if len(self._waiters) >= limits.size:
            raise busy
        waiter = _Waiter(take, keys)
        self._waiters.append(waiter)
        granted, loop = waiter.granted, asyncio.get_running_loop()
        deadline_s = loop.time() + limits.wait_s
        try:
            while (left_s := deadline_s - loop.time()) > 0:
                await asyncio.wait((granted,), timeout=min(left_s, _RECHECK_S))
                slot = granted.result() if granted.done() else take()
                if slot is not None:
                    return slot
            raise busy
        except asyncio.CancelledError:
            if granted.done() and granted.exception() is None:
                self._release(granted.result())
            raise
        finally:
            with contextlib.suppress(ValueError):
                self._waiters.remove(waiter)

    def notify(self, key: str | None = None) -> None:
        """Grant freed slots to the waiters that they fit, in order. `key` is the name of the slot, if it has one.

        The first waiter that gets none ends this: the waiters behind it would get none either.
        """
        for waiter in tuple(self._waiters):
            if key is not None and waiter.keys is not None and key not in waiter.keys:
                continue
            try:
                slot = waiter.take()
            except BusyError as error:
                self._waiters.remove(waiter)
                waiter.granted.set_exception(error)
                continue
            if slot is None:
                return
            self._waiters.remove(waiter)
            waiter.granted.set_result(slot)


class Admission:
    """Limits the requests that one worker runs at once to `max_running`. Both limits may be changed at any time."""

    def __init__(self, max_running: int, limits: QueueLimits) -> None:
        self.max_running, self.limits = max_running, limits
        self.running = 0
        self._queue: WaitingQueue[bool] = WaitingQueue(self._release)

    @property
    def waiting(self) -> int:
        """How many requests wait for admission."""
        return len(self._queue)

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Run the body of `async with` once admitted. Raises BusyError where the queue is full or too slow."""
        taken = self._take()
        if taken is None:
            busy = BusyError("the gateway is busy; try again soon", RETRY_AFTER_S)
            taken = await self._queue.wait(self._take, self.limits, busy)
        try:
            yield
        finally:
            self._release(taken)

    def _take(self) -> bool | None:
        if self.running >= self.max_running:
            return None
        self.running += 1
        return True

    def _release(self, _: bool) -> None:
        self.running -= 1
        self._queue.notify()
