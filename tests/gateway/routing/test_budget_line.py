"""Requests that wait until their key's budget allows them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from router.errors import BudgetError
from router.gateway.routing.budget_line import BudgetLines
from router.store.state.protocol import Reservation

Attempt = Callable[[], Awaitable[Reservation]]


class OneAtATime:
    """A budget that allows one request of the key at a time, until it is spent."""

    def __init__(self) -> None:
        self.is_taken = self.is_spent = False
        self.order: list[str] = []

    def attempt(self, name: str = "") -> Attempt:
        async def attempt() -> Reservation:
            if self.is_taken or self.is_spent:
                raise BudgetError("no", 5.0, is_spent=self.is_spent)
            self.is_taken = True
            self.order.append(name)
            return Reservation(1, "team", 1, 1)

        return attempt


async def begun(lines: BudgetLines, budget: OneAtATime, *names: str, wait_s: float = 5.0) -> list[asyncio.Task[object]]:
    tasks = [asyncio.ensure_future(lines.reserve("team", budget.attempt(name), 10, wait_s)) for name in names]
    await asyncio.sleep(0)
    return list(tasks)


async def end_one(lines: BudgetLines, budget: OneAtATime) -> None:
    budget.is_taken = False
    lines.freed("team")
    await asyncio.sleep(0.01)


def test_requests_are_accepted_in_the_order_in_which_they_came() -> None:
    async def run() -> None:
        lines, budget = BudgetLines(), OneAtATime()
        tasks = await begun(lines, budget, "a", "b", "c")
        for _ in range(3):
            await end_one(lines, budget)
        await asyncio.gather(*tasks)
        assert budget.order == ["a", "b", "c"]

    asyncio.run(run())


def test_a_request_that_finds_the_line_full_is_rejected_with_the_time_to_come_back() -> None:
    async def run() -> None:
        lines, budget = BudgetLines(), OneAtATime()
        budget.is_taken = True
        with pytest.raises(BudgetError) as rejected:
            await lines.reserve("team", budget.attempt(), 0, 5.0)
        assert not rejected.value.is_spent
        assert rejected.value.retry_after_s == 5.0

    asyncio.run(run())


def test_a_request_that_has_waited_long_enough_is_rejected() -> None:
    async def run() -> None:
        lines, budget = BudgetLines(), OneAtATime()
        budget.is_taken = True
        with pytest.raises(BudgetError):
            await lines.reserve("team", budget.attempt(), 10, 0.01)
        budget.is_taken = False
        await lines.reserve("team", budget.attempt(), 10, 0.01)

    asyncio.run(run())


def test_nobody_waits_for_a_budget_that_is_spent() -> None:
    async def run() -> None:
        lines, budget = BudgetLines(), OneAtATime()
        tasks = await begun(lines, budget, "a", "b", "c")
        budget.is_spent = True
        await end_one(lines, budget)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(result, BudgetError) and result.is_spent for result in results] == [False, True, True]

    asyncio.run(run())


def test_keys_do_not_wait_for_each_other() -> None:
    async def run() -> None:
        lines, budget, other = BudgetLines(), OneAtATime(), OneAtATime()
        tasks = await begun(lines, budget, "a", "b")
        await lines.reserve("another", other.attempt(), 10, 5.0)
        await end_one(lines, budget)
        await asyncio.gather(*tasks)

    asyncio.run(run())
