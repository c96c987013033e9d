"""How much work begins in one pass of the event loop, so that others, such as health checks, get their turns."""

from __future__ import annotations

import asyncio
import collections
import time
from collections.abc import Callable

_AT_ONCE = 4
# After a pass that took longer, one request begins at a time.
_PASS_S = 0.01


class Pace:
    """Lets a few requests begin in each pass of the event loop; keys take turns where more of them wait. Use it on one
    event loop.

    What a request needs at its beginning, such as the choice of a card, is done at once. Hundreds of requests that
    arrive together would otherwise be a single pass, in which nothing else is served.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        # Kept, since to ask for it costs a system call.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._began_s = 0.0
        self._begun = 0
        self._is_counting = False
        self._waiting: collections.OrderedDict[str, collections.deque[asyncio.Future[None]]] = collections.OrderedDict()

    async def turn(self, key: str = "") -> None:
        """Return when a request of this key may begin."""
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        if not self._is_counting:
            self._is_counting, self._began_s = True, self._clock()
            loop.call_soon(self._pass, loop)
        has_time = self._begun < _AT_ONCE and (not self._begun or self._clock() - self._began_s < _PASS_S)
        if has_time and not self._waiting:
            self._begun += 1
            return
        turn = loop.create_future()
        self._waiting.setdefault(key, collections.deque()).append(turn)
        await turn

    def _pass(self, loop: asyncio.AbstractEventLoop) -> None:
        now_s = self._clock()
        most = _AT_ONCE if now_s - self._began_s < _PASS_S else 1
        self._began_s, self._begun = now_s, 0
        while self._waiting and self._begun < most:
            key, turns = self._waiting.popitem(last=False)
            turn = turns.popleft()
            if turns:
                self._waiting[key] = turns
            # The client may have left.
            if not turn.done():
                turn.set_result(None)
                self._begun += 1
        self._is_counting = bool(self._begun)
        if self._is_counting:
            loop.call_soon(self._pass, loop)
