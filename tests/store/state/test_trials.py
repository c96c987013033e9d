"""Trials of canaries in the shared state: workers and restarts agree."""

from __future__ import annotations

import asyncio

from router.store.state.protocol import TrialCounts
from router.store.state.sqlite import SqliteState
from router.store.state.threaded import ThreadedState
from tests.store.state.states import State

TRIAL = ("new", "old")


def test_two_workers_count_together(two: tuple[State, State]) -> None:
    one, other = two
    one.count_trial(TRIAL, is_new=True, is_bad=True)
    other.count_trial(TRIAL, is_new=False, is_bad=False)
    counts = one.count_trial(TRIAL, is_new=True, is_bad=False)
    assert counts == TrialCounts("new", "old", new=2, new_bad=1, old=1)
    assert other.trials() == (counts,)


def test_the_answers_to_each_key_are_counted_apart_and_forgotten_together(two: tuple[State, State]) -> None:
    one, other = two
    one.count_trial(TRIAL, is_new=True, is_bad=True, key_id="one")
    other.count_trial(TRIAL, is_new=False, is_bad=False, key_id="two")
    counts = one.count_trial(TRIAL, is_new=True, is_bad=False, key_id="one")
    assert counts == TrialCounts("new", "old", new=2, new_bad=1, old=1)
    assert set(other.trial_by_key(TRIAL)) == {TrialCounts("new", "old", 2, 1), TrialCounts("new", "old", 0, 0, 1)}
    one.restart_trial(TRIAL)
    assert other.trial_by_key(TRIAL) == ()


def test_only_the_first_of_two_workers_rolls_back_and_its_reason_stays(two: tuple[State, State]) -> None:
    one, other = two
    one.count_trial(TRIAL, is_new=True, is_bad=True)
    assert one.stop_trial(TRIAL, "worse", 100.0)
    assert not other.stop_trial(TRIAL, "by the operator", 200.0)
    assert other.trials() == (TrialCounts("new", "old", 1, 1, 0, 0, "worse", 100),)
    other.restart_trial(TRIAL)
    assert one.trials() == ()


def test_trials_survive_a_restart(two: tuple[State, State]) -> None:
    one, again = two
    counts = one.count_trial(TRIAL, is_new=True, is_bad=True)
    one.count_trial(("a", "b"), is_new=False, is_bad=True)
    assert again.trials() == (TrialCounts("a", "b", old=1, old_bad=1), counts)


def test_a_trial_that_was_not_counted_yet_can_be_stopped() -> None:
    async def run() -> None:
        state = ThreadedState(SqliteState())
        assert await state.stop_trial(TRIAL, "by the operator", 1.0)
        assert (await state.count_trial(TRIAL, is_new=False, is_bad=False)).stopped == "by the operator"
        await state.restart_trial(TRIAL)
        assert await state.trials() == ()
        state.close()

    asyncio.run(run())
