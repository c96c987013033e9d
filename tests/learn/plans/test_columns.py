"""The column of a plan, fitted to its outcomes on recorded answers."""

from __future__ import annotations

import numpy as np
import pytest

from router.decide.plans.forecast.columns import Measured, PlanColumn
from router.learn.plans.columns import PRICES, carried_out, column_of, fit, forecast
from router.learn.plans.pooled_gate import Answered, answered
from tests.learn.plans.test_committee import PROMPTS, answer_set, folds_and_vectors

CASCADE = Measured("cascade", ("weak", "strong"), 0, None)


@pytest.fixture(scope="module")
def data() -> Answered:
    """Forecasts that are right on average: the prompts are easy or hard for all."""
    rng = np.random.default_rng(3)
    hard = rng.random((PROMPTS, 1))
    right = np.clip(np.array([[0.9, 0.9, 0.95, 0.99]]) - hard * np.array([[0.7, 0.6, 0.6, 0.3]]), 0.05, 0.99)
    return answered(answer_set(right, (1e-5,) * 4), right)


@pytest.fixture(scope="module")
def cascade(data: Answered) -> PlanColumn:
    return column_of(CASCADE, data, (0, 3), folds_and_vectors()[0], (1.0, 30.0), "made")


def test_a_column_forecasts_what_the_plan_achieves_on_average(data: Answered, cascade: PlanColumn) -> None:
    achieved = carried_out(CASCADE, data, (0, 3), folds_and_vectors()[0], (1.0, 30.0), PRICES)
    for number, price in enumerate(PRICES):
        rows = data.observed.prior[:, [0, 3]].tolist()
        expected = [cascade.expected([row], (0.0, price)) for row in rows]
        assert np.mean([each.quality[0] for each in expected]) == pytest.approx(
            achieved.quality[:, number].mean(), abs=0.005
        )
        assert np.mean([sum(each.reach) for each in expected]) == pytest.approx(
            achieved.calls[:, number].mean(), abs=0.02
        )


def test_a_dearer_call_is_made_less_often_and_a_free_one_improves_the_answer(cascade: PlanColumn) -> None:
    free, dear = (cascade.expected([(0.5, 0.85)], (0.0, price)) for price in (0.0, 0.3))
    assert free.reach[1] > dear.reach[1]
    assert free.quality[0] > dear.quality[0]


def test_the_column_says_how_far_it_was_off_on_prompts_to_which_it_was_not_fitted(cascade: PlanColumn) -> None:
    assert cascade.problem() is None
    assert (cascade.prompts, cascade.source) == (PROMPTS, "made")
    assert 0.0 < cascade.error < 0.06


def test_a_vote_ends_where_two_agree_and_a_threshold_needs_one_price(data: Answered) -> None:
    folds = folds_and_vectors()[0]
    vote = Measured("committee", ("a", "b", "c"), 2, 0.999)
    achieved = carried_out(vote, data, (0, 1, 2), folds, (1.0, 1.0, 1.0), (0.0,))
    answers = data.observed.answers
    assert set(achieved.calls[answers[:, 0] == answers[:, 1], 0]) <= {1.0, 2.0}
    assert column_of(vote, data, (0, 1, 2), folds, (1.0, 1.0, 1.0), "made").prices == (0.0,)


def test_the_arrays_give_what_a_decision_computes(data: Answered, cascade: PlanColumn) -> None:
    folds = folds_and_vectors()[0]
    achieved = carried_out(CASCADE, data, (0, 3), folds, (1.0, 30.0), PRICES)
    prior = data.observed.prior[:, [0, 3]]
    arrays = forecast(fit(prior, achieved), prior)
    found = cascade.expected([prior[7].tolist()], (0.0, PRICES[4]))
    assert found.quality[0] == pytest.approx(arrays.quality[7, 4])
    assert sum(found.reach) == pytest.approx(arrays.calls[7, 4])
