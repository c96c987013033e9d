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
from router.store.database import open_database
from router.store.state.protocol import Claim, LastAnswer, Reservation, StateError
from router.store.state.sqlite import _MIGRATIONS, SqliteState, _digest

NOW = 1_800_000_000.0 - 1_800_000_000 % 86_400 + 12 * 3600
"""Noon, UTC."""
SPAWN = multiprocessing.get_context("spawn")


class State:
    """A `SqliteState` for tests without an event loop: every method waits for its coroutine."""

    def __init__(self, file: Path | None = None, **options: Any) -> None:
        self.store = SqliteState(file, **options)
        self.maintain_once, self.close = self.store.maintain_once, self.store.close

    def take_request(self, key_id: str, rpm: int, now_s: float) -> None:
        asyncio.run(self.store.take_request(key_id, rpm, now_s))

    def reserve(self, claim: Claim, now_s: float) -> Reservation:
        return asyncio.run(self.store.reserve(claim, now_s))

    def settle(self, reservation: Reservation, cost_usd: float) -> None:
        asyncio.run(self.store.settle(reservation, cost_usd))

    def spent_usd(self, key_id: str, now_s: float) -> float:
        return asyncio.run(self.store.spent_usd(key_id, now_s))

    def card_of(self, session: str, now_s: float, key_id: str = "") -> str | None:
        last = asyncio.run(self.store.last_answer(session, now_s, key_id))
        return None if last is None else last.card

    def remember(self, session: str, card: str, now_s: float, key_id: str = "", server: str = "") -> None:
        asyncio.run(self.store.remember(session, LastAnswer(card, server), now_s, key_id))


@pytest.fixture(params=["memory", "file"])
def state(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[State]:
    opened = State(tmp_path / "state.sqlite" if request.param == "file" else None, hold_s=60)
    yield opened
    opened.close()


def is_taken(state: State, rpm: int, now_s: float, key: str = "ci") -> bool:
    try:
        state.take_request(key, rpm, now_s)
    except RateLimitError:
        return False
    return True


def is_granted(state: State, budget_usd: float, cost_usd: float, now_s: float = NOW) -> bool:
    try:
        state.reserve(Claim("ci", budget_usd, cost_usd), now_s)
    except BudgetError:
        return False
    return True


# Requests a minute


def test_a_burst_of_rpm_requests_is_allowed_and_no_more(state: State) -> None:
    assert [is_taken(state, 3, NOW) for _ in range(5)] == [True, True, True, False, False]


def test_a_request_is_allowed_after_the_wait_in_the_error_and_not_before(state: State) -> None:
    for _ in range(3):
        state.take_request("ci", 3, NOW)
    with pytest.raises(RateLimitError) as rejected:
        state.take_request("ci", 3, NOW + 5)
    assert str(rejected.value) == 'rate limit of 3 requests a minute exceeded for the key "ci"; retry in 15.0 s'
    assert rejected.value.retry_after_s == pytest.approx(15)
    assert not is_taken(state, 3, NOW + 19.99)
    assert is_taken(state, 3, NOW + 20)
    assert not is_taken(state, 3, NOW + 20)


def test_keys_have_separate_rate_limits(state: State) -> None:
    assert is_taken(state, 1, NOW, "a")
    assert is_taken(state, 1, NOW, "b")


def test_setting_the_clock_back_blocks_no_key(state: State) -> None:
    for _ in range(3):
        state.take_request("ci", 3, NOW)
    assert is_taken(state, 3, NOW - 3600)


@given(rpm=st.integers(1, 200), gaps=st.lists(st.floats(0, 5), min_size=1, max_size=120))
@settings(max_examples=60, deadline=None)
def test_any_interval_allows_at_most_a_burst_of_rpm_requests_plus_the_rate_times_its_length(
    rpm: int, gaps: list[float]
) -> None:
    state, now_s, times = State(), NOW, []
    for gap in gaps:
        now_s += gap
        if is_taken(state, rpm, now_s):
            times.append(now_s)
    state.close()
    for first in range(len(times)):
        for last in range(first, len(times)):
            # Times are rounded to microseconds.
            assert last - first + 1 <= rpm + (times[last] - times[first] + 1e-5) * rpm / 60 + 1e-3


# Budgets


def test_reservations_count_against_the_budget(state: State) -> None:
    assert is_granted(state, 1.0, 0.6)
    assert not is_granted(state, 1.0, 0.6)
    assert is_granted(state, 1.0, 0.4)


def test_settling_releases_the_unspent_part_of_a_reservation(state: State) -> None:
    reservation = state.reserve(Claim("ci", 1.0, 0.9), NOW)
    state.settle(reservation, 0.1)
    assert state.spent_usd("ci", NOW) == pytest.approx(0.1)
    assert is_granted(state, 1.0, 0.9)


def test_a_budget_error_names_the_amounts_and_when_the_budget_resets(state: State) -> None:
    state.settle(state.reserve(Claim("ci", 1.0, 0.5), NOW), 0.75)
    state.reserve(Claim("ci", 1.0, 0.125), NOW)
    with pytest.raises(BudgetError) as rejected:
        state.reserve(Claim("ci", 1.0, 0.375), NOW)
    assert rejected.value.is_spent
    assert rejected.value.retry_after_s == 12 * 3600
    assert str(rejected.value) == (
        'daily budget of 1$ exceeded for the key "ci": 0.75$ spent, 0.125$ reserved for running requests, '
        "0.375$ expected for this one; the budget resets in 720 minutes, at 00:00 UTC"
    )


def test_the_budget_resets_at_midnight_utc(state: State) -> None:
    state.settle(state.reserve(Claim("ci", 1.0, 1.0), NOW), 1.0)
    assert not is_granted(state, 1.0, 0.1, NOW + 12 * 3600 - 1)
    assert is_granted(state, 1.0, 1.0, NOW + 12 * 3600)


def test_a_request_counts_for_the_day_on_which_it_began(state: State) -> None:
    reservation = state.reserve(Claim("ci", 1.0, 0.5), NOW)
    tomorrow = state.reserve(Claim("ci", 1.0, 0.5), NOW + 86_400)
    state.settle(reservation, 0.5)
    state.settle(tomorrow, 0.25)
    assert state.spent_usd("ci", NOW) == 0.5
    assert state.spent_usd("ci", NOW + 86_400) == 0.25


def test_a_free_request_is_allowed_when_the_budget_is_spent(state: State) -> None:
    state.settle(state.reserve(Claim("ci", 1.0, 1.0), NOW), 1.5)
    assert is_granted(state, 1.0, 0.0)
    assert not is_granted(state, 1.0, 1e-9)


def test_the_reservation_of_a_killed_worker_is_spent_when_it_expires(state: State) -> None:
    state.reserve(Claim("ci", 1.0, 0.6), NOW)
    assert state.spent_usd("ci", NOW + 59) == 0
    assert state.spent_usd("ci", NOW + 61) == 0.6
    assert not is_granted(state, 1.0, 0.5, NOW + 61)
    assert is_granted(state, 1.0, 0.4, NOW + 61)


def test_the_cost_of_a_request_replaces_its_reservation_even_after_that_has_expired(state: State) -> None:
    reservation = state.reserve(Claim("ci", 1.0, 0.5), NOW)
    state.maintain_once(NOW + 61)
    assert state.spent_usd("ci", NOW + 61) == 0.5
    state.settle(reservation, 0.25)
    assert state.spent_usd("ci", NOW) == 0.25


def test_the_reservation_of_a_running_request_is_renewed(state: State) -> None:
    reservation = state.reserve(Claim("ci", 1.0, 0.5), NOW)
    state.store.renew(NOW + 55)
    assert state.spent_usd("ci", NOW + 61) == 0
    state.settle(reservation, 0.25)
    state.store.renew(NOW + 56)
    assert state.spent_usd("ci", NOW + 200) == 0.25


def test_a_request_whose_worst_case_exceeds_the_rest_runs_alone(state: State) -> None:
    first = state.reserve(Claim("ci", 1.0, 0.1, 0.01, 5.0), NOW)
    with pytest.raises(BudgetError) as rejected:
        state.reserve(Claim("ci", 1.0, 0.1, 0.01, 5.0), NOW)
    assert not rejected.value.is_spent
    assert rejected.value.retry_after_s == 1
    state.settle(first, 0.5)
    state.reserve(Claim("ci", 1.0, 0.1, 0.01, 5.0), NOW)


def test_requests_whose_worst_cases_fit_together_run_in_parallel(state: State) -> None:
    for _ in range(10):
        state.reserve(Claim("ci", 5.0, 0.1, 0.01, 0.5), NOW)


def test_a_free_request_of_the_key_does_not_block_one_that_runs_alone(state: State) -> None:
    state.reserve(Claim("ci", 1.0, 0.0), NOW)
    state.reserve(Claim("ci", 1.0, 0.1, 0.01, 5.0), NOW)


def test_a_request_that_waits_for_one_of_a_killed_worker_learns_when_that_expires(tmp_path: Path) -> None:
    killed, state = (State(tmp_path / "state.sqlite", hold_s=60) for _ in range(2))
    killed.reserve(Claim("ci", 1.0, 0.3, 0.01, 5.0), NOW)
    with pytest.raises(BudgetError) as rejected:
        state.reserve(Claim("ci", 1.0, 0.3, 0.01, 5.0), NOW + 20)
    assert rejected.value.retry_after_s == 40
    state.reserve(Claim("ci", 1.0, 0.3, 0.01, 5.0), NOW + 20 + rejected.value.retry_after_s)
    assert state.spent_usd("ci", NOW + 60) == 0.3


def test_a_budget_of_an_older_release_keeps_its_reservations(tmp_path: Path) -> None:
    file = tmp_path / "state.sqlite"
    with contextlib.closing(open_database(file, _MIGRATIONS[:2])) as database:
        values = (1, "ci", int(NOW // 86_400), 5 * 10**8, int(NOW) + 60)
        database.execute("INSERT INTO reservation (id, key, day, cost, expires_s) VALUES (?, ?, ?, ?, ?)", values)
    state = State(file)
    assert not is_granted(state, 1.0, 0.6)
    assert state.spent_usd("ci", NOW + 61) == 0.5


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.integers(0, 3)), max_size=40))
@settings(max_examples=100, deadline=None)
def test_parallel_requests_overspend_by_one_worst_case_at_most(steps: list[tuple[float, float, int]]) -> None:
    """Requests that all cost what they cost at most, some of which end before others begin."""
    state, running, greatest, spent = State(), [], 0.0, 0.0
    for reserved, beyond, ending in steps:
        for reservation, worst in running[:ending]:
            state.settle(reservation, worst)
            spent += worst
        del running[:ending]
        with contextlib.suppress(BudgetError):
            worst = reserved + beyond
            running.append((state.reserve(Claim("ci", 1.0, reserved, reserved / 2, worst), NOW), worst))
            greatest = max(greatest, worst)
    assert spent + sum(worst for _, worst in running) <= 1.0 + greatest + 1e-6
    state.close()


@pytest.mark.parametrize("cost", [-1.0, float("nan")])
def test_a_negative_or_undefined_cost_is_a_programming_error(state: State, cost: float) -> None:
    with pytest.raises(ValueError, match="a cost cannot be"):
        state.reserve(Claim("ci", 1.0, cost), NOW)


def test_an_infinite_cost_exceeds_every_budget(state: State) -> None:
    assert not is_granted(state, 1e9, float("inf"))


Step = tuple[float, float | None]


@given(
    budget=st.floats(0, 10),
    steps=st.lists(st.tuples(st.floats(0, 3), st.none() | st.floats(0, 1)), max_size=40),
)
@settings(max_examples=100, deadline=None)
def test_the_budget_is_never_exceeded_if_forecasts_are_not_below_costs(budget: float, steps: list[Step]) -> None:
    state, spent, unsettled = State(hold_s=60), 0.0, 0.0
    for forecast, share in steps:
        with contextlib.suppress(BudgetError):
            reservation = state.reserve(Claim("ci", budget, forecast), NOW)
            if share is None:
                unsettled += forecast
            else:
                state.settle(reservation, forecast * share)
                spent += forecast * share
    assert spent <= budget + 1e-9 * (len(steps) + 1)
    assert state.spent_usd("ci", NOW) == pytest.approx(spent, abs=1e-8)
    # Reservations that were never settled are spent, to the last unit.
    state.maintain_once(NOW + 61)
    assert state.spent_usd("ci", NOW + 61) == pytest.approx(spent + unsettled, abs=1e-7)
    state.close()


# Conversations


def test_the_server_that_answered_is_remembered_with_the_card(state: State) -> None:
    state.remember("talk", "small", NOW, server="first")
    state.remember("talk", "small", NOW + 1, server="second")
    last = asyncio.run(state.store.last_answer("talk", NOW + 2))
    assert last == LastAnswer("small", "second")


def test_a_conversation_of_an_older_release_has_no_server(tmp_path: Path) -> None:
    file = tmp_path / "state.sqlite"
    with contextlib.closing(open_database(file, _MIGRATIONS[:1])) as database:
        database.execute("INSERT INTO conversation VALUES (?, 'small', ?)", (_digest("", "talk"), int(NOW)))
    state = State(file)
    assert asyncio.run(state.store.last_answer("talk", NOW)) == LastAnswer("small", "")
    state.close()


def test_the_last_card_of_a_conversation_is_remembered(state: State) -> None:
    assert state.card_of("talk", NOW) is None
    state.remember("talk", "small", NOW)
    state.remember("talk", "large", NOW + 1)
    assert state.card_of("talk", NOW + 2) == "large"


def test_conversations_of_different_keys_are_separate(state: State) -> None:
    state.remember("1", "small", NOW, "a")
    assert state.card_of("1", NOW, "b") is None
    assert state.card_of("1", NOW) is None
    state.remember("b", "large", NOW, "a")
    assert state.card_of("", NOW, "ab") is None


def test_a_conversation_expires_a_day_after_its_last_answer(state: State) -> None:
    state.remember("talk", "small", NOW)
    state.remember("talk", "small", NOW + 3600)
    assert state.card_of("talk", NOW + 86_400) == "small"
    assert state.card_of("talk", NOW + 86_400 + 3600) is None


def test_session_names_are_not_stored(tmp_path: Path) -> None:
    state = State(tmp_path / "state.sqlite")
    state.remember("alice@example.com", "small", NOW)
    state.maintain_once()
    state.close()
    assert b"small" in (tmp_path / "state.sqlite").read_bytes()
    assert all(b"alice" not in file.read_bytes() for file in tmp_path.iterdir())


@pytest.mark.parametrize("in_memory", [True, False])
def test_the_least_recently_active_conversations_are_deleted_over_the_limit(tmp_path: Path, in_memory: bool) -> None:
    state = State(None if in_memory else tmp_path / "state.sqlite", max_sessions=10)
    for number in range(25):
        state.remember(f"talk {number}", "small", NOW + number)
    state.remember("talk 3", "small", NOW + 100)
    state.maintain_once(NOW + 100)
    known = [number for number in range(25) if state.card_of(f"talk {number}", NOW + 100)]
    state.close()
    assert known == [3, *range(16, 25)]


def test_what_is_kept_for_longer_does_not_push_conversations_out(tmp_path: Path) -> None:
    state = State(tmp_path / "state.sqlite", max_sessions=10)
    for number in range(25):
        state.remember(f"id {number}", "id", NOW + 1000 + number)
        state.remember(f"talk {number}", "small", NOW + number)
    state.maintain_once(NOW + 100)
    known = {kind: [n for n in range(25) if state.card_of(f"{kind} {n}", NOW + 100)] for kind in ("id", "talk")}
    state.close()
    assert known == {"id": [*range(15, 25)], "talk": [*range(15, 25)]}


def test_maintenance_deletes_old_entries_until_it_is_cancelled(tmp_path: Path) -> None:
    async def maintained(state: SqliteState) -> None:
        for number in range(500):
            await state.remember(f"talk {number}", LastAnswer("small"), NOW)
        maintenance = asyncio.create_task(state.maintain(lambda: NOW + 86_401, every_s=0.001))
        # As of the time of the answers, so that a conversation is unknown only once it is deleted.
        while await state.last_answer("talk 499", NOW) or await state.last_answer("talk 0", NOW):
            assert not maintenance.done()
            await asyncio.sleep(0.005)
        maintenance.cancel()
        with pytest.raises(asyncio.CancelledError):
            await maintenance

    for file in (None, tmp_path / "state.sqlite"):
        state = SqliteState(file)
        asyncio.run(asyncio.wait_for(maintained(state), 20))
        state.close()


# The file


def test_rates_spending_and_conversations_survive_a_restart(tmp_path: Path) -> None:
    first = State(tmp_path / "new" / "folder" / "state.sqlite")
    first.settle(first.reserve(Claim("ci", 1.0, 1.0), NOW), 1.0)
    first.take_request("ci", 1, NOW)
    first.remember("talk", "small", NOW)
    first.close()
    second = State(tmp_path / "new" / "folder" / "state.sqlite")
    assert not is_granted(second, 1.0, 0.1)
    assert not is_taken(second, 1, NOW)
    assert second.card_of("talk", NOW) == "small"
    second.close()


def test_a_file_that_is_not_a_database_is_a_clear_error(tmp_path: Path) -> None:
    file = tmp_path / "state.sqlite"
    file.write_bytes(b"not a database, and longer than the header of one" * 100)
    with pytest.raises(FileError, match=r"state\.sqlite: is damaged or not a database"):
        State(file)


def test_a_folder_that_cannot_be_created_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match="its folder cannot be created: "):
        State(tmp_path / "file" / "folder" / "state.sqlite")


def test_a_file_that_stays_locked_is_an_error_without_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.store.state.connection._RETRY_FOR_S", 0.05)
    state = State(tmp_path / "state.sqlite")
    other = sqlite3.connect(tmp_path / "state.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StateError, match="shared state database unavailable: database is locked") as error:
        state.take_request("ci", 1, NOW)
    assert str(tmp_path) not in str(error.value)
    other.execute("ROLLBACK")
    other.close()
    state.take_request("ci", 1, NOW)
    state.close()


def test_maintenance_keeps_the_write_ahead_log_small(tmp_path: Path) -> None:
    state = State(tmp_path / "state.sqlite")
    sizes = []
    for _ in range(5):
        for number in range(200):
            state.remember(f"talk {number}", str(number), NOW)
            state.settle(state.reserve(Claim("ci", 1e6, 0.01), NOW), 0.01)
        state.maintain_once()
        sizes.append((tmp_path / "state.sqlite-wal").stat().st_size)
    state.close()
    assert max(sizes) < 2 * sizes[0]


# Several threads, several processes


def test_threads_that_share_a_state_never_overspend(state: State) -> None:
    def spend(_: int) -> int:
        spent = 0
        for _ in range(100):
            if is_granted(state, 1.0, 0.01):
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
            reservation = state.reserve(Claim("ci", 1.0, 0.01), NOW)
        except BudgetError:
            continue
        cost_cents = number % 2
        state.settle(reservation, cost_cents / 100)
        spent += cost_cents
    state.close()
    results.put(spent)


def _take(file: Path, attempts: int, results: Any) -> None:
    state = State(file)
    results.put(sum(is_taken(state, 100, NOW) for _ in range(attempts)))
    state.close()


def _crash(file: Path) -> None:
    state = State(file)
    for number in range(10_000):
        state.remember(str(number), "small", NOW)
        state.reserve(Claim("ci", 1e6, 1.0), NOW)
        if number == 300:
            os.kill(os.getpid(), signal.SIGKILL)


def all_of(target: Any, file: Path, processes: int, attempts: int) -> list[int]:
    results: Any = SPAWN.Queue()
    running = [SPAWN.Process(target=target, args=(file, attempts, results)) for _ in range(processes)]
    for process in running:
        process.start()
    values = [results.get(timeout=60) for _ in running]
    for process in running:
        process.join(60)
        assert process.exitcode == 0
    return values


def test_workers_that_start_and_spend_at_the_same_time_never_overspend(tmp_path: Path) -> None:
    file = tmp_path / "state.sqlite"
    spent = all_of(_spend, file, 4, 300)
    state = State(file)
    assert sum(spent) == 100
    assert state.spent_usd("ci", NOW) == pytest.approx(1.0)
    assert not is_granted(state, 1.0, 0.01)
    state.close()


def test_workers_share_a_rate_limit(tmp_path: Path) -> None:
    assert sum(all_of(_take, tmp_path / "state.sqlite", 3, 100)) == 100


def test_a_killed_worker_leaves_an_intact_file_and_its_reservations_expire(tmp_path: Path) -> None:
    file = tmp_path / "state.sqlite"
    process = SPAWN.Process(target=_crash, args=(file,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    state = State(file, hold_s=60)
    assert state.card_of("300", NOW) == "small"
    with contextlib.closing(sqlite3.connect(file)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert not is_granted(state, 301.0, 1.0)
    assert state.spent_usd("ci", NOW + 901) >= 301
    state.close()
