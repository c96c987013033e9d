from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.learn.evaluation.bootstrap import MethodScores as Method
from router.learn.evaluation.bootstrap import compare
from router.learn.evaluation.cost_quality import aiq, cost_axis, curve, hull, pair_metrics, pair_sweep, sweep
from tests.learn.evaluation.one_method import assess

NAN = np.nan
ONE = np.ones((1, 4))
# Either model alone is right on half or all; the dear one is needed on two prompts of four only.
SCORES = np.array([[1.0, 1.0], [1.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
COST = np.tile([1.0, 10.0], (4, 1))


def axis(scores: np.ndarray = SCORES, cost: np.ndarray | None = COST):  # type: ignore[no-untyped-def]
    made = cost_axis(scores, cost)
    assert made is not None
    return made


def test_the_cost_to_keep_is_that_of_the_cheapest_sufficient_mixture() -> None:
    line = assess("x", SCORES, SCORES, COST)
    assert line.cost_95 == line.cost_99 == line.cost_100 == pytest.approx((1 + 1 + 10 + 10) / 40)


def test_a_lower_share_to_keep_never_costs_more() -> None:
    rng = np.random.default_rng(0)
    scores, cost = rng.random((50, 4)), rng.random((50, 4))
    line = assess("x", scores, scores, cost)
    assert line.cost_95 is not None
    assert line.cost_95 <= line.cost_99 <= line.cost_100  # type: ignore[operator]


def test_a_level_that_no_trade_off_reaches_has_no_cost() -> None:
    assert assess("x", SCORES, np.tile([1.0, 0.0], (4, 1)), COST, forecasts=False).cost_95 is None


def test_the_best_single_model_keeps_its_quality_at_its_full_cost() -> None:
    scores = np.array([[0.0, 1.0], [0.2, 0.9], [NAN, 1.0], [0.3, NAN]])
    line = assess("constant", scores, np.tile([0.0, 1.0], (4, 1)), COST, forecasts=False)
    assert line.cost_100 == pytest.approx(1.0)


def test_a_missing_cost_is_replaced_by_the_mean_cost() -> None:
    scores = np.array([[0.98, 1.0], [0.98, 1.0]])
    cost = np.array([[1.0, 10.0], [NAN, NAN]])
    assert assess("x", scores, scores, cost).cost_95 == pytest.approx(0.1)


@pytest.mark.parametrize(
    "cost",
    [np.column_stack([np.ones(4), np.full(4, NAN)]), np.zeros((4, 2)), None],
    ids=["one priced model", "all free", "no costs"],
)
def test_without_two_different_costs_there_is_no_trade_off(cost: np.ndarray | None) -> None:
    line = assess("x", SCORES, SCORES, cost)
    assert (line.cost_95, line.aiq, line.curve) == (None, None, ())


def test_there_is_no_cost_to_keep_where_the_best_model_is_free() -> None:
    assert assess("x", SCORES, SCORES, np.tile([1.0, 0.0], (4, 1))).cost_95 is None


def test_a_prompt_that_no_priced_model_ran_is_ignored() -> None:
    scores = np.array([[0.98, 1.0, 1.0], [NAN, NAN, 1.0]])
    cost = np.array([[1.0, 4.0, NAN], [NAN, NAN, NAN]])
    assert assess("x", scores, np.nan_to_num(scores), cost).cost_95 == pytest.approx(0.25)


def test_the_hull_joins_the_points_that_no_mixture_exceeds() -> None:
    # On an axis from 1 to 11: (0, .2), (.5, .3) lies below the line to (1, .8), and (.2, .6) above it.
    made = cost_axis(np.array([[0.2, 0.8]]), np.array([[1.0, 11.0]]))
    assert made is not None
    points = hull(made, np.array([1.0, 6.0, 3.0, 11.0]), np.array([0.2, 0.3, 0.6, 0.8]))
    assert points.tolist() == [[0.0, 0.2], [0.2, 0.6], [1.0, 0.8], [1.0, 0.8]]


def test_beyond_the_best_point_the_hull_is_level() -> None:
    made = axis()
    points = hull(made, np.array([1.0, 5.5, 10.0]), np.array([0.5, 0.9, 0.7]))
    assert points.tolist() == [[0.0, 0.5], [0.5, 0.9], [1.0, 0.9]]


def test_aiq_of_constant_choices_is_the_area_under_the_line_between_the_models() -> None:
    line = assess("constant", SCORES, np.tile([0.5, 1.0], (4, 1)), COST, forecasts=False)
    assert line.aiq == pytest.approx((0.5 + 1.0) / 2)


def test_the_oracle_pays_only_where_it_gains() -> None:
    # Quality .5 at 0, 1 at a half of the axis, 1 from there on.
    assert assess("oracle", SCORES, SCORES, COST).aiq == pytest.approx(0.5 * 0.75 + 0.5 * 1.0)


tables = st.integers(0, 2**31).map(lambda seed: np.random.default_rng(seed).random((15, 3)).round(2))


@given(tables, tables, tables)
@settings(deadline=None, max_examples=40)
def test_a_curve_rises_and_bends_down(scores: np.ndarray, expected: np.ndarray, cost: np.ndarray) -> None:
    made = cost_axis(scores, cost + 0.01)
    assert made is not None
    points = np.array(curve(made, sweep(made, scores, expected)))
    steps = np.diff(points, axis=0)
    assert (steps >= -1e-12).all()
    slopes = steps[steps[:, 0] > 1e-9][:, 1] / steps[steps[:, 0] > 1e-9][:, 0]
    assert (np.diff(slopes) <= 1e-6).all()


@given(tables, tables)
@settings(deadline=None, max_examples=40)
def test_aiq_is_at_most_the_quality_of_the_oracle(scores: np.ndarray, expected: np.ndarray) -> None:
    made = cost_axis(scores, np.tile([1.0, 2.0, 4.0], (15, 1)))
    assert made is not None
    area = aiq(made, sweep(made, scores, expected), np.ones((1, 15)))[0]
    assert area <= scores.max(axis=1).mean() + 1e-9


STRONG_AND_WEAK = np.array([[1.0, 1.0], [1.0, 0.0], [1.0, 0.0], [1.0, 1.0]])


def test_apgr_of_a_perfect_order_is_reached_with_the_first_half_of_the_calls() -> None:
    # The gap is won with the first half of the calls: PGR rises from 0 to 1 over half the axis, then stays.
    win = np.column_stack([np.array([0.1, 0.9, 0.8, 0.2]), np.zeros(4)])
    two = pair_sweep(STRONG_AND_WEAK, win, 0, 1)
    assert two is not None
    values_of = {name: float(values[0]) for name, values in pair_metrics(two, ONE).items()}
    assert values_of == pytest.approx({"apgr": 0.75, "cpt_50": 0.25, "cpt_80": 0.4})


def test_apgr_of_a_method_without_information_is_a_half() -> None:
    two = pair_sweep(STRONG_AND_WEAK, np.full((4, 2), 0.5), 0, 1)
    assert two is not None
    values_of = {name: float(values[0]) for name, values in pair_metrics(two, ONE).items()}
    assert values_of == pytest.approx({"apgr": 0.5, "cpt_50": 0.5, "cpt_80": 0.8})


def test_without_a_better_strong_model_there_is_no_gap_to_recover() -> None:
    two = pair_sweep(STRONG_AND_WEAK, np.full((4, 2), 0.5), 1, 0)
    assert two is not None
    assert all(np.isnan(values).all() for values in pair_metrics(two, ONE).values())


def test_two_models_never_run_on_the_same_prompt_are_not_a_pair() -> None:
    assert pair_sweep(np.array([[1.0, NAN], [NAN, 1.0]]), np.zeros((2, 2)), 0, 1) is None


def test_a_pair_is_reported_on_request() -> None:
    win = np.column_stack([np.array([0.1, 0.9, 0.8, 0.2]), np.zeros(4)])
    (line,) = compare([Method("x", win)], STRONG_AND_WEAK, pair=(0, 1), draws=0)
    assert line.apgr == pytest.approx(0.75)
    assert assess("x", STRONG_AND_WEAK, win, None).apgr is None
