"""The bottom line: money and quality against the best single model."""

from __future__ import annotations

import numpy as np
import pytest

from router.learn.evaluation.report import BottomLine
from router.learn.evaluation.verdicts import bottom_line

PROMPTS = 80
EASY = np.arange(PROMPTS) % 2 == 0
# The small model is right on easy prompts only, the big one on all; it costs ten times as much.
SCORES = np.column_stack([EASY.astype(float), np.ones(PROMPTS)])
COSTS = np.tile([0.0001, 0.001], (PROMPTS, 1))
FOLDS = np.arange(PROMPTS) // 2 % 4
DOMAINS = np.where(EASY, "easy", "hard").tolist()


def line(expected: np.ndarray = SCORES, costs: np.ndarray | None = COSTS, folds: np.ndarray = FOLDS) -> BottomLine:
    return bottom_line(SCORES, expected, costs, folds, ("small", "big"), DOMAINS)


def test_good_forecasts_keep_the_quality_and_pay_for_the_big_model_only_where_it_is_needed() -> None:
    made = line()
    assert (made.single, made.prompts, made.single_quality, made.routed_quality) == ("big", PROMPTS, 1.0, 1.0)
    assert made.single_usd_per_1000 == pytest.approx(1.0)
    assert made.routed_usd_per_1000 == pytest.approx(0.55)
    assert (made.low, made.high, made.worse_in) == (0.0, 0.0, ())


def test_forecasts_without_information_save_nothing() -> None:
    made = line(np.tile([0.5, 0.9], (PROMPTS, 1)))
    assert made.routed_usd_per_1000 == pytest.approx(1.0)


def test_the_weight_of_cost_is_chosen_on_other_folds() -> None:
    """In one fold the forecasts are wrong; the other folds cannot know, so that fold loses quality."""
    wrong = FOLDS == 0
    expected = np.where(wrong[:, None], SCORES[:, ::-1] * [[1.0, 0.6]], SCORES)
    made = line(expected)
    assert not made.in_hindsight
    assert made.routed_quality < 1.0
    assert made.high < made.single_quality


def test_with_one_fold_the_weight_of_cost_is_chosen_in_hindsight() -> None:
    assert line(folds=np.zeros(PROMPTS, dtype=np.intp)).in_hindsight


def test_without_costs_choices_are_by_quality_alone() -> None:
    made = line(costs=None)
    assert (made.single, made.routed_quality) == ("big", 1.0)
    assert (made.single_usd_per_1000, made.routed_usd_per_1000) == (None, None)


def test_a_domain_where_routing_is_measurably_worse_is_named() -> None:
    made = line(np.tile([0.9, 0.5], (PROMPTS, 1)), costs=None)
    (worse,) = made.worse_in
    assert (worse.name, worse.prompts, worse.routed, worse.single) == ("hard", PROMPTS // 2, 0.0, 1.0)
    assert made.high < 0
