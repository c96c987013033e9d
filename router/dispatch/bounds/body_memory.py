"""The memory that the bodies of requests may take in one worker, reserved before they are read, with that of answers
that a plan has collected.
"""

from __future__ import annotations

import asyncio
import gc

from router.dispatch.bounds.share import fits
from router.dispatch.pool.queue import RETRY_AFTER_S, QueueLimits, WaitingQueue
from router.errors import BusyError

_SMALL_BYTES = 2**20
# Larger bodies may have this part of the memory together, so that small ones always find some.
_PART_OF_LARGE = 0.75
# A request that has ended may be part of a cycle, which Python finds only after many thousands of new objects: a few
# requests with large bodies are none. So it searches each time that large bodies gave back so much.
_COLLECTED_BYTES = 2**25
# The request itself, which gives back its memory, must have ended.
_COLLECT_AFTER_S = 0.01


class Reserved:
    """The memory that one request has reserved. Use it with `with`, at whose end it is given back."""

    def __init__(self, memory: BodyMemory, key: str) -> None:
        self._memory, self._key = memory, key
        self.bytes = 0

    def __enter__(self) -> Reserved:
        return self

    def __exit__(self, *_: object) -> None:
        if held_bytes := self.bytes:
            self.keep(0)
            if held_bytes > _SMALL_BYTES:
                self._memory._collect_after(held_bytes)

    @property
    def decoding(self) -> asyncio.Lock:
        """Held while a large body is decoded: many at once would leave no time to the event loop."""
        return self._memory.decoding

    async def reserve(self, total_bytes: int) -> None:
        """Have at least this much in all, waiting for it if necessary. Raises BusyError."""
        more_bytes = total_bytes - self.bytes
        if more_bytes > 0:
            if self._memory._take(self._key, more_bytes, self.bytes) is None:
                await self._memory._wait(self._key, more_bytes, self.bytes)
            self.bytes = total_bytes

    def take(self, more_bytes: int, *, in_any_case: bool = False) -> bool:
        """Have so much more at once, without waiting; False where it is not free, unless `in_any_case`."""
        if not self._memory._take_now(self._key, more_bytes, self.bytes, in_any_case=in_any_case):
            return False
        self.bytes += more_bytes
        return True

    def keep(self, total_bytes: int) -> None:
        """Give back what is more than this."""
        if total_bytes < self.bytes:
            freed, self.bytes = self.bytes - total_bytes, total_bytes
            self._memory._release(self._key, freed)


class BodyMemory:
    """Limits the bytes of all bodies to `max_bytes`, and the part of each key. All may be changed at any time.

    One body may always be read, however large it is.
    """

    def __init__(self, max_bytes: int, limits: QueueLimits, share: float) -> None:
        self.max_bytes, self.limits, self.share = max_bytes, limits, share
        self.used_bytes = 0
        self.decoding = asyncio.Lock()
        self._freed_bytes = 0
        self._of_key: dict[str, int] = {}
        self._queue: WaitingQueue[tuple[str, int]] = WaitingQueue(lambda taken: self._release(*taken))

    def reserved(self, key: str = "") -> Reserved:
        """Nothing yet; what is reserved meanwhile is given back at the end. `key` is empty for the only one."""
        return Reserved(self, key)

    def _collect_after(self, freed_bytes: int) -> None:
        self._freed_bytes += freed_bytes
        if self._freed_bytes >= _COLLECTED_BYTES:
            self._freed_bytes = 0
            asyncio.get_running_loop().call_later(_COLLECT_AFTER_S, gc.collect)

    async def _wait(self, key: str, more_bytes: int, held_bytes: int) -> None:
        busy = BusyError("the gateway holds too many large requests; try again soon", RETRY_AFTER_S)
        size = more_bytes + held_bytes > _SMALL_BYTES
        await self._queue.wait(
            lambda: self._take(key, more_bytes, held_bytes), self.limits, busy, tenant=key, group=(key, size)
        )

    def _take_now(self, key: str, more_bytes: int, held_bytes: int, *, in_any_case: bool) -> bool:
        if self._take(key, more_bytes, held_bytes) is not None:
            return True
        if in_any_case:
            self._count(key, more_bytes)
        return in_any_case

    def _count(self, key: str, more_bytes: int) -> None:
        self.used_bytes += more_bytes
        self._of_key[key] = self._of_key.get(key, 0) + more_bytes

    def _take(self, key: str, more_bytes: int, held_bytes: int) -> tuple[str, int] | None:
        if self.used_bytes > held_bytes:
            free = self.max_bytes - self.used_bytes
            if more_bytes + held_bytes > _SMALL_BYTES:
                free -= int(self.max_bytes * (1 - _PART_OF_LARGE))
            if more_bytes > free or (key and not fits(self._of_key.get(key, 0), more_bytes, free, self.share)):
                return None
        self._count(key, more_bytes)
        return key, more_bytes

    def _release(self, key: str, freed_bytes: int) -> None:
        self.used_bytes -= freed_bytes
        if left_bytes := self._of_key[key] - freed_bytes:
            self._of_key[key] = left_bytes
        else:
            del self._of_key[key]
        self._queue.notify()
