"""The comparison of the arms of an experiment."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.analysis.experiments.comparison import Comparison, Experiment, Unit


def streamed(
    values: np.ndarray, arms: np.ndarray, share: float = 0.5, alpha: float = 0.05, **rule: float
) -> Comparison:
    comparison = Comparison(share, alpha, **rule)  # type: ignore[arg-type]
    for number, (value, arm) in enumerate(zip(values.tolist(), arms.tolist(), strict=True)):
        comparison.add(value, f"key-{number}", is_second=arm)
    return comparison


@pytest.mark.parametrize(("share", "right"), [(0.5, 0.7), (0.1, 0.95)])
def test_equal_arms_are_told_apart_in_at_most_alpha_of_the_runs_however_often_one_looks(
    share: float, right: float
) -> None:
    rng = np.random.default_rng(1)
    ended = 0
    for _ in range(100):
        values = (rng.random(250) < right).astype(float)
        ended += streamed(values, rng.random(250) < share, share).verdict != "open"
    # 5 are allowed on average; 11 or more would come by chance once in 100 times.
    assert ended < 11


def test_a_better_arm_is_found_and_its_difference_lies_in_the_interval() -> None:
    rng = np.random.default_rng(2)
    arms = rng.random(800) < 0.5
    values = (rng.random(800) < np.where(arms, 0.8, 0.6)).astype(float)
    found = streamed(values, arms).difference()
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


def test_a_cost_of_any_scale_is_compared() -> None:
    rng = np.random.default_rng(4)
    arms = rng.random(600) < 0.3
    values = rng.lognormal(-9, 1, 600) * np.where(arms, 0.5, 1.0)
    assert streamed(values, arms, 0.3).verdict == "lower"
    assert streamed(values * 1e6, arms, 0.3).verdict == "lower"


def test_one_key_alone_decides_nothing_where_there_are_several() -> None:
    rng = np.random.default_rng(5)

    def judged(several_keys: bool) -> str:
        experiment = Experiment([1, 1], 0.05, several_keys=several_keys)
        for number in range(400):
            arm = int(rng.random() < 0.5)
            experiment.add(Unit(arm, float(rng.random() < 0.7), f"honest-{number % 8}"))
            experiment.add(Unit(int(not arm), float(not arm), "hostile"))
        return experiment.verdicts[0]

    assert judged(several_keys=False) == "higher"
    assert judged(several_keys=True) == "open"


def test_a_hostile_key_cannot_hide_a_difference_that_all_others_see() -> None:
    rng = np.random.default_rng(6)
    experiment = Experiment([1, 1], 0.05, several_keys=True)
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
    experiment = Experiment([1, 1, 1], 0.05)
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
