"""The time limits of all requests of one event loop, at one timer.

A timer of the loop is made, started, stopped and closed for each limit, and the closing costs a pass of the loop of its
own. Hardly any limit is ever reached, and nearly all of them last equally long, so one timer for the earliest is nearly
always set already when another limit begins.
"""

from __future__ import annotations

import asyncio
import math
import weakref
from typing import Protocol

# A loop may call a little before the time that it was given.
_EARLY_S = 0.001
# Where very many limits are reached one after another, each search among all of them serves several.
_SEARCH_S = 1e-6


class Limit(Protocol):
    """What ends at a time."""

    def expire(self) -> None:
        """The time is over."""


class Deadlines:
    """The limits that run on one event loop. All times are in seconds of its clock."""

    __slots__ = ("__weakref__", "_ends", "_loop", "_timer", "_wakes_s")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # These must not keep a loop that nobody else has.
        self._loop = weakref.ref(loop)
        self._ends: dict[Limit, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_s = math.inf

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Their loop."""
        loop = self._loop()
        assert loop is not None
        return loop

    def begin(self, limit: Limit, ends_s: float) -> None:
        """Have `limit` expire at this time, once, unless `end` is called before."""
        self._ends[limit] = ends_s
        if ends_s < self._wakes_s:
            self._wake_at(ends_s)

    def end(self, limit: Limit) -> None:
        """The limit was not reached, or has expired."""
        self._ends.pop(limit, None)

    def _wake_at(self, time_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._wakes_s = time_s
        self._timer = self.loop.call_at(time_s, self._wake)

    def _wake(self) -> None:
        self._timer, self._wakes_s = None, math.inf
        now_s = self.loop.time()
        over = [limit for limit, ends_s in self._ends.items() if ends_s <= now_s + _EARLY_S]
        for limit in over:
            del self._ends[limit]
        next_s = min(self._ends.values(), default=math.inf)
        if next_s < math.inf:
            self._wake_at(max(next_s, now_s + _SEARCH_S * len(self._ends)))
        for limit in over:
            limit.expire()


_OF_LOOPS: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Deadlines] = weakref.WeakKeyDictionary()


def deadlines_of(loop: asyncio.AbstractEventLoop) -> Deadlines:
    """Those of this loop. Keep them where they are needed often."""
    known = _OF_LOOPS.get(loop)
    if known is None:
        known = _OF_LOOPS[loop] = Deadlines(loop)
    return known
