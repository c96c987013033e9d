"""How often calls are repeated."""

from __future__ import annotations

import asyncio

from router.dispatch.bounds.retry_budget import RetryBudget, RetryLimits
from router.formats.quantities import Seconds


async def repeated(budget: RetryBudget, *, works: bool, proven: bool = False, key: str = "") -> bool:
    """Whether a repeated call is made."""
    async with budget.call(key, lambda: proven, repeated=True) as paid:
        if paid is None:
            return False
        await asyncio.sleep(0.001)
        paid.failed = not works
        return True


async def requests(budget: RetryBudget, number: int, key: str = "") -> None:
    for _ in range(number):
        async with budget.call(key, lambda: False, repeated=False) as paid:
            assert paid is not None


def test_repeated_calls_may_fail_as_often_as_the_budget_allows() -> None:
    async def main() -> int:
        budget = RetryBudget(RetryLimits(share=0.2, least=3))
        await requests(budget, 10)
        return sum([await repeated(budget, works=False) for _ in range(20)])

    assert asyncio.run(main()) == 5


def test_calls_in_parallel_fail_no_more_often() -> None:
    async def main() -> int:
        budget = RetryBudget(RetryLimits(share=0.2, least=3))
        await requests(budget, 10)
        return sum(await asyncio.gather(*(repeated(budget, works=False) for _ in range(20))))

    assert asyncio.run(main()) == 5


def test_calls_that_succeed_cost_nothing() -> None:
    async def main() -> list[bool]:
        budget = RetryBudget(RetryLimits(share=0.0, least=1))
        one_by_one = [await repeated(budget, works=True) for _ in range(20)]
        return one_by_one + await asyncio.gather(*(repeated(budget, works=True) for _ in range(20)))

    assert all(asyncio.run(main()))


def test_a_deployment_that_works_is_called_whatever_the_budget_is() -> None:
    async def main() -> list[bool]:
        budget = RetryBudget(RetryLimits(share=0.0, least=0))
        return [await repeated(budget, works=True, proven=True), await repeated(budget, works=True)]

    assert asyncio.run(main()) == [True, False]


def test_every_key_has_a_budget_of_its_own() -> None:
    async def main() -> list[bool]:
        budget = RetryBudget(RetryLimits(share=0.0, least=1))
        return [await repeated(budget, works=False, key=key) for key in ("a", "a", "b")]

    assert asyncio.run(main()) == [True, False, True]


def test_failures_are_forgotten_after_the_window() -> None:
    async def main() -> list[bool]:
        budget = RetryBudget(RetryLimits(share=0.0, least=1, window_s=Seconds(0.02)))
        first = [await repeated(budget, works=False) for _ in range(2)]
        await asyncio.sleep(0.05)
        return [*first, await repeated(budget, works=False)]

    assert asyncio.run(main()) == [True, False, True]


def test_a_call_that_is_cancelled_counts_as_failed() -> None:
    async def main() -> bool:
        budget = RetryBudget(RetryLimits(share=0.0, least=1))
        running = asyncio.create_task(repeated(budget, works=True))
        await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return await repeated(budget, works=True)

    assert asyncio.run(main()) is False
