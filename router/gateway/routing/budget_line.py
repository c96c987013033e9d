"""Requests of keys of which only one at a time can be sent, since their budget is nearly spent."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

from router.errors import BudgetError
from router.store.state.protocol import Reservation

# Requests in other workers end without a sign.
_POLL_S = 0.1
_LONGEST_RETRY_S = 60.0


class _Line:
    """The requests of one key. `error` is the last rejection."""

    def __init__(self, error: BudgetError) -> None:
        self.error, self.waiting, self.accepted = error, 0, 0
        self.began_s = time.monotonic()
        self.turn, self.freed = asyncio.Lock(), asyncio.Event()

    def rejection(self) -> BudgetError:
        """The error for a request that cannot wait any longer, with the time after which those before it have ended."""
        pace_s = (time.monotonic() - self.began_s) / self.accepted if self.accepted else 0.0
        wait_s = min(max(self.error.retry_after_s, pace_s * self.waiting), _LONGEST_RETRY_S)
        return BudgetError(str(self.error), wait_s, is_spent=False)


class BudgetLines:
    """The requests that wait until their key's budget allows them, first come, first served.

    Use it on one event loop.
    """

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}

    async def reserve(
        self, key_id: str, attempt: Callable[[], Awaitable[Reservation]], most_waiting: int, wait_s: float
    ) -> Reservation:
        """The reservation that `attempt` makes, after up to `wait_s` seconds. Raises BudgetError."""
        line = self._lines.get(key_id)
        if line is None:
            try:
                return await attempt()
            except BudgetError as error:
                if error.is_spent:
                    raise
                line = self._lines.setdefault(key_id, _Line(error))
        if line.waiting >= most_waiting:
            raise line.rejection()
        line.waiting += 1
        try:
            async with asyncio.timeout(wait_s), line.turn:
                return await self._accepted(line, attempt)
        except TimeoutError:
            raise line.rejection() from None
        finally:
            line.waiting -= 1
            if not line.waiting:
                self._lines.pop(key_id, None)

    def freed(self, key_id: str) -> None:
        """Try again: a request of the key has ended."""
        if key_id in self._lines:
            self._lines[key_id].freed.set()

    async def _accepted(self, line: _Line, attempt: Callable[[], Awaitable[Reservation]]) -> Reservation:
        while True:
            line.freed.clear()
            try:
                reservation = await attempt()
            except BudgetError as error:
                if error.is_spent:
                    raise
                line.error = error
            else:
                line.accepted += 1
                return reservation
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_S):
                    await line.freed.wait()
