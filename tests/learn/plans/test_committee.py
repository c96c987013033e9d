"""Committees on made answers: asking on pays where members are complementary, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from router.learn.data.answers import NO_ANSWER, AnswerSet
from router.learn.data.prompts import Prompt
from router.learn.plans.answer_gate import fit_gate
from router.learn.plans.committee import Committees
from router.learn.plans.search import Choice, Means, choices, confirmed, find_plans, routing_forecast
from router.types import Doubles, Floats, Indices

PROMPTS = 1200
OPTIONS = 8
PRICES = np.array([1.0, 100.0, 10_000.0])


def answer_set(right: Doubles, cost_usd: tuple[float, ...], seed: int = 1) -> AnswerSet:
    """Answers of models that are right with probability `right` `(prompts, models)`; wrong ones are spread evenly."""
    rng = np.random.default_rng(seed)
    scores = (rng.random(right.shape) < right).astype(np.float64)
    wrong = rng.integers(1, OPTIONS, right.shape)
    return AnswerSet(
        name="made",
        prompts=tuple(Prompt(str(number), (f"prompt {number}",)) for number in range(len(right))),
        models=tuple("abcd"[: right.shape[1]]),
        scores=scores,
        answers=np.where(scores > 0, 0, wrong).astype(np.intp),
        cost_usd=np.tile(np.array(cost_usd), (len(right), 1)),
        signals=np.ones((*right.shape, 1)),
        signal_names=("extractable",),
        pools={"A": tuple(range(right.shape[1]))},
        kinds=("option",) * len(right),
    )


def folds_and_vectors() -> tuple[Indices, Floats]:
    rng = np.random.default_rng(2)
    return rng.integers(0, 4, PROMPTS), rng.normal(size=(PROMPTS, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def equal_cheap_models() -> tuple[AnswerSet, Committees]:
    data = answer_set(np.tile([0.6, 0.6, 0.6, 0.75], (PROMPTS, 1)), (1e-5, 1e-5, 1e-5, 1e-3))
    folds, vectors = folds_and_vectors()
    return data, Committees(data, fit_gate(data, vectors, folds), folds, PRICES)


def test_members_that_agree_stop_the_committee(equal_cheap_models: tuple[AnswerSet, Committees]) -> None:
    data, committees = equal_cheap_models
    outcomes = committees.run((0, 1, 3))
    agree = data.answers[:, 0] == data.answers[:, 1]
    assert outcomes.calls[agree, 1].mean() < outcomes.calls[~agree, 1].mean()


def test_a_committee_of_equal_models_is_better_than_any_of_them(
    equal_cheap_models: tuple[AnswerSet, Committees],
) -> None:
    data, committees = equal_cheap_models
    assert committees.run((0, 1, 2)).quality[:, 0].mean() > data.scores[:, :3].mean() + 0.05


def test_a_dearer_dollar_never_raises_the_calls(equal_cheap_models: tuple[AnswerSet, Committees]) -> None:
    _, committees = equal_cheap_models
    calls = committees.run((0, 3)).calls.mean(axis=0)
    assert np.all(np.diff(calls) <= 0)


def test_where_money_is_worth_everything_only_the_first_member_is_asked(
    equal_cheap_models: tuple[AnswerSet, Committees],
) -> None:
    data, committees = equal_cheap_models
    outcomes = committees.run((0, 3))
    assert np.all(outcomes.calls[:, -1] == 1)
    assert np.array_equal(outcomes.quality[:, -1], data.scores[:, 0])
    assert np.array_equal(outcomes.cost_usd[:, -1], data.cost_usd[:, 0])


def test_an_answer_that_cannot_be_read_is_not_delivered_where_there_is_another() -> None:
    data = answer_set(np.tile([0.9, 0.3], (PROMPTS, 1)), (1e-6, 1e-6))
    unreadable = np.arange(PROMPTS) % 3 == 0
    data.answers[unreadable, 0] = NO_ANSWER
    data.scores[unreadable, 0] = 0
    folds, vectors = folds_and_vectors()
    outcomes = Committees(data, fit_gate(data, vectors, folds), folds, PRICES).run((0, 1))
    asked_both = unreadable & (outcomes.calls[:, 0] == 2)
    assert asked_both.any()
    assert np.array_equal(outcomes.quality[asked_both, 0], data.scores[asked_both, 1])


def test_the_gate_forecasts_as_often_as_answers_are_right(equal_cheap_models: tuple[AnswerSet, Committees]) -> None:
    data, _ = equal_cheap_models
    folds, vectors = folds_and_vectors()
    gate = fit_gate(data, vectors, folds)
    assert gate.posterior.mean(axis=0) == pytest.approx(data.scores.mean(axis=0), abs=0.02)


def test_one_strong_model_among_useless_ones_is_chosen_alone() -> None:
    data = answer_set(np.tile([0.15, 0.15, 0.9], (PROMPTS, 1)), (1e-4, 1e-4, 1.2e-4))
    folds, vectors = folds_and_vectors()
    committees = Committees(data, fit_gate(data, vectors, folds), folds, PRICES)
    rows = np.arange(PROMPTS)
    forecast = routing_forecast(vectors, folds)
    single = Means.on(rows, choices(data, forecast, folds, (0, 1, 2), PRICES)).best_within(1.0)
    plans = [committees.run(each) for each in find_plans(committees, data, (0, 1, 2), rows)]
    composed = Means.on(rows, choices(data, forecast, folds, (0, 1, 2), PRICES, plans)).best_within(1.0)
    assert single is not None
    assert composed is not None
    assert confirmed(single, composed, rows, 2.0) is single


def test_a_choice_beyond_the_budget_is_not_taken() -> None:
    def choice(quality: float, cost: float) -> Choice:
        return Choice(np.full(4, quality), np.full(4, cost), np.zeros(4))

    rows = np.arange(4)
    cheap = choice(0.5, 1.0)
    assert Means.on(rows, [choice(0.9, 3.0), cheap]).best_within(2.0) is cheap
    assert Means.on(rows, [choice(0.9, 3.0)]).best_within(2.0) is None
