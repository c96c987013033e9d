"""How often calls are repeated."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from router.dispatch.bounds import retry_budget
from router.dispatch.bounds.retry_budget import RetryBudget, RetryLimits, Standing
from router.formats.quantities import Seconds


async def repeated(budget: RetryBudget, *, works: bool, standing: Standing = "failing", key: str = "") -> bool:
    """Whether a repeated call is made."""
    permit = await budget.repeated(key, lambda: standing)
    if permit is None:
        return False
    with permit as paid:
        await asyncio.sleep(0.001)
        paid.failed = not works
        return True


async def requests(budget: RetryBudget, number: int, key: str = "") -> None:
    for _ in range(number):
        with budget.first(key):
            pass


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
        standings: tuple[Standing, ...] = ("works", "untried", "unknown", "failing")
        return [await repeated(budget, works=True, standing=standing) for standing in standings]

    assert asyncio.run(main()) == [True, True, False, False]


def test_further_calls_wait_for_what_the_first_one_at_a_deployment_shows() -> None:
    async def main() -> list[bool]:
        budget, outcomes = RetryBudget(RetryLimits(share=0.0, least=0)), list[bool]()

        def standing() -> Standing:
            return "works" if outcomes else "unknown"

        async def first() -> bool:
            made = await repeated(budget, works=True, standing="untried")
            outcomes.append(made)
            return made

        async def further() -> bool:
            permit = await budget.repeated("", standing)
            if permit is not None:
                with permit:
                    pass
            return permit is not None

        return await asyncio.gather(first(), *(further() for _ in range(5)))

    assert all(asyncio.run(main()))


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


def test_keys_that_ask_no_more_are_forgotten_after_the_window_and_others_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = 0.0
    monkeypatch.setattr(retry_budget, "time", SimpleNamespace(monotonic=lambda: now_s))

    async def main() -> tuple[int, list[bool]]:
        nonlocal now_s
        budget = RetryBudget(RetryLimits(share=0.0, least=1, window_s=Seconds(10)))
        for number in range(1000):
            await requests(budget, 1, f"past-{number}")
        now_s = 20.0
        spent = [await repeated(budget, works=False, key="now")]
        for number in range(100):
            await requests(budget, 1, f"new-{number}")
        spent.append(await repeated(budget, works=False, key="now"))
        return len(budget._of_key), spent

    assert asyncio.run(main()) == (101, [True, False])
