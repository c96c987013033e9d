"""The sequential test of canaries: when it rolls back, and that looking often does not make it err."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.analysis.canary_trial import ALPHA, e_value, evidence_of_any_but_one, is_worse


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((0, 0, 0, 0), False),
        ((1, 1, 0, 0), False),  # nothing to compare with
        ((1, 1, 1000, 0), False),
        ((3, 3, 60, 1), True),
        ((100, 2, 2000, 40), False),
        ((36, 8, 700, 14), True),
        ((1000, 60, 19_000, 380), True),
        ((100, 0, 2000, 2000), False),  # better
    ],
)
def test_a_canary_is_rolled_back_where_its_bad_answers_are_measurably_more_frequent(
    counts: tuple[int, int, int, int], expected: bool
) -> None:
    assert is_worse(*counts) == expected


@given(st.integers(0, 300), st.floats(0, 1), st.integers(0, 300), st.floats(0, 1))
def test_equal_or_better_counts_are_no_evidence(new: int, share: float, old: int, other: float) -> None:
    new_bad, old_bad = int(new * share), int(old * other)
    if new_bad * old <= old_bad * new:
        assert e_value(new, new_bad, old, old_bad) <= 1 + 1e-9


@given(st.integers(1, 300), st.integers(0, 300), st.integers(0, 300))
def test_a_bad_answer_of_the_canary_in_the_place_of_a_good_one_never_lowers_the_evidence(
    new: int, old: int, old_bad: int
) -> None:
    old_bad = min(old, old_bad)
    values = [e_value(new, bad, old, old_bad) for bad in range(new + 1)]
    worse = [value for bad, value in enumerate(values) if bad * old > old_bad * new]
    assert all(after >= before * (1 - 1e-9) for before, after in itertools.pairwise(worse))


@pytest.mark.parametrize("rate", [0.01, 0.2, 0.5])
def test_reading_after_every_answer_rolls_back_no_more_equal_canaries_than_stated(rate: float) -> None:
    generator = np.random.default_rng(0)
    wrong, runs = 0, 200
    for _ in range(runs):
        is_new, is_bad = generator.random(400) < 0.3, generator.random(400) < rate
        new, old = np.cumsum(is_new), np.cumsum(~is_new)
        new_bad, old_bad = np.cumsum(is_new & is_bad), np.cumsum(~is_new & is_bad)
        wrong += any(is_worse(*map(int, each)) for each in zip(new, new_bad, old, old_bad, strict=True))
    assert wrong <= 3 * ALPHA * runs


KEY = st.integers(0, 200).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n)))


@given(KEY, KEY)
def test_no_key_alone_causes_a_roll_back_whatever_it_sends(at_new: tuple[int, int], at_old: tuple[int, int]) -> None:
    assert evidence_of_any_but_one([(*at_new, *at_old)]) == 0
    others = [(20, 0, 400, 8), (10, 1, 200, 4)]
    assert evidence_of_any_but_one([*others, (*at_new, *at_old)]) < 1 / ALPHA


@given(KEY)
def test_no_key_alone_hides_that_a_canary_is_worse(at_old: tuple[int, int]) -> None:
    assert evidence_of_any_but_one([(5, 5, 100, 2), (5, 5, 100, 2), (0, 0, *at_old)]) >= 1 / ALPHA


def test_a_canary_that_fails_for_two_keys_is_rolled_back_also_where_one_of_them_has_most_of_the_traffic() -> None:
    assert evidence_of_any_but_one([(300, 300, 6000, 60), (4, 4, 80, 0)]) >= 1 / ALPHA
