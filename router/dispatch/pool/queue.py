"""The waiting queue for free slots: those of a deployment, or of the gateway itself.

A freed slot is for the tenant that has used the fewest tokens, where they are counted, else for tenants in turn; of its
waiters for the first that the slot fits, or one for which no adapter has to be loaded. It is taken for the waiter at
once, so no other request can take it before the waiter runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Hashable
from typing import Annotated, Generic, TypeVar

import msgspec
from msgspec import Meta, Struct

from router.dispatch.bounds.share import fits
from router.dispatch.residency.fairness import TokenCounters
from router.dispatch.residency.line import WaitingLine
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
    others get none either. `is_warm`: whether no adapter has to be loaded for it now.
    """

    def __init__(
        self,
        take: Callable[[], T | None],
        keys: Collection[str] | None,
        group: Hashable,
        is_warm: Callable[[], bool],
    ) -> None:
        self.take, self.keys, self.group, self.is_warm = take, keys, group, is_warm
        self.granted: asyncio.Future[T] = asyncio.get_running_loop().create_future()


class WaitingQueue(Generic[T]):
    """Requests that wait for a slot; `WaitingLine` has their order. Use it on one event loop.

    `release` frees a slot that was granted to a request which is cancelled before it runs, and calls `notify`. The
    owner tells the `counters` what calls have used; without that, tenants get slots in turn.
    """

    def __init__(self, release: Callable[[T], None]) -> None:
        self._release = release
        self.counters = TokenCounters()
        self._line: WaitingLine[_Waiter[T]] = WaitingLine(self.counters)
        self._will_notify = False

    def __len__(self) -> int:
        return len(self._line)

    def has_room(self, limits: QueueLimits, tenant: str = "") -> bool:
        """Whether a request of `tenant` may wait. One of several tenants, which have names, never has all places."""
        free = limits.size - len(self._line)
        return fits(self._line.of_tenant(tenant), 1, free, _SHARE_OF_PLACES if tenant else 1.0)

    async def wait(
        self,
        take: Callable[[], T | None],
        limits: QueueLimits,
        busy: BusyError,
        keys: Collection[str] | None = None,
        *,
        tenant: str = "",
        group: Hashable = None,
        is_warm: Callable[[], bool] = lambda: True,
    ) -> T:
        """Wait until `take` gets a slot. Raises `busy` where the queue is full, or the time limit is exceeded."""
        if not self.has_room(limits, tenant):
            raise busy
        waiter = _Waiter(take, keys, group, is_warm)
        self._line.add(tenant, waiter)
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
            self._line.remove(tenant, waiter)

    def notify_soon(self) -> None:
        """Notify once, of all that happens until the event loop turns to it."""
        if self._line and not self._will_notify:
            self._will_notify = True
            asyncio.get_running_loop().call_soon(self._notify_all)

    def _notify_all(self) -> None:
        self._will_notify = False
        self.notify()

    def notify(self, key: str | None = None) -> None:
        """Grant freed slots to the waiters that they fit, in order. `key` is the name of the slot, if it has one."""
        if not self._line:
            return
        without_any: set[Hashable] = set()

        def may_fit(waiter: _Waiter[T]) -> bool:
            return (key is None or waiter.keys is None or key in waiter.keys) and waiter.group not in without_any

        for tenant, waiter in self._line.offers(may_fit, lambda waiter: waiter.is_warm()):
            try:
                slot = waiter.take()
            except BusyError as error:
                self._line.remove(tenant, waiter)
                waiter.granted.set_exception(error)
                continue
            if slot is None:
                without_any.add(waiter.group)
                continue
            self._line.serve(tenant, waiter)
            waiter.granted.set_result(slot)
