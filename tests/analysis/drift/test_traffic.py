"""Days whose prompts differ from those before."""

from __future__ import annotations

import numpy as np

from router.analysis.drift.traffic import DayPrompts, compared_days
from router.analysis.drift.two_sample import difference, distances_of
from router.store.records.totals import DAY_S

_FIRST_S = 1_790_000_000 // DAY_S * DAY_S


def _days(count: int, moved_from: int | None = None, *, mixed: bool = False) -> list[DayPrompts]:
    """Days of prompts around three topics, from one day on elsewhere; `mixed`: each day has its own shares of them."""
    rng, days = np.random.default_rng(1), []
    middles = rng.standard_normal((3, 8))
    for number in range(count):
        shares = rng.dirichlet(np.full(3, 2.0 if mixed else 500.0))
        topics = middles[rng.choice(3, 100, p=shares)] + 0.5 * rng.standard_normal((100, 8))
        novelty = rng.random(100)
        if moved_from is not None and number >= moved_from:
            topics[:40] = 3.0 + 0.5 * rng.standard_normal((40, 8))
            novelty[:40] = 0.95
        days.append(DayPrompts(_FIRST_S + number * DAY_S, topics, novelty))
    return days


def test_equal_samples_differ_by_chance_only() -> None:
    rng, is_first = np.random.default_rng(0), np.arange(80) < 40
    values = [difference(distances_of(rng.random((80, 4))), is_first).p for _ in range(30)]
    assert np.mean(np.array(values) < 0.05) <= 0.15
    assert difference(distances_of(rng.random((80, 4)) + 0.4 * is_first[:, None]), is_first).p < 0.005


def test_days_that_are_alike_raise_no_alarm_even_where_each_has_its_own_mixture() -> None:
    for mixed in (False, True):
        tests = compared_days(_days(14, mixed=mixed))
        assert len(tests) == 2 * 11
        assert not [test for test in tests if test.is_alarm]


def test_other_prompts_are_an_alarm_since_the_day_they_began() -> None:
    tests = compared_days(_days(12, moved_from=9))
    alarms = [test for test in tests if test.is_alarm]
    assert {test.aspect for test in alarms} == {"topics", "novelty"}
    assert {test.since for test in alarms} == {min(test.day for test in alarms)}
    assert len(alarms) >= 5
    assert alarms[0].now > alarms[0].before


def test_a_few_days_are_too_few_to_compare() -> None:
    assert compared_days(_days(3)) == []
