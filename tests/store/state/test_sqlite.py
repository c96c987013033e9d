from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.errors import BudgetError, FileError, RateLimitError
from router.store.state.sqlite import State, StateError

NOW = 1_800_000_000.0 - 1_800_000_000 % 86_400 + 12 * 3600
"""Noon, UTC."""
FORKED = multiprocessing.get_context("spawn")


@pytest.fixture(params=["memory", "file"])
def state(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[State]:
    opened = State(tmp_path / "state.sqlite" if request.param == "file" else None, hold_s=60)
    yield opened
    opened.close()


def taken(state: State, rpm: int, now_s: float, key: str = "ci") -> bool:
    try:
        state.take_request(key, rpm, now_s)
    except RateLimitError:
        return False
    return True


def granted(state: State, budget_usd: float, cost_usd: float, now_s: float = NOW) -> bool:
    try:
        state.reserve("ci", budget_usd, cost_usd, now_s)
    except BudgetError:
        return False
    return True


# Requests a minute


def test_as_many_requests_as_rpm_are_taken_at_once_and_no_more(state: State) -> None:
    assert [taken(state, 3, NOW) for _ in range(5)] == [True, True, True, False, False]


def test_a_request_is_taken_after_the_wait_that_the_refusal_names_and_not_before(state: State) -> None:
    for _ in range(3):
        state.take_request("ci", 3, NOW)
    with pytest.raises(RateLimitError, match='the key "ci" may ask 3 times a minute') as refused:
        state.take_request("ci", 3, NOW + 5)
    assert refused.value.retry_after_s == pytest.approx(15)
    assert not taken(state, 3, NOW + 19.99)
    assert taken(state, 3, NOW + 20)
    assert not taken(state, 3, NOW + 20)


def test_one_key_does_not_use_up_the_requests_of_another(state: State) -> None:
    assert taken(state, 1, NOW, "a")
    assert taken(state, 1, NOW, "b")


def test_a_clock_that_was_set_back_locks_nobody_out(state: State) -> None:
    for _ in range(3):
        state.take_request("ci", 3, NOW)
    assert taken(state, 3, NOW - 3600)


@given(rpm=st.integers(1, 200), gaps=st.lists(st.floats(0, 5), min_size=1, max_size=120))
@settings(max_examples=60, deadline=None)
def test_in_any_stretch_of_time_no_more_is_taken_than_rpm_and_what_has_grown_since(rpm: int, gaps: list[float]) -> None:
    state, now_s, times = State(), NOW, []
    for gap in gaps:
        now_s += gap
        if taken(state, rpm, now_s):
            times.append(now_s)
    state.close()
    for first in range(len(times)):
        for last in range(first, len(times)):
            # Times are rounded to microseconds.
            assert last - first + 1 <= rpm + (times[last] - times[first] + 1e-5) * rpm / 60 + 1e-3


# Budgets


def test_money_is_set_aside_before_it_is_spent(state: State) -> None:
    assert granted(state, 1.0, 0.6)
    assert not granted(state, 1.0, 0.6)
    assert granted(state, 1.0, 0.4)


def test_settling_frees_what_was_not_needed(state: State) -> None:
    reservation = state.reserve("ci", 1.0, 0.9, NOW)
    state.settle(reservation, 0.1)
    assert state.spent_usd("ci", NOW) == pytest.approx(0.1)
    assert granted(state, 1.0, 0.9)


def test_a_refusal_names_the_amounts_and_when_the_day_ends(state: State) -> None:
    state.settle(state.reserve("ci", 1.0, 0.5, NOW), 0.75)
    state.reserve("ci", 1.0, 0.125, NOW)
    with pytest.raises(BudgetError) as refused:
        state.reserve("ci", 1.0, 0.25, NOW)
    assert refused.value.retry_after_s == 12 * 3600
    assert str(refused.value) == (
        'the key "ci" may spend 1$ a day: 0.75$ are spent, 0.125$ set aside for requests that run, '
        "and this one may cost 0.25$; the day ends in 720 minutes, at 00:00 UTC"
    )


def test_the_next_day_begins_with_the_whole_budget(state: State) -> None:
    state.settle(state.reserve("ci", 1.0, 1.0, NOW), 1.0)
    assert not granted(state, 1.0, 0.1, NOW + 12 * 3600 - 1)
    assert granted(state, 1.0, 1.0, NOW + 12 * 3600)


def test_a_request_counts_for_the_day_on_which_it_began(state: State) -> None:
    reservation = state.reserve("ci", 1.0, 0.5, NOW)
    tomorrow = state.reserve("ci", 1.0, 0.5, NOW + 86_400)
    state.settle(reservation, 0.5)
    state.settle(tomorrow, 0.25)
    assert state.spent_usd("ci", NOW) == 0.5
    assert state.spent_usd("ci", NOW + 86_400) == 0.25


def test_what_costs_nothing_is_let_through_when_the_budget_is_spent(state: State) -> None:
    state.settle(state.reserve("ci", 1.0, 1.0, NOW), 1.5)
    assert granted(state, 1.0, 0.0)
    assert not granted(state, 1.0, 1e-9)


def test_money_that_a_crashed_worker_set_aside_comes_back(state: State) -> None:
    assert granted(state, 1.0, 1.0)
    assert not granted(state, 1.0, 1.0, NOW + 59)
    assert granted(state, 1.0, 1.0, NOW + 61)


def test_what_a_request_cost_counts_even_where_it_took_too_long(state: State) -> None:
    reservation = state.reserve("ci", 1.0, 0.5, NOW)
    assert granted(state, 1.0, 1.0, NOW + 61)
    state.settle(reservation, 0.25)
    assert state.spent_usd("ci", NOW) == 0.25


@pytest.mark.parametrize("cost", [-1.0, float("nan")])
def test_a_cost_below_nothing_is_a_mistake_of_ours(state: State, cost: float) -> None:
    with pytest.raises(ValueError, match="a cost cannot be"):
        state.reserve("ci", 1.0, cost, NOW)


def test_an_endless_cost_is_more_than_any_budget(state: State) -> None:
    assert not granted(state, 1e9, float("inf"))


Step = tuple[float, float | None]


@given(
    budget=st.floats(0, 10),
    steps=st.lists(st.tuples(st.floats(0, 3), st.none() | st.floats(0, 1)), max_size=40),
)
@settings(max_examples=100, deadline=None)
def test_where_forecasts_are_no_less_than_costs_the_budget_holds(budget: float, steps: list[Step]) -> None:
    state, spent = State(hold_s=60), 0.0
    for forecast, share in steps:
        with contextlib.suppress(BudgetError):
            reservation = state.reserve("ci", budget, forecast, NOW)
            if share is not None:
                state.settle(reservation, forecast * share)
                spent += forecast * share
    assert spent <= budget + 1e-9 * (len(steps) + 1)
    assert state.spent_usd("ci", NOW) == pytest.approx(spent, abs=1e-8)
    # All that was never settled comes back, to the last unit.
    state.tidy(NOW + 61)
    assert granted(state, spent + 1 + 1e-7, 1.0, NOW + 61)
    assert not granted(state, spent + 1, 1e-6, NOW + 61)
    state.close()


# Conversations


def test_a_conversation_knows_the_card_that_answered_last(state: State) -> None:
    assert state.card_of("talk", NOW) is None
    state.remember("talk", "small", NOW)
    state.remember("talk", "large", NOW + 1)
    assert state.card_of("talk", NOW + 2) == "large"


def test_keys_do_not_share_conversations_of_the_same_name(state: State) -> None:
    state.remember("1", "small", NOW, "a")
    assert state.card_of("1", NOW, "b") is None
    assert state.card_of("1", NOW) is None
    state.remember("b", "large", NOW, "a")
    assert state.card_of("", NOW, "ab") is None


def test_a_conversation_is_forgotten_a_day_after_its_last_answer(state: State) -> None:
    state.remember("talk", "small", NOW)
    state.remember("talk", "small", NOW + 3600)
    assert state.card_of("talk", NOW + 86_400) == "small"
    assert state.card_of("talk", NOW + 86_400 + 3600) is None


def test_the_names_of_conversations_are_not_stored(tmp_path: Path) -> None:
    state = State(tmp_path / "state.sqlite")
    state.remember("alice@example.com", "small", NOW)
    state.tidy()
    state.close()
    assert b"small" in (tmp_path / "state.sqlite").read_bytes()
    assert all(b"alice" not in file.read_bytes() for file in tmp_path.iterdir())


@pytest.mark.parametrize("in_memory", [True, False])
def test_the_conversations_that_were_quiet_for_longest_make_room(tmp_path: Path, in_memory: bool) -> None:
    state = State(None if in_memory else tmp_path / "state.sqlite", max_sessions=10)
    for number in range(25):
        state.remember(f"talk {number}", "small", NOW + number)
    state.remember("talk 3", "small", NOW + 100)
    state.tidy(NOW + 100)
    known = [number for number in range(25) if state.card_of(f"talk {number}", NOW + 100)]
    state.close()
    assert known == [3, *range(16, 25)]


def test_tending_forgets_and_stops_when_cancelled(tmp_path: Path) -> None:
    async def tended(state: State) -> None:
        for number in range(500):
            state.remember(f"talk {number}", "small", NOW)
        tending = asyncio.create_task(state.tend(lambda: NOW + 86_401, every_s=0.001))
        # Asked as of back then, so that only having been deleted can be why a conversation is unknown.
        while state.card_of("talk 499", NOW) or state.card_of("talk 0", NOW):
            assert not tending.done()
            await asyncio.sleep(0.005)
        tending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await tending

    for file in (None, tmp_path / "state.sqlite"):
        state = State(file)
        asyncio.run(asyncio.wait_for(tended(state), 20))
        state.close()


# The file


def test_a_restart_keeps_what_was_spent_and_asked(tmp_path: Path) -> None:
    first = State(tmp_path / "new" / "folder" / "state.sqlite")
    first.settle(first.reserve("ci", 1.0, 1.0, NOW), 1.0)
    first.take_request("ci", 1, NOW)
    first.remember("talk", "small", NOW)
    first.close()
    second = State(tmp_path / "new" / "folder" / "state.sqlite")
    assert not granted(second, 1.0, 0.1)
    assert not taken(second, 1, NOW)
    assert second.card_of("talk", NOW) == "small"
    second.close()


def test_what_is_no_database_is_refused_and_named(tmp_path: Path) -> None:
    file = tmp_path / "state.sqlite"
    file.write_bytes(b"not a database, and longer than the header of one" * 100)
    with pytest.raises(FileError, match=r"state\.sqlite: is damaged or no database"):
        State(file)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match="its folder cannot be made: "):
        State(tmp_path / "file" / "folder" / "state.sqlite")


def test_a_file_that_stays_locked_is_an_error_that_names_no_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.store.state.sqlite._PATIENCE_S", 0.05)
    state = State(tmp_path / "state.sqlite")
    other = sqlite3.connect(tmp_path / "state.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StateError, match="cannot be read or written: database is locked") as fault:
        state.take_request("ci", 1, NOW)
    assert str(tmp_path) not in str(fault.value)
    other.execute("ROLLBACK")
    other.close()
    state.take_request("ci", 1, NOW)
    state.close()


def test_the_log_does_not_grow_where_the_state_is_tended(tmp_path: Path) -> None:
    state = State(tmp_path / "state.sqlite")
    sizes = []
    for _ in range(5):
        for number in range(200):
            state.remember(f"talk {number}", str(number), NOW)
            state.settle(state.reserve("ci", 1e6, 0.01, NOW), 0.01)
        state.tidy()
        sizes.append((tmp_path / "state.sqlite-wal").stat().st_size)
    state.close()
    assert max(sizes) < 2 * sizes[0]


# Several threads, several processes


def test_threads_that_share_a_state_never_overspend(state: State) -> None:
    def spend(_: int) -> int:
        spent = 0
        for _ in range(100):
            if granted(state, 1.0, 0.01):
                spent += 1
            state.card_of("talk", NOW)
            state.remember("talk", "small", NOW)
        return spent

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(spend, range(4))) == 100


def _spend(file: Path, attempts: int, results: Any) -> None:
    state, spent = State(file), 0
    for number in range(attempts):
        try:
            reservation = state.reserve("ci", 1.0, 0.01, NOW)
        except BudgetError:
            continue
        cost_cents = number % 2
        state.settle(reservation, cost_cents / 100)
        spent += cost_cents
    state.close()
    results.put(spent)


def _take(file: Path, attempts: int, results: Any) -> None:
    state = State(file)
    results.put(sum(taken(state, 100, NOW) for _ in range(attempts)))
    state.close()


def _crash(file: Path) -> None:
    state = State(file)
    for number in range(10_000):
        state.remember(str(number), "small", NOW)
        state.reserve("ci", 1e6, 1.0, NOW)
        if number == 300:
            os.kill(os.getpid(), signal.SIGKILL)


def all_of(target: Any, file: Path, processes: int, attempts: int) -> list[int]:
    results: Any = FORKED.Queue()
    running = [FORKED.Process(target=target, args=(file, attempts, results)) for _ in range(processes)]
    for process in running:
        process.start()
    found = [results.get(timeout=60) for _ in running]
    for process in running:
        process.join(60)
        assert process.exitcode == 0
    return found


def test_workers_that_start_at_once_and_spend_at_once_never_overspend(tmp_path: Path) -> None:
    file = tmp_path / "state.sqlite"
    spent = all_of(_spend, file, 4, 300)
    state = State(file)
    assert sum(spent) == 100
    assert state.spent_usd("ci", NOW) == pytest.approx(1.0)
    assert not granted(state, 1.0, 0.01)
    state.close()


def test_workers_share_the_requests_of_a_minute(tmp_path: Path) -> None:
    assert sum(all_of(_take, tmp_path / "state.sqlite", 3, 100)) == 100


def test_a_killed_worker_leaves_a_sound_file_and_money_that_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "state.sqlite"
    process = FORKED.Process(target=_crash, args=(file,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    state = State(file, hold_s=60)
    assert state.card_of("300", NOW) == "small"
    with contextlib.closing(sqlite3.connect(file)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert not granted(state, 301.0, 1.0)
    assert granted(state, 1.0, 1.0, NOW + 901)
    state.close()
