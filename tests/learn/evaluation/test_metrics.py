from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.learn.evaluation.metrics import (
    auc_within,
    best_single,
    brier,
    choices,
    chosen_scores,
    contributions,
    mean_auc,
    metrics,
    single_scores,
)
from tests.learn.evaluation.one_method import assess, calibration_error

NAN = np.nan
# Four prompts, two models: the first is right on the first three, the second on the last two.
SCORES = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
EXPECTED = np.array([[0.9, 0.2], [0.4, 0.6], [0.7, 0.7], [0.3, 0.8]])


def test_auc_is_the_mean_over_models_of_rightly_ordered_pairs() -> None:
    # First model: .9, .4, .7 against .3: all 3 pairs right. Second: .7, .8 against .2, .6: all 4.
    assert mean_auc(SCORES, EXPECTED) == 1.0
    # One of the three pairs of the first model reversed.
    reversed_pair = EXPECTED.copy()
    reversed_pair[1, 0] = 0.1
    assert mean_auc(SCORES, reversed_pair) == pytest.approx((2 / 3 + 1) / 2)


def test_auc_leaves_out_models_that_are_always_right_or_wrong() -> None:
    scores = np.column_stack([SCORES, np.ones(4), np.zeros(4)])
    assert mean_auc(scores, np.column_stack([EXPECTED, EXPECTED])) == 1.0


def test_auc_of_models_that_are_always_right_is_not_defined() -> None:
    assert mean_auc(np.ones((3, 2)), np.ones((3, 2))) is None


def test_auc_counts_a_score_of_a_half_as_right() -> None:
    assert mean_auc(np.array([[0.5], [0.49]]), np.array([[0.9], [0.1]])) == 1.0


def test_auc_ignores_models_that_were_not_run() -> None:
    scores = SCORES.copy()
    scores[3, 0] = NAN
    assert mean_auc(scores, EXPECTED) == 1.0


def test_auc_of_random_forecasts_is_about_a_half() -> None:
    rng = np.random.default_rng(0)
    assert mean_auc(rng.integers(0, 2, (4000, 4)), rng.random((4000, 4))) == pytest.approx(0.5, abs=0.02)


def test_auc_in_the_fold_never_compares_forecasts_of_different_fits() -> None:
    # The order is right in each fold, but the forecasts of the second fold are far above those of the first.
    scores, expected = np.array([[1.0], [0.0], [1.0], [0.0]]), np.array([[0.2], [0.1], [0.9], [0.8]])
    assert mean_auc(scores, expected) == 0.75
    assert auc_within(scores, expected, np.array([0, 0, 1, 1])) == 1.0


def test_auc_in_the_fold_weighs_folds_by_their_prompts() -> None:
    scores = np.array([[1.0], [0.0], [1.0], [0.0], [0.0], [1.0]])
    expected = np.array([[0.2], [0.1], [0.1], [0.2], [0.3], [0.2]])
    # One right pair of one; of the second fold's four, none and a tie.
    assert auc_within(scores, expected, np.array([0, 0, 1, 1, 1, 1])) == pytest.approx((2 * 1 + 4 * 0.125) / 6)


def test_a_fold_in_which_every_answer_is_right_has_no_auc() -> None:
    assert auc_within(np.ones((2, 1)), np.ones((2, 1)), np.array([0, 1])) is None


def test_the_choice_is_the_best_forecast_and_ties_go_to_the_earlier_column() -> None:
    assert choices(SCORES, EXPECTED).tolist() == [0, 1, 0, 1]


def test_a_model_that_was_not_run_is_never_chosen() -> None:
    assert choices(np.array([[NAN, 0.0]]), np.array([[0.9, 0.1]])).tolist() == [1]


def test_the_best_single_model_has_the_greatest_mean() -> None:
    assert best_single(SCORES) == 0
    assert best_single(np.array([[1.0, NAN], [0.0, 1.0]])) == 1


def test_the_brier_score_is_the_mean_squared_difference() -> None:
    # .01 + .04 + .36 + .36 + .09 + .09 + .09 + .04 = 1.08 over 8.
    assert brier(SCORES, EXPECTED) == pytest.approx(1.08 / 8)


def test_the_brier_score_ignores_models_that_were_not_run() -> None:
    assert brier(np.array([[1.0, NAN]]), np.array([[0.5, 0.1]])) == 0.25


def test_the_calibration_error_is_the_gap_in_each_bin_by_its_share() -> None:
    # Two in the bin of .9 (mean .92 against .5), two in the bin of .1 (mean .1 against .5).
    scores = np.array([[1.0], [0.0], [0.0], [1.0]])
    expected = np.array([[0.94], [0.94], [0.1], [0.1]])
    assert calibration_error(scores, expected) == pytest.approx(0.5 * 0.44 + 0.5 * 0.4)


def test_a_calibrated_forecast_has_no_calibration_error() -> None:
    assert calibration_error(np.array([[1.0], [0.0]]), np.array([[0.5], [0.5]])) == 0.0


def test_forecasts_of_exactly_zero_and_one_have_a_bin() -> None:
    assert calibration_error(np.array([[1.0, 0.0]]), np.array([[1.0, 0.0]])) == 0.0


def test_the_figures_of_a_method_are_consistent() -> None:
    line = assess("ours", SCORES, EXPECTED, None)
    # Chosen scores 1, 0, 1, 1; the best single model has .75, the oracle 1.
    assert line.quality == 0.75
    assert line.selection_accuracy == 0.75
    assert line.regret == 0.25
    assert line.captured == pytest.approx(0.0)
    assert line.brier == pytest.approx(1.08 / 8)
    assert (line.cost_95, line.cost_99) == (None, None)


def test_captured_is_the_share_of_the_possible_gain_over_the_best_single_model() -> None:
    assert assess("oracle", SCORES, SCORES, None, forecasts=False).captured == 1.0


def test_captured_is_not_defined_without_a_possible_gain() -> None:
    assert assess("one", SCORES[:, :1], np.zeros((4, 1)), None, forecasts=False).captured is None


def test_a_tie_with_the_best_counts_as_a_right_selection() -> None:
    assert assess("x", np.array([[1.0, 1.0]]), np.array([[0.0, 1.0]]), None).selection_accuracy == 1.0


def test_a_method_that_forecasts_nothing_has_no_forecast_figures() -> None:
    line = assess("constant", SCORES, np.tile([1.0, 0.0], (4, 1)), None, forecasts=False)
    assert (line.auc, line.brier, line.ece) == (None, None, None)


def test_a_choice_among_k_tied_best_models_counts_one_kth() -> None:
    scores = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    line = assess("x", scores, np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), None)
    assert line.selection_accuracy == 1.0
    assert line.selection_strict == pytest.approx((0.5 + 1.0) / 2)


def test_where_the_best_single_model_was_not_run_the_next_best_is_used() -> None:
    scores = np.array([[1.0, 0.0], [1.0, 1.0], [NAN, 0.25]])
    assert single_scores(scores).tolist() == [1.0, 1.0, 0.25]


def test_always_choosing_the_best_single_model_captures_nothing_even_with_missing_outcomes() -> None:
    scores = SCORES.copy()
    scores[0, 0] = NAN
    assert assess("constant", scores, np.tile([1.0, 0.0], (4, 1)), None, forecasts=False).captured == 0.0


def test_a_weight_of_two_is_equal_to_a_repeated_prompt() -> None:
    rng = np.random.default_rng(2)
    scores, expected = (rng.random((30, 3)) < 0.5).astype(float), rng.random((30, 3))
    weights = np.ones((1, 30))
    weights[0, 7] = 2.0
    rows = np.append(np.arange(30), 7)
    weighted = metrics(contributions(scores, expected), weights)
    doubled = metrics(contributions(scores[rows], expected[rows]), np.ones((1, 31)))
    # The best single model is named once, on all prompts.
    for name in ("quality", "selection_accuracy", "selection_strict", "regret", "brier", "ece"):
        assert weighted[name][0] == pytest.approx(doubled[name][0]), name


def test_the_auc_of_a_resample_is_close_to_that_of_its_prompts() -> None:
    rng = np.random.default_rng(3)
    scores = (rng.random((2000, 2)) < 0.4).astype(float)
    expected = scores + rng.normal(0, 1, scores.shape)
    rows = rng.integers(0, 2000, 2000)
    weights = np.bincount(rows, minlength=2000)[None, :].astype(float)
    area = metrics(contributions(scores, expected), weights)["auc"][0]
    assert area == pytest.approx(mean_auc(scores[rows], expected[rows]), abs=1e-3)


tables = st.integers(0, 2**31).map(lambda seed: np.random.default_rng(seed).random((12, 3)).round(1))


@given(tables, tables)
@settings(deadline=None)
def test_no_method_is_better_than_the_oracle(scores: np.ndarray, expected: np.ndarray) -> None:
    line = assess("x", scores, expected, None)
    oracle = assess("oracle", scores, scores, None, forecasts=False)
    assert oracle.quality >= line.quality
    assert oracle.regret == 0.0 <= line.regret
    assert oracle.selection_accuracy == 1.0 >= line.selection_accuracy
    assert line.captured is None or line.captured <= 1.0


@given(tables, tables)
@settings(deadline=None)
def test_the_chosen_scores_are_those_of_the_chosen_columns(scores: np.ndarray, expected: np.ndarray) -> None:
    chosen = choices(scores, expected)
    assert chosen_scores(scores, chosen).tolist() == [scores[row, column] for row, column in enumerate(chosen)]
