"""In which order waiting requests are offered what has become free."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from router.dispatch.residency.fairness import TokenCounters
from router.dispatch.residency.queued import LATER_FIRST

W = TypeVar("W")


class WaitingLine(Generic[W]):
    """The waiting requests of all tenants. The tenant whose counter is lowest is served next, of equals the one that
    has not been served for longest; of its requests the first, except that warm ones go first.

    A request is warm if no adapter has to be loaded for it. At most `LATER_FIRST` later requests of its tenant are
    served before another one.
    """

    def __init__(self, counters: TokenCounters) -> None:
        self.counters = counters
        # The tenant that has not been served for longest comes first. Each request has the number of later ones that
        # were served before it. One is removed in constant time.
        self._tenants: dict[str, dict[W, int]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def of_tenant(self, tenant: str) -> int:
        """How many requests of the tenant wait."""
        return len(self._tenants.get(tenant, ()))

    def add(self, tenant: str, waiter: W) -> None:
        """The request waits, behind all others of its tenant."""
        self.counters.join(tenant)
        self._tenants.setdefault(tenant, {})[waiter] = 0
        self._count += 1

    def remove(self, tenant: str, waiter: W) -> None:
        """The request waits no longer, if it did."""
        waiters = self._tenants.get(tenant, {})
        if waiter in waiters:
            del waiters[waiter]
            self._count -= 1
            if not waiters:
                del self._tenants[tenant]
                self.counters.leave(tenant)

    def serve(self, tenant: str, waiter: W) -> None:
        """The request is served; the turn passes to the other tenants with the same counter."""
        waiters = self._tenants.get(tenant, {})
        for earlier in itertools.takewhile(lambda each: each is not waiter, waiters):
            waiters[earlier] += 1
        self.remove(tenant, waiter)
        if tenant in self._tenants:
            self._tenants[tenant] = self._tenants.pop(tenant)

    def offers(self, fits: Callable[[W], bool], is_warm: Callable[[W], bool]) -> Iterator[tuple[str, W]]:
        """The requests to offer what is free to, in order, each at most once.

        The caller serves each, removes it, or leaves it, before it asks for the next one.
        """
        left = {tenant: self._of(tenant, fits, is_warm) for tenant in self._tenants}
        while left:
            tenant = self.counters.next(each for each in self._tenants if each in left)
            for waiter in left[tenant]:
                yield tenant, waiter
                if waiter not in self._tenants.get(tenant, ()):
                    break
            else:
                del left[tenant]
            left = {each: offers for each, offers in left.items() if each in self._tenants}

    def _of(self, tenant: str, fits: Callable[[W], bool], is_warm: Callable[[W], bool]) -> Iterator[W]:
        waiters, cold = self._tenants[tenant], deque[W]()
        for waiter in tuple(waiters):
            if waiter not in waiters or not fits(waiter):
                continue
            if waiters[waiter] < LATER_FIRST and not is_warm(waiter):
                cold.append(waiter)
                continue
            yield waiter
            while cold and waiters.get(cold[0], 0) >= LATER_FIRST:
                if cold[0] in waiters and fits(cold[0]):
                    yield cold[0]
                cold.popleft()
        for waiter in cold:
            if waiter in waiters and fits(waiter):
                yield waiter
