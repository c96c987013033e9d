"""The comparison of the arms of an experiment."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.analysis.experiments.comparison import Comparison, Experiment, Unit


def streamed(
    values: np.ndarray,
    arms: np.ndarray,
    share: float = 0.5,
    alpha: float = 0.05,
    min_effect: float = 0.0,
    *,
    bounded: bool = False,
) -> Comparison:
    comparison = Comparison(share, alpha, min_effect, bounded=bounded)
    for number, (value, arm) in enumerate(zip(values.tolist(), arms.tolist(), strict=True)):
        comparison.add(value, f"key-{number}", is_second=arm)
    return comparison


def judged(right: tuple[float, float], count: int, seed: int, share: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes of 0 and 1, and their arms."""
    rng = np.random.default_rng(seed)
    arms = rng.random(count) < share
    return (rng.random(count) < np.where(arms, right[1], right[0])).astype(float), arms


@pytest.mark.parametrize("bounded", [True, False])
@pytest.mark.parametrize(("share", "right"), [(0.5, 0.7), (0.1, 0.95)])
def test_equal_arms_are_told_apart_in_at_most_alpha_of_the_runs_however_often_one_looks(
    share: float, right: float, bounded: bool
) -> None:
    rng = np.random.default_rng(1)
    ended = 0
    for _ in range(100):
        values = (rng.random(250) < right).astype(float)
        ended += streamed(values, rng.random(250) < share, share, bounded=bounded).verdict != "open"
    # 5 are allowed on average; 11 or more would come by chance once in 100 times.
    assert ended < 11


@pytest.mark.parametrize("bounded", [True, False])
def test_a_better_arm_is_found_and_its_difference_lies_in_the_interval(bounded: bool) -> None:
    found = streamed(*judged((0.6, 0.8), 800, seed=2), bounded=bounded).difference()
    assert found.verdict == "higher"
    assert found.concluded_after is not None
    assert found.concluded_after < 800
    assert found.low is not None
    assert found.high is not None
    assert 0 < found.low < 0.2 < found.high < 0.4


def test_arms_whose_difference_does_not_matter_are_alike() -> None:
    rng = np.random.default_rng(3)
    values, arms = rng.normal(0.7, 0.05, 300), rng.random(300) < 0.5
    assert streamed(values, arms, min_effect=0.05).verdict == "alike"
    assert streamed(values, arms).verdict == "open"


def test_arms_that_are_nearly_always_right_are_not_alike_where_one_fails_more_often() -> None:
    runs = [streamed(*judged((0.97, 0.87), 250, seed), min_effect=0.05, bounded=True) for seed in range(40)]
    assert "alike" not in {run.verdict for run in runs}
    assert "higher" not in {run.verdict for run in runs}
    assert sum(run.verdict == "lower" for run in runs) > 10


@pytest.mark.parametrize("right", [(0.97, 0.87), (0.9, 0.8)])
def test_the_interval_has_the_true_difference_at_every_time_at_once(right: tuple[float, float]) -> None:
    missed = 0
    for seed in range(60):
        comparison, has_missed = Comparison(0.5, 0.05, bounded=True), False
        for number, (value, arm) in enumerate(zip(*judged(right, 60, seed), strict=True), 1):
            comparison.add(float(value), "", is_second=bool(arm))
            if number % 5 == 0:
                found = comparison.difference()
                if found.low is not None and found.high is not None:
                    has_missed = has_missed or not found.low <= right[1] - right[0] <= found.high
        missed += has_missed
    # 3 are allowed on average; 8 or more would come by chance once in 100 times.
    assert missed < 8


def test_arms_that_are_equally_often_right_end_as_alike() -> None:
    found = streamed(*judged((0.9, 0.9), 1500, seed=1), min_effect=0.1, bounded=True)
    assert found.verdict == "alike"
    assert streamed(*judged((0.9, 0.9), 1500, seed=1), bounded=True).verdict == "open"


def test_an_effect_that_changes_is_known_by_its_mean_so_far() -> None:
    missed = 0
    effects = np.where(np.arange(400) % 200 < 100, 0.3, -0.3)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        arms, comparison, has_missed = rng.random(400) < 0.3, Comparison(0.3, 0.05, bounded=True), False
        for number in range(400):
            value = float(rng.random() < 0.6 + effects[number] * (1.0 if arms[number] else 0.0))
            comparison.add(value, "", is_second=bool(arms[number]))
            if number % 40 == 39:
                found = comparison.difference()
                assert found.low is not None
                assert found.high is not None
                has_missed = has_missed or not found.low <= effects[: number + 1].mean() <= found.high
        missed += has_missed
    # 2 are allowed on average.
    assert missed < 7


def test_arms_with_one_mean_are_not_told_apart_by_their_spread() -> None:
    ended = 0
    for seed in range(40):
        values, arms = judged((0.0, 0.9), 200, seed)
        ended += streamed(np.where(arms, values, 0.9), arms, bounded=True).verdict != "open"
    # 2 are allowed on average.
    assert ended < 7


def test_units_that_are_all_alike_prove_nothing_beyond_their_number() -> None:
    experiment = Experiment([1, 1], 0.05, bounded=True)
    for number in range(4):
        experiment.add(Unit(number % 2, 1.0))
    (found,) = experiment.differences()
    assert (found.difference, found.verdict) == (0.0, "open")
    assert found.low is not None
    assert found.high is not None
    assert found.low < -0.9
    assert found.high > 0.9
    for number in range(596):
        experiment.add(Unit(number % 2, 1.0))
    for arm in experiment.arms():
        assert (arm.units, arm.mean) == (300, 1.0)
        assert arm.low is not None
        assert 0.95 < arm.low < 0.99
        assert arm.high == pytest.approx(1.0)


def test_of_few_costs_and_of_equal_ones_no_interval_is_known() -> None:
    few, equal = Experiment([1, 1], 0.05), Experiment([1, 1], 0.05, min_effect=0.01)
    rng = np.random.default_rng(8)
    for number in range(400):
        if number < 40:
            few.add(Unit(number % 2, float(rng.lognormal())))
        equal.add(Unit(number % 2, 0.1))
    for experiment in (few, equal):
        (found,) = experiment.differences()
        assert found.difference is not None
        assert (found.low, found.high, found.verdict) == (None, None, "open")
    assert {(arm.low, arm.high) for arm in equal.arms()} == {(None, None)}


def test_a_cost_of_any_scale_is_compared() -> None:
    rng = np.random.default_rng(4)
    arms = rng.random(600) < 0.3
    values = rng.lognormal(-9, 1, 600) * np.where(arms, 0.5, 1.0)
    assert streamed(values, arms, 0.3).verdict == "lower"
    assert streamed(values * 1e6, arms, 0.3).verdict == "lower"


def test_one_key_alone_decides_nothing_where_there_are_several() -> None:
    rng = np.random.default_rng(5)

    def verdict(several_keys: bool) -> str:
        experiment = Experiment([1, 1], 0.05, several_keys=several_keys, bounded=True)
        for number in range(400):
            arm = int(rng.random() < 0.5)
            experiment.add(Unit(arm, float(rng.random() < 0.7), f"honest-{number % 8}"))
            experiment.add(Unit(int(not arm), float(not arm), "hostile"))
        return experiment.verdicts[0]

    assert verdict(several_keys=False) == "higher"
    assert verdict(several_keys=True) == "open"


def test_a_hostile_key_cannot_hide_a_difference_that_all_others_see() -> None:
    rng = np.random.default_rng(6)
    experiment = Experiment([1, 1], 0.05, several_keys=True, bounded=True)
    for number in range(1200):
        arm = int(rng.random() < 0.5)
        experiment.add(Unit(arm, float(rng.random() < (0.9 if arm else 0.6)), f"honest-{number % 30}"))
        if number % 20 == 0:
            arm = int(rng.random() < 0.5)
            experiment.add(Unit(arm, float(not arm), "hostile"))
    assert experiment.verdicts == ["higher"]


def test_of_one_key_no_more_units_count_than_of_all_others() -> None:
    experiment = Experiment([1, 1], 0.05)
    for number in range(30):
        experiment.add(Unit(number % 2, 1.0, "other"))
    assert sum(experiment.add(Unit(0, 0.0, "eager")) for _ in range(100)) == 30
    assert experiment.add(Unit(0, 0.0, "third"))


def test_units_without_a_key_all_count() -> None:
    experiment = Experiment([1, 1], 0.05)
    assert all(experiment.add(Unit(number % 2, 1.0)) for number in range(100))


def test_each_of_several_arms_is_compared_with_the_first_one() -> None:
    rng = np.random.default_rng(7)
    experiment = Experiment([1, 1, 1], 0.05, bounded=True)
    for number in range(900):
        arm = int(rng.integers(3))
        experiment.add(Unit(arm, float(rng.random() < (0.5, 0.5, 0.9)[arm]), f"key-{number}"))
    assert experiment.verdicts == ["open", "higher"]
    first, _, best = experiment.arms()
    assert first.mean is not None
    assert best.mean is not None
    assert best.low is not None
    assert first.mean < best.low


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-1e6, 1e6), st.booleans()), min_size=2, max_size=40),
    st.floats(0.05, 0.95),
)
def test_the_interval_contains_the_estimate_for_any_values(units: list[tuple[float, bool]], share: float) -> None:
    comparison = Comparison(share, 0.05)
    for value, is_second in units:
        comparison.add(value, "", is_second=is_second)
    found = comparison.difference()
    if found.difference is not None and found.low is not None and found.high is not None:
        assert found.low <= found.difference <= found.high


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=2, max_size=40),
    st.floats(0.001, 0.999),
)
def test_the_interval_of_values_in_0_to_1_contains_the_estimate_and_lies_in_what_is_possible(
    units: list[tuple[float, bool]], share: float
) -> None:
    comparison = Comparison(share, 0.05, bounded=True)
    for value, is_second in units:
        comparison.add(value, "", is_second=is_second)
    found = comparison.difference()
    if found.difference is not None:
        assert found.low is not None
        assert found.high is not None
        assert -1 <= found.low <= found.difference <= found.high <= 1
