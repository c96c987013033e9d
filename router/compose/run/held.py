"""The memory of the answers that a plan has collected and nobody has seen, counted with that of the bodies."""

from __future__ import annotations

from router.dispatch.bounds.body_memory import Reserved
from router.dispatch.pool.queue import RETRY_AFTER_S
from router.errors import BusyError, UpstreamError

_MOST_BYTES = 32 * 2**20
# As much is held even where there is no memory: then new requests wait for it, and running ones end.
_SMALL_BYTES = 2**20
# An answer is held as the pieces in which it came, and as what they say.
_COPIES = 2


class HeldAnswers:
    """What the answers of one request's plan hold together, until it ends; uncounted where `memory` is None."""

    def __init__(self, memory: Reserved | None) -> None:
        self._memory = memory
        self.bytes = 0

    def add(self, size: int) -> None:
        """Take in `size` bytes of an answer.

        Raises UpstreamError where the answers are too large together, BusyError where there is no memory for them.
        """
        if self.bytes + size > _MOST_BYTES:
            raise UpstreamError("the answers of the plan are too large together", 502, "garbage")
        is_small = self.bytes + size <= _SMALL_BYTES
        if self._memory is not None and not self._memory.take(_COPIES * size, in_any_case=is_small):
            raise BusyError("the gateway holds too many large answers; try again soon", RETRY_AFTER_S)
        self.bytes += size

    def give_back(self, size: int) -> None:
        """Forget `size` bytes of an answer that is not kept."""
        self.bytes -= size
        if self._memory is not None:
            self._memory.keep(self._memory.bytes - _COPIES * size)
