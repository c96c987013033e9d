"""How many requests begin in one pass of the event loop."""

from __future__ import annotations

import asyncio

from router.dispatch.bounds.pace import Pace


class Clock:
    """A clock that each piece of work moves on."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


async def begun_in_each_pass(keys: list[str], work_s: float = 0.0) -> list[list[str]]:
    """The keys whose requests begin, by pass; all arrive at once."""
    clock, passes = Clock(), [[]]  # type: ignore[var-annotated]
    pace = Pace(clock)

    async def request(key: str) -> None:
        await pace.turn(key)
        passes[-1].append(key)
        clock.now_s += work_s

    requests = [asyncio.ensure_future(request(key)) for key in keys]
    while not all(each.done() for each in requests):
        await asyncio.sleep(0)
        passes.append([])
    return [begun for begun in passes if begun]


def test_a_lone_request_begins_at_once() -> None:
    assert asyncio.run(begun_in_each_pass(["a"])) == [["a"]]


def test_of_many_requests_a_few_begin_in_each_pass() -> None:
    passes = asyncio.run(begun_in_each_pass(["a"] * 100))
    assert max(map(len, passes)) == 4
    assert sum(map(len, passes)) == 100


def test_where_they_take_long_one_begins_in_each_pass() -> None:
    passes = asyncio.run(begun_in_each_pass(["a"] * 10, work_s=0.02))
    assert [len(begun) for begun in passes] == [1] * 10


def test_keys_take_turns_whatever_number_of_requests_each_has() -> None:
    passes = asyncio.run(begun_in_each_pass(["many"] * 50 + ["few"] * 2))
    order = [key for begun in passes for key in begun]
    assert order.index("few") < 8
    assert order.count("few") == 2


def test_a_client_that_leaves_takes_no_turn() -> None:
    async def leave() -> list[bool]:
        pace = Pace()
        waiting = [asyncio.ensure_future(pace.turn()) for _ in range(20)]
        await asyncio.sleep(0)
        for turn in waiting[4:19]:
            turn.cancel()
        await asyncio.wait_for(waiting[19], 5)
        return [turn.cancelled() for turn in waiting]

    assert asyncio.run(leave()) == [False] * 4 + [True] * 15 + [False]
