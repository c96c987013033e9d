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

from router.errors import BudgetError, FileError
from router.store.database import open_database
from router.store.state.limits import digest
from router.store.state.protocol import Claim, LastAnswer, StateError
from router.store.state.sqlite import _MIGRATIONS, SqliteState
from tests.store.state.states import NOW, is_granted, is_taken
from tests.store.state.states import Sqlite as State

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture(params=["memory", "file"])
def state(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[State]:
    opened = State(tmp_path / "state.sqlite" if request.param == "file" else None, hold_s=60)
    yield opened
    opened.close()


def test_an_answer_that_is_written_late_replaces_no_newer_one(state: State) -> None:
    state.remember("talk", "newer", NOW + 10)
    state.remember("talk", "late", NOW)
    assert state.card_of("talk", NOW + 20) == "newer"


def test_a_budget_of_an_older_release_keeps_its_reservations(tmp_path: Path) -> None:
    file = tmp_path / "state.sqlite"
    with contextlib.closing(open_database(file, _MIGRATIONS[:2])) as database:
        values = (1, "ci", int(NOW // 86_400), 5 * 10**8, int(NOW) + 60)
        database.execute("INSERT INTO reservation (id, key, day, cost, expires_s) VALUES (?, ?, ?, ?, ?)", values)
    state = State(file)
    assert not is_granted(state, 1.0, 0.6)
    assert state.spent_usd("ci", NOW + 61) == 0.5


def test_a_conversation_of_an_older_release_has_no_server(tmp_path: Path) -> None:
    file = tmp_path / "state.sqlite"
    with contextlib.closing(open_database(file, _MIGRATIONS[:1])) as database:
        database.execute("INSERT INTO conversation VALUES (?, 'small', ?)", (digest("", "talk"), int(NOW)))
    state = State(file)
    assert asyncio.run(state.store.last_answer("talk", NOW)) == LastAnswer("small", "")
    state.close()


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
