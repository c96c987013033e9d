"""The memory that bodies may take."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref

import pytest

from router.dispatch.bounds.body_memory import BodyMemory
from router.dispatch.pool.queue import QueueLimits
from router.errors import BusyError
from router.formats.quantities import Seconds

MIB = 2**20
SOON = QueueLimits(10, Seconds(0.05))


async def number_of(memory: BodyMemory, key: str, size: int, stack: contextlib.AsyncExitStack) -> int:
    """How many bodies of this size find memory."""
    for number in range(1000):
        reserved = stack.enter_context(memory.reserved(key))
        try:
            await reserved.reserve(size)
        except BusyError:
            return number
    raise AssertionError("there is no limit")


def numbers(*bodies: tuple[str, int], capacity: int = 64 * MIB, share: float = 0.75) -> list[int]:
    async def main() -> list[int]:
        memory = BodyMemory(capacity, SOON, share)
        async with contextlib.AsyncExitStack() as stack:
            found = [await number_of(memory, key, size, stack) for key, size in bodies]
        assert memory.used_bytes == 0
        return found

    return asyncio.run(main())


def test_large_bodies_leave_memory_for_small_ones() -> None:
    assert numbers(("", 16 * MIB), ("", MIB)) == [3, 16]


def test_a_key_leaves_memory_for_others() -> None:
    assert numbers(("a", MIB), ("b", MIB)) == [48, 12]


def test_a_body_larger_than_all_memory_is_read_alone() -> None:
    assert numbers(("", 100 * MIB)) == [1]


def test_a_body_waits_until_memory_is_given_back() -> None:
    async def main() -> int:
        memory = BodyMemory(64 * MIB, QueueLimits(), 0.75)

        async def request() -> None:
            with memory.reserved() as reserved:
                await reserved.reserve(16 * MIB)
                await asyncio.sleep(0.01)

        await asyncio.gather(*(request() for _ in range(9)))
        return memory.used_bytes

    assert asyncio.run(main()) == 0


def test_what_is_not_kept_is_given_back() -> None:
    async def main() -> int:
        memory = BodyMemory(64 * MIB, SOON, 0.75)
        with memory.reserved("a") as reserved:
            await reserved.reserve(20 * MIB)
            reserved.keep(MIB)
            await reserved.reserve(MIB // 2)
            return memory.used_bytes

    assert asyncio.run(main()) == MIB


def test_a_client_that_leaves_while_it_waits_holds_nothing() -> None:
    async def main() -> int:
        memory = BodyMemory(8 * MIB, QueueLimits(), 1.0)
        with memory.reserved() as reserved:
            await reserved.reserve(6 * MIB)

            async def request() -> None:
                with memory.reserved() as more:
                    await more.reserve(4 * MIB)

            waiting = asyncio.create_task(request())
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        return memory.used_bytes

    assert asyncio.run(main()) == 0


def test_what_a_request_with_a_large_body_leaves_in_a_cycle_is_freed() -> None:
    class Call:
        """Refers to itself, as the exceptions and tasks of a request do."""

        def __init__(self) -> None:
            self.me = self

    async def main() -> bool:
        left = weakref.ref(Call())
        with BodyMemory(2**28, QueueLimits(), 1.0).reserved() as reserved:
            await reserved.reserve(2**26)
        async with asyncio.timeout(10):
            while left() is not None:
                await asyncio.sleep(0.01)
        return True

    gc.disable()
    try:
        assert asyncio.run(main())
    finally:
        gc.enable()


def test_what_is_not_free_is_not_taken_at_once_except_in_any_case() -> None:
    async def main() -> None:
        memory = BodyMemory(8 * MIB, SOON, 0.75)
        with memory.reserved() as one, memory.reserved() as other:
            assert one.take(5 * MIB)
            assert not other.take(4 * MIB)
            assert (memory.used_bytes, other.bytes) == (5 * MIB, 0)
            assert other.take(4 * MIB, in_any_case=True)
            assert (memory.used_bytes, other.bytes) == (9 * MIB, 4 * MIB)
            with pytest.raises(BusyError):
                await one.reserve(6 * MIB)
        assert memory.used_bytes == 0

    asyncio.run(main())
