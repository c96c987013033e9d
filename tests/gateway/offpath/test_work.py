"""Work that no client waits for, and its dollars."""

from __future__ import annotations

import asyncio

import pytest

from router.errors import BudgetError
from router.gateway.offpath.work import MOST_RUNNING, MOST_WAITING, Job, OffPath
from router.store.state.dollars import DailyDollars
from router.store.state.protocol import Claim, Reservation
from router.store.state.sqlite import SqliteState


def test_a_few_jobs_run_at_once_and_what_does_not_fit_into_the_queue_is_dropped() -> None:
    began, dropped = list[int](), list[int]()

    async def use() -> None:
        work, release = OffPath(lambda: True, lambda: False), asyncio.Event()

        async def job(number: int) -> None:
            began.append(number)
            await release.wait()

        for number in range(MOST_WAITING + 5):
            work.offer(Job(lambda number=number: job(number), lambda number=number: dropped.append(number)))  # type: ignore[misc]
        running = asyncio.create_task(work.run())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert began == list(range(MOST_RUNNING))
        release.set()
        while work.waiting:
            await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(use())
    assert began == list(range(MOST_WAITING))
    assert dropped == list(range(MOST_WAITING, MOST_WAITING + 5))


def test_running_jobs_are_cancelled_once_a_client_waits() -> None:
    async def use() -> list[str]:
        waits, ends = list[bool](), list[str]()
        work = OffPath(lambda: True, lambda: bool(waits))

        async def job() -> None:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                ends.append("cancelled")
                raise

        work.offer(Job(job))
        running = asyncio.create_task(work.run())
        await asyncio.sleep(0.02)
        waits.append(True)
        while work.waiting:
            await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return ends

    assert asyncio.run(use()) == ["cancelled"]


def test_a_job_that_fails_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    async def use() -> list[str]:
        work, done = OffPath(lambda: True, lambda: False), list[str]()

        async def fail() -> None:
            raise ValueError("unexpected")

        async def succeed() -> None:
            done.append("done")

        work.offer(Job(fail))
        work.offer(Job(succeed))
        running = asyncio.create_task(work.run())
        while work.waiting:
            await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return done

    assert asyncio.run(use()) == ["done"]
    assert "a job beside the requests failed: unexpected" in caplog.text


def test_calls_are_reserved_at_the_most_they_may_cost_and_charged_at_what_they_did() -> None:
    async def use() -> float:
        state = SqliteState()
        dollars = DailyDollars(state, lambda: 86_400.0)
        async with dollars.reserved("shadow/x", 1.0, 0.6) as charge:
            with pytest.raises(BudgetError):
                async with dollars.reserved("shadow/x", 1.0, 0.6):
                    pass
            charge.cost_usd = 0.1
        async with dollars.reserved("shadow/x", 1.0, 0.6):
            # What is not known is charged in full.
            pass
        return await state.spent_usd("shadow/x", 86_400.0)

    assert asyncio.run(use()) == pytest.approx(0.7)


def test_what_is_reserved_while_the_gateway_ends_is_given_back() -> None:
    class SlowState(SqliteState):
        async def reserve(self, claim: Claim, now_s: float) -> Reservation:
            reservation = await super().reserve(claim, now_s)
            await asyncio.sleep(0.05)
            return reservation

    async def use() -> float:
        state = SlowState()

        async def call() -> None:
            async with DailyDollars(state, lambda: 86_400.0).reserved("judge:x:y", 1.0, 0.6):
                raise AssertionError("nothing is asked")

        task = asyncio.create_task(call())
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return await state.spent_usd("judge:x:y", 86_400.0)

    assert asyncio.run(use()) == 0.0


def test_a_cancelled_call_is_charged_in_full() -> None:
    async def use() -> float:
        state = SqliteState()
        dollars = DailyDollars(state, lambda: 86_400.0)

        async def call() -> None:
            async with dollars.reserved("shadow/x", 1.0, 0.6):
                await asyncio.sleep(60)

        task = asyncio.create_task(call())
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return await state.spent_usd("shadow/x", 86_400.0)

    assert asyncio.run(use()) == pytest.approx(0.6)
