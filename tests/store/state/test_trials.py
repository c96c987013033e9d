"""Trials of canaries in the shared state: workers and restarts agree."""

from __future__ import annotations

import asyncio
from pathlib import Path

from router.store.state.protocol import TrialCounts
from router.store.state.sqlite import SqliteState
from router.store.state.threaded import ThreadedState

TRIAL = ("new", "old")


def test_two_workers_and_a_restart_count_together(tmp_path: Path) -> None:
    one, two = SqliteState(tmp_path / "state.sqlite"), SqliteState(tmp_path / "state.sqlite")
    asyncio.run(one.count_trial(TRIAL, is_new=True, is_bad=True))
    asyncio.run(two.count_trial(TRIAL, is_new=False, is_bad=False))
    counts = asyncio.run(one.count_trial(TRIAL, is_new=True, is_bad=False))
    assert counts == TrialCounts("new", "old", new=2, new_bad=1, old=1)
    one.close()
    two.close()
    again = SqliteState(tmp_path / "state.sqlite")
    assert asyncio.run(again.trials()) == (counts,)
    again.close()


def test_the_answers_to_each_key_are_counted_apart_and_forgotten_together() -> None:
    async def run() -> None:
        state = ThreadedState(SqliteState())
        await state.count_trial(TRIAL, is_new=True, is_bad=True, key_id="one")
        await state.count_trial(TRIAL, is_new=False, is_bad=False, key_id="two")
        counts = await state.count_trial(TRIAL, is_new=True, is_bad=False, key_id="one")
        assert counts == TrialCounts("new", "old", new=2, new_bad=1, old=1)
        by_key = await state.trial_by_key(TRIAL)
        assert set(by_key) == {TrialCounts("new", "old", 2, 1), TrialCounts("new", "old", 0, 0, 1)}
        await state.restart_trial(TRIAL)
        assert await state.trial_by_key(TRIAL) == ()
        state.close()

    asyncio.run(run())


def test_only_the_first_of_two_workers_rolls_back_and_its_reason_stays(tmp_path: Path) -> None:
    one, two = SqliteState(tmp_path / "state.sqlite"), SqliteState(tmp_path / "state.sqlite")
    asyncio.run(one.count_trial(TRIAL, is_new=True, is_bad=True))
    assert asyncio.run(one.stop_trial(TRIAL, "worse", 100.0))
    assert not asyncio.run(two.stop_trial(TRIAL, "by the operator", 200.0))
    assert asyncio.run(two.trials()) == (TrialCounts("new", "old", 1, 1, 0, 0, "worse", 100),)
    asyncio.run(two.restart_trial(TRIAL))
    assert asyncio.run(one.trials()) == ()
    one.close()
    two.close()


def test_a_trial_that_was_not_counted_yet_can_be_stopped() -> None:
    async def run() -> None:
        state = ThreadedState(SqliteState())
        assert await state.stop_trial(TRIAL, "by the operator", 1.0)
        assert (await state.count_trial(TRIAL, is_new=False, is_bad=False)).stopped == "by the operator"
        await state.restart_trial(TRIAL)
        assert await state.trials() == ()
        state.close()

    asyncio.run(run())
