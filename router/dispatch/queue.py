"""The waiting queue for free slots: those of a deployment, or of the gateway itself.

Tenants get freed slots in turn, each for its first waiter that the slot fits. It is taken for the waiter at once, so no
other request can take it before the waiter runs.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Collection, Hashable, Iterator
from typing import Annotated, Generic, TypeVar

import msgspec
from msgspec import Meta, Struct

from router.dispatch.bounds.share import fits
from router.errors import BusyError
from router.formats.quantities import Seconds

T = TypeVar("T")
RETRY_AFTER_S = 1.0
"""After how many seconds a client should retry when the queue was full."""

# A waiter may also fit a slot that no call frees, such as that of a deployment whose cooldown ends.
_RECHECK_S = 1.0
# The share of the waiting places that one of several tenants may have.
_SHARE_OF_PLACES = 0.75


class QueueLimits(Struct, frozen=True, forbid_unknown_fields=True, rename={"wait_s": "wait"}):
    """How many requests may wait for a free slot, and for how long. Any further request is rejected."""

    size: Annotated[int, Meta(ge=0, le=1_000_000)] = 1024
    # A factory, because msgspec cannot write a quantity's default into a JSON Schema.
    wait_s: Seconds = msgspec.field(default_factory=lambda: Seconds(10))


class _Waiter(Generic[T]):
    """One request in the queue. `take` takes a slot that fits, returns None where there is none, or raises BusyError
    where waiting cannot help; `keys` are the names of the slots that fit. Where one waiter of a `group` gets none, the
    others get none either.
    """

    def __init__(self, take: Callable[[], T | None], keys: Collection[str] | None, group: Hashable) -> None:
        self.take, self.keys, self.group = take, keys, group
        self.granted: asyncio.Future[T] = asyncio.get_running_loop().create_future()


class WaitingQueue(Generic[T]):
    """Requests that wait for a slot: tenants in turn, the requests of each first come, first served. Use it on one
    event loop.

    `release` frees a slot that was granted to a request which is cancelled before it runs, and calls `notify`.
    """

    def __init__(self, release: Callable[[T], None]) -> None:
        self._release = release
        # The tenant that has not been served for longest comes first. A waiter is removed in constant time.
        self._waiters: dict[str, dict[_Waiter[T], None]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def has_room(self, limits: QueueLimits, tenant: str = "") -> bool:
        """Whether a request of `tenant` may wait. One of several tenants, which have names, never has all places."""
        free = limits.size - self._count
        return fits(len(self._waiters.get(tenant, ())), 1, free, _SHARE_OF_PLACES if tenant else 1.0)

    async def wait(
        self,
        take: Callable[[], T | None],
        limits: QueueLimits,
        busy: BusyError,
        keys: Collection[str] | None = None,
        *,
        tenant: str = "",
        group: Hashable = None,
    ) -> T:
        """Wait until `take` gets a slot. Raises `busy` where the queue is full, or the time limit is exceeded."""
        if not self.has_room(limits, tenant):
            raise busy
        waiter = _Waiter(take, keys, group)
        self._waiters.setdefault(tenant, {})[waiter] = None
        self._count += 1
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
            self._remove(tenant, waiter)

    def notify(self, key: str | None = None) -> None:
        """Grant freed slots to the waiters that they fit, in order. `key` is the name of the slot, if it has one."""
        without_any: set[Hashable] = set()
        for tenant, waiter in self._in_turn():
            if key is not None and waiter.keys is not None and key not in waiter.keys:
                continue
            if waiter.group in without_any:
                continue
            try:
                slot = waiter.take()
            except BusyError as error:
                self._remove(tenant, waiter)
                waiter.granted.set_exception(error)
                continue
            if slot is None:
                without_any.add(waiter.group)
                continue
            self._remove(tenant, waiter)
            if tenant in self._waiters:
                self._waiters[tenant] = self._waiters.pop(tenant)
            waiter.granted.set_result(slot)

    def _in_turn(self) -> Iterator[tuple[str, _Waiter[T]]]:
        """The first waiter of every tenant, then the second ones, and so on."""
        lines = [[(tenant, waiter) for waiter in waiters] for tenant, waiters in self._waiters.items()]
        for row in itertools.zip_longest(*lines):
            yield from (each for each in row if each is not None)

    def _remove(self, tenant: str, waiter: _Waiter[T]) -> None:
        waiters = self._waiters.get(tenant, {})
        if waiter in waiters:
            del waiters[waiter]
            self._count -= 1
            if not waiters:
                del self._waiters[tenant]
