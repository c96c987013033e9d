"""The time limit of a block."""

from __future__ import annotations

import asyncio

import pytest

from router.dispatch.bounds.time_limit import TimeLimit

AT_ONCE, LATER = 0.0, 60.0


def test_what_a_block_waits_for_ends_at_its_limit() -> None:
    async def main() -> int:
        with pytest.raises(TimeoutError), TimeLimit(AT_ONCE):
            await asyncio.Event().wait()
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    assert asyncio.run(main()) == 0


def test_a_block_that_has_ended_is_not_interrupted() -> None:
    async def main() -> bool:
        with TimeLimit(0.001):
            pass
        await asyncio.sleep(0.005)
        return True

    assert asyncio.run(main())


def test_a_cancellation_from_outside_passes_on() -> None:
    async def limited() -> None:
        with TimeLimit(LATER):
            await asyncio.Event().wait()

    async def main() -> bool:
        task = asyncio.create_task(limited())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return task.cancelled()

    assert asyncio.run(main())


def test_a_cancellation_from_outside_is_not_lost_at_the_limit() -> None:
    async def limited() -> None:
        with TimeLimit(AT_ONCE):
            await asyncio.Event().wait()

    async def main() -> bool:
        task = asyncio.create_task(limited())
        # Both in the same pass of the loop, in either order, before the task runs again.
        asyncio.get_running_loop().call_soon(asyncio.get_running_loop().call_later, 0.0, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task
        return task.cancelled()

    assert asyncio.run(main())


@pytest.mark.parametrize(("outer_s", "inner_s", "ended"), [(AT_ONCE, LATER, "outer"), (LATER, AT_ONCE, "inner")])
def test_of_two_blocks_only_the_one_whose_limit_is_over_raises(outer_s: float, inner_s: float, ended: str) -> None:
    async def main() -> str:
        try:
            with TimeLimit(outer_s):
                try:
                    with TimeLimit(inner_s):
                        await asyncio.Event().wait()
                except TimeoutError:
                    return "inner"
        except TimeoutError:
            return "outer"
        return "neither"

    assert asyncio.run(main()) == ended


def test_another_error_of_the_block_passes_on() -> None:
    async def main() -> None:
        with TimeLimit(LATER):
            raise KeyError

    with pytest.raises(KeyError):
        asyncio.run(main())
