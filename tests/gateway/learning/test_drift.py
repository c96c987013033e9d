"""Alarms of a running gateway."""

from __future__ import annotations

import asyncio
import logging

import numpy as np
import pytest

from router.gateway.learning.drift import DriftWatch
from router.learn.online.outcomes import Lesson
from router.perceive.memory.card import Vote
from router.perceive.memory.sketch import TABLES
from router.store.state.protocol import Blob
from router.store.state.sqlite import SqliteState

_NOW_S = 1_790_000_000.0
_CELLS = np.zeros(TABLES, dtype=np.intp)


def _lesson(tenant: str | None, value: float, expected: float | None = 0.8) -> Lesson:
    return Lesson("card", Vote(tenant, value - 0.8, 0.5, _CELLS), expected=expected)


def _watch(state: SqliteState, basis: str = "b", *, several_keys: bool = True) -> DriftWatch:
    return DriftWatch(state, lambda card: basis if card == "card" else None, lambda: several_keys, clock=lambda: _NOW_S)


def test_two_workers_find_one_drop_together_and_log_it_once(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        state = SqliteState()
        one, two = _watch(state), _watch(state)
        for number in range(40):
            for worker, key in ((one, "ann"), (two, "bob")):
                worker.add(_lesson(key, 0.0 if number > 20 else 0.8))
            await asyncio.gather(one.refresh(), two.refresh())
        await one.refresh()
        await two.refresh()
        assert one.present()["card"].judged == 80
        assert one.alarms == two.alarms
        ((card, alarm),) = one.alarms
        assert (card, alarm.direction) == ("card", "worse")
        late = _watch(state)
        await late.refresh()
        assert late.alarms == one.alarms
        # A card that was edited since is another one.
        other = _watch(state, "edited")
        await other.refresh()
        assert other.alarms == []

    with caplog.at_level(logging.WARNING):
        asyncio.run(run())
    assert len([record for record in caplog.records if "worse than before" in record.message]) == 1


def test_the_only_key_of_a_gateway_alarms_its_operator_and_one_of_several_does_not() -> None:
    async def run() -> None:
        for several_keys, alarms, key in ((True, 0, "ann"), (False, 1, None)):
            watch = _watch(SqliteState(), several_keys=several_keys)
            for number in range(200):
                watch.add(_lesson("ann", 0.0 if number > 100 else 0.8))
            await watch.refresh()
            assert len(watch.alarms) == alarms
            assert {alarm.key for alarm in watch.present()["card"].alarms} == {key}

    asyncio.run(run())


def test_on_a_gateway_without_keys_an_alarm_ends_when_the_answers_are_as_before() -> None:
    async def run() -> None:
        watch = _watch(SqliteState(), several_keys=False)
        for number in range(450):
            watch.add(_lesson("", 0.2 if 150 <= number < 250 else 0.8))
            await watch.refresh()
            if number == 249:
                ((_, alarm),) = watch.alarms
                assert (alarm.direction, alarm.key) == ("worse", None)
        assert watch.alarms == []
        assert [alarm.ended_s is not None for alarm in watch.present()["card"].alarms] == [True]

    asyncio.run(run())


def test_implicit_signals_and_damaged_states_raise_nothing() -> None:
    async def run() -> None:
        state = SqliteState()
        await state.swap_blob(Blob("drift/card", 0, b"nonsense"), _NOW_S)
        watch = _watch(state)
        await watch.refresh()
        for _ in range(50):
            watch.add(_lesson("ann", 0.0, expected=None))
        await watch.refresh()
        assert watch.present() == {}
        watch.add(_lesson("ann", 1.0))
        await watch.refresh()
        assert watch.present()["card"].judged == 1

    asyncio.run(run())
