"""Which requests run at once, and which key and card they are of."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from router.dispatch.bounds.admission import Admission, Turn
from router.dispatch.bounds.share import Shares
from router.dispatch.pool.queue import QueueLimits
from router.errors import BusyError
from router.formats.quantities import Seconds


def limits(size: int = 100, wait_s: float = 5.0) -> QueueLimits:
    return QueueLimits(size, Seconds(wait_s))


async def filled(admission: Admission, turn: Turn, stack: contextlib.AsyncExitStack) -> int:
    """How many requests of this kind begin until one would have to wait."""
    begun = 0
    while True:
        try:
            async with asyncio.timeout(0.01):
                await stack.enter_async_context(admission.turn(turn))
        except (TimeoutError, BusyError):
            return begun
        begun += 1


def begun(*turns: Turn, capacity: int = 8, shares: Shares = Shares()) -> list[int]:  # noqa: B008 - frozen
    """How many of each kind begin, one kind after another."""

    async def main() -> list[int]:
        admission = Admission(capacity, limits(), shares)
        async with contextlib.AsyncExitStack() as stack:
            numbers = [await filled(admission, turn, stack) for turn in turns]
        assert (admission.running, admission.waiting) == (0, 0)
        return numbers

    return asyncio.run(main())


def test_admission_never_exceeds_its_limit() -> None:
    async def main() -> int:
        admission, most = Admission(3, limits()), 0

        async def request() -> None:
            nonlocal most
            async with admission.turn():
                most = max(most, admission.running)
                await asyncio.sleep(0.001)

        await asyncio.gather(*(request() for _ in range(50)))
        assert (admission.running, admission.waiting) == (0, 0)
        return most

    assert asyncio.run(main()) == 3


def test_admission_rejects_requests_when_the_queue_is_full() -> None:
    async def main() -> None:
        admission = Admission(1, limits(size=0))
        async with admission.turn():
            with pytest.raises(BusyError, match="the gateway is busy"):
                async with admission.turn():
                    pass
            with pytest.raises(BusyError):
                admission.check_room()

    asyncio.run(main())


def test_a_greedy_key_leaves_room_for_others() -> None:
    assert begun(Turn(key="a"), Turn(key="b"), Turn(key="c")) == [6, 1, 1]


def test_calls_to_one_card_leave_room_for_other_cards() -> None:
    assert begun(Turn(card="hung"), Turn(card="well")) == [6, 1]


def test_a_greedy_key_leaves_room_for_others_at_the_same_card() -> None:
    kinds = [Turn(key, "busy") for key in "abc"]
    assert begun(*kinds) == [4, 1, 1]
    assert begun(*kinds[:2], capacity=512) == [288, 72]


def test_a_share_of_a_card_is_divided_among_keys_only_as_far_as_stated() -> None:
    assert begun(Turn("a", "busy"), shares=Shares(key=1.0)) == [6]
    assert begun(Turn("a", "busy"), shares=Shares(card=1.0)) == [6]


def test_a_gateway_with_one_key_and_one_card_uses_everything() -> None:
    assert begun(Turn()) == [8]


def test_a_share_of_one_is_no_limit() -> None:
    assert begun(Turn(key="a"), shares=Shares(key=1.0)) == [8]


def test_a_key_has_a_limit_of_its_own() -> None:
    async def main() -> None:
        admission = Admission(8, limits(wait_s=0.01))
        async with admission.turn(Turn(most=1)):
            with pytest.raises(BusyError, match="its limit") as caught:
                async with admission.turn(Turn(most=1)):
                    pass
            assert caught.value.status == 429

    asyncio.run(main())


def test_a_place_that_one_key_may_not_have_goes_to_another_that_waits() -> None:
    async def main() -> list[str]:
        admission, served = Admission(4, limits()), []

        async def request(key: str) -> None:
            async with admission.turn(Turn(key=key)):
                served.append(key)
                await asyncio.sleep(0.02)

        greedy = [asyncio.create_task(request("a")) for _ in range(12)]
        await asyncio.sleep(0)
        modest = [asyncio.create_task(request("b")) for _ in range(2)]
        await asyncio.gather(*greedy, *modest)
        return served

    served = asyncio.run(main())
    assert served.index("b") == 3
    assert len(served) == 14


def test_a_plan_counts_at_the_cards_that_it_calls_and_not_at_its_first() -> None:
    async def main() -> tuple[int, int, int]:
        admission = Admission(8, limits())
        async with contextlib.AsyncExitStack() as stack:
            ends = []
            for _ in range(6):
                running = await stack.enter_async_context(admission.turn(Turn(card="first")))
                running.leave_card()
                ends.append(running.begin_call("slow"))
            # The slow card has its share, the first one has room.
            with pytest.raises(BusyError, match=r"the limit of concurrent calls for this card .*`shares\.card`"):
                running.begin_call("slow")
            slow = await filled(admission, Turn(card="slow"), stack)
            first = await filled(admission, Turn(card="first"), stack)
            for end in ends:
                end()
                end()
            running.begin_call("slow")()
            return slow, first, admission.running

    assert asyncio.run(main()) == (0, 1, 7)


def test_a_key_has_only_a_part_of_what_a_card_may_have_of_calls_of_plans() -> None:
    async def main() -> int:
        admission, begun = Admission(16, limits()), 0
        async with contextlib.AsyncExitStack() as stack:
            running = [
                await stack.enter_async_context(admission.turn(Turn(key, "first")))
                for key in ["greedy"] * 8 + ["other"]
            ]
            for each in running:
                each.leave_card()
            with contextlib.suppress(BusyError):
                # Members in parallel.
                while True:
                    running[begun % 8].begin_call("slow")
                    begun += 1
            with pytest.raises(BusyError, match=r"of one key for this card .*`shares\.key`"):
                running[0].begin_call("slow")
            running[-1].begin_call("slow")
        return begun

    assert asyncio.run(main()) == 9


def test_where_there_is_one_card_calls_of_plans_are_not_counted() -> None:
    async def main() -> None:
        admission = Admission(2, limits())
        async with admission.turn(Turn()) as running:
            running.leave_card()
            for _ in range(5):
                running.begin_call("only")

    asyncio.run(main())
