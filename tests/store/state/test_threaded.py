from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from router.errors import BudgetError, RateLimitError
from router.store.state.protocol import Claim, LastAnswer, Reservation, StateError
from router.store.state.sqlite import SqliteState
from router.store.state.threaded import ThreadedState

NOW_S = 1_800_000_000.0
LIMIT_S = 0.5
"""For how long calls wait here, and after how long what may have failed is tried: a fifth of what is usual."""


@pytest.fixture(autouse=True)
def soon_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.store.state.threaded._CHECK_EVERY_S", LIMIT_S)


@contextlib.contextmanager
def opened(file: Path, **options: Any) -> Iterator[ThreadedState]:
    state = ThreadedState(SqliteState(file), limit_s=LIMIT_S, **options)
    try:
        yield state
    finally:
        state.close()


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Another program holds the lock."""
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            database.execute("ROLLBACK")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def refused(*calls: Awaitable[Any]) -> int:
    """How many of the calls raise StateError."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    return sum(isinstance(result, StateError) for result in results)


def test_limits_are_kept_as_by_the_store_itself(tmp_path: Path) -> None:
    async def main(state: ThreadedState) -> float:
        await state.take_request("a", 1, NOW_S)
        with pytest.raises(RateLimitError):
            await state.take_request("a", 1, NOW_S)
        reservation = await state.reserve(Claim("a", 1.0, 0.75), NOW_S)
        with pytest.raises(BudgetError):
            await state.reserve(Claim("a", 1.0, 0.75), NOW_S)
        await state.settle(reservation, 0.5)
        await state.remember("s", LastAnswer("card"), NOW_S, "a")
        assert await state.last_answer("s", NOW_S, "a") == LastAnswer("card")
        return await state.spent_usd("a", NOW_S)

    with opened(tmp_path / "state") as state:
        assert asyncio.run(main(state)) == 0.5


def test_the_event_loop_runs_while_another_program_holds_the_lock(tmp_path: Path) -> None:
    async def main(state: ThreadedState) -> tuple[int, int, float]:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0.01)
                turns += 1

        counting = asyncio.create_task(count())
        started_s = time.monotonic()
        failures = await refused(*(state.take_request("a", 100, NOW_S) for _ in range(10)))
        counting.cancel()
        return failures, turns, time.monotonic() - started_s

    with opened(tmp_path / "state") as state, locked(tmp_path / "state"):
        failures, turns, seconds = asyncio.run(main(state))
    assert failures == 10
    # One after the other, they would take ten times the limit.
    assert seconds < 8 * LIMIT_S
    assert turns > 10


def test_reads_do_not_wait_for_the_lock(tmp_path: Path) -> None:
    async def main(state: ThreadedState) -> LastAnswer | None:
        await state.remember("s", LastAnswer("card"), NOW_S)
        with locked(tmp_path / "state"):
            writing = asyncio.create_task(state.take_request("a", 100, NOW_S))
            await asyncio.sleep(0.05)
            last = await state.last_answer("s", NOW_S)
            assert not writing.done()
            with pytest.raises(StateError):
                await writing
        return last

    with opened(tmp_path / "state") as state:
        assert asyncio.run(main(state)) == LastAnswer("card")


def test_while_the_state_cannot_be_written_calls_fail_at_once_and_it_comes_back_by_itself(tmp_path: Path) -> None:
    async def main(state: ThreadedState) -> None:
        with locked(tmp_path / "state"):
            await until(lambda: state.problem is not None)
            task = asyncio.create_task(state.take_request("a", 100, NOW_S))
            await asyncio.sleep(0)
            assert await refused(task) == 1
        await until(lambda: state.problem is None)
        await state.take_request("a", 100, NOW_S)

    with locked_from_the_start(tmp_path / "state") as state:
        asyncio.run(main(state))


@contextlib.contextmanager
def locked_from_the_start(file: Path) -> Iterator[ThreadedState]:
    SqliteState(file).close()
    with opened(file) as state:
        yield state


def test_a_cost_that_cannot_be_written_is_written_later(tmp_path: Path) -> None:
    async def main(state: ThreadedState) -> float:
        first, second = [await state.reserve(Claim("a", 10.0, 1.0), NOW_S) for _ in range(2)]
        with locked(tmp_path / "state"):
            await refused(state.settle(first, 2.0))
            await refused(state.settle(second, 3.0))
        await until(lambda: state.problem is None)
        async with asyncio.timeout(10):
            while (spent := await state.spent_usd("a", NOW_S)) < 5.0:
                await asyncio.sleep(0.01)
        return spent

    with opened(tmp_path / "state") as state:
        assert asyncio.run(main(state)) == 5.0


def test_no_cost_is_lost_among_the_conversations_of_a_long_failure(tmp_path: Path) -> None:
    async def main(state: ThreadedState) -> None:
        reservation = await state.reserve(Claim("a", 10.0, 1.0), NOW_S)
        with locked(tmp_path / "state"):
            await until(lambda: state.problem is not None)
            await state.settle(reservation, 2.0)
            for number in range(5000):
                await state.remember(f"s{number}", LastAnswer("card"), NOW_S)
        await until(lambda: state.problem is None)
        async with asyncio.timeout(10):
            while await state.spent_usd("a", NOW_S) < 2.0:
                await asyncio.sleep(0.01)

    with opened(tmp_path / "state") as state:
        asyncio.run(main(state))


def test_what_is_left_to_do_is_done_when_the_state_is_closed(tmp_path: Path) -> None:
    async def main(state: ThreadedState) -> None:
        reservation = await state.reserve(Claim("a", 10.0, 1.0), NOW_S)
        asyncio.get_running_loop().call_soon(asyncio.create_task, state.settle(reservation, 2.0))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    with opened(tmp_path / "state") as state:
        asyncio.run(main(state))
    after = SqliteState(tmp_path / "state")
    assert asyncio.run(after.spent_usd("a", NOW_S)) == 2.0
    after.close()


def test_what_was_reserved_for_a_request_that_has_left_is_given_back(tmp_path: Path) -> None:
    async def main(state: ThreadedState) -> None:
        for _ in range(20):
            leaving = asyncio.create_task(state.reserve(Claim("a", 1.0, 1.0), NOW_S))
            await asyncio.sleep(0)
            leaving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await leaving
        # The writes run in their order, so all of those before have been taken back.
        await state.take_request("a", 100, NOW_S)
        await state.take_request("a", 100, NOW_S)
        await state.settle(await state.reserve(Claim("a", 1.0, 1.0), NOW_S), 0.0)

    with opened(tmp_path / "state") as state:
        asyncio.run(main(state))


class SlowStore(SqliteState):
    """A store on a disk that hangs."""

    def __init__(self, file: Path) -> None:
        super().__init__(file)
        self.hangs_s = 0.0

    def check(self) -> None:
        time.sleep(self.hangs_s)

    async def take_request(self, key_id: str, rpm: int, now_s: float) -> None:
        time.sleep(self.hangs_s)


def test_a_disk_that_hangs_delays_a_request_no_longer_than_the_limit(tmp_path: Path) -> None:
    async def main() -> tuple[int, bool]:
        failures = await refused(*(state.take_request("a", 100, NOW_S) for _ in range(3)))
        return failures, state.problem is not None

    store = SlowStore(tmp_path / "state")
    state = ThreadedState(store, limit_s=0.05)
    store.hangs_s = 0.5
    try:
        assert asyncio.run(main()) == (3, True)
    finally:
        store.hangs_s = 0.0
        state.close()


class HeldStore(SqliteState):
    """A store that reserves and closes only when it is released."""

    def __init__(self, file: Path) -> None:
        super().__init__(file)
        self.reserving, self.may_reserve = threading.Event(), threading.Event()
        self.closing, self.may_close = threading.Event(), threading.Event()

    async def reserve(self, claim: Claim, now_s: float) -> Reservation:
        self.reserving.set()
        self.may_reserve.wait(10)
        return await super().reserve(claim, now_s)

    def close(self) -> None:
        self.closing.set()
        self.may_close.wait(10)
        super().close()


async def closing_behind_a_reservation(
    store: HeldStore, state: ThreadedState
) -> tuple[asyncio.Task[Reservation], asyncio.Task[None]]:
    """A reservation that is being made, and the end of the state, which waits for it."""
    reserving = asyncio.create_task(state.reserve(Claim("a", 1.0, 1.0), NOW_S))
    await until(store.reserving.is_set)
    closing = asyncio.create_task(asyncio.to_thread(state.close))
    await until(lambda: not state._writes._jobs.empty())
    return reserving, closing


def test_what_was_done_when_the_state_is_closed_reaches_whoever_waits_for_it(tmp_path: Path) -> None:
    async def main() -> None:
        reserving, closing = await closing_behind_a_reservation(store, state)
        store.may_reserve.set()
        reservation = await reserving
        assert state.problem is None
        # The database is open still.
        await until(store.closing.is_set)
        await state.settle(reservation, 0.25)
        store.may_close.set()
        await closing

    store = HeldStore(tmp_path / "state")
    state = ThreadedState(store, limit_s=LIMIT_S)
    asyncio.run(main())
    after = SqliteState(tmp_path / "state")
    assert asyncio.run(after.spent_usd("a", NOW_S + 3600)) == 0.25
    after.close()


def test_what_was_reserved_for_a_request_that_leaves_while_the_state_is_closed_is_given_back(tmp_path: Path) -> None:
    async def main() -> None:
        reserving, closing = await closing_behind_a_reservation(store, state)
        store.may_reserve.set()
        # The event loop does not get the result before the request leaves.
        store.closing.wait(10)
        reserving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reserving
        store.may_close.set()
        await closing

    store = HeldStore(tmp_path / "state")
    state = ThreadedState(store, limit_s=LIMIT_S)
    asyncio.run(main())
    after = SqliteState(tmp_path / "state")
    # A reservation that is not given back is spent when it expires.
    assert asyncio.run(after.spent_usd("a", NOW_S + 3600)) == 0.0
    after.close()


def test_a_closed_state_fails_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        reservation = await state.reserve(Claim("a", 1.0, 1.0), NOW_S)
        await asyncio.to_thread(state.close)
        calls = [
            state.take_request("a", 1, NOW_S),
            state.last_answer("s", NOW_S),
            state.remember("s", LastAnswer("card"), NOW_S),
            state.settle(reservation, 0.5),
        ]
        assert await refused(*calls) == len(calls)

    # Whoever waited for the limit would wait for longer than the test may take.
    state = ThreadedState(SqliteState(tmp_path / "state"), limit_s=1000.0)
    asyncio.run(asyncio.wait_for(main(), 30))
    assert "cannot be kept" not in caplog.text
