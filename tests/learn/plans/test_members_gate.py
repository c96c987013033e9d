"""The gate of one committee, fitted to the answers of its members."""

from __future__ import annotations

import numpy as np
import pytest

from router.compose.learned.members import gains_of_members, own_rights_of_members
from router.decide.plans.forecast.columns import Measured
from router.learn.plans.fit import Training, fit_gate_file
from router.learn.plans.members_gate import fit_members
from router.learn.plans.pooled_gate import Answered, answered, fit_weights
from tests.learn.plans.test_committee import PROMPTS, answer_set, folds_and_vectors

RIGHT = (0.6, 0.3, 0.6, 0.9)
"""The last member is worth the call of the second, which is not worth one itself."""


@pytest.fixture(scope="module")
def data() -> Answered:
    made = answer_set(np.tile(RIGHT, (PROMPTS, 1)), (1e-5,) * 4)
    # Forecasts that know nothing of the models.
    return answered(made, np.full((PROMPTS, 4), 0.6))


def of(data: Answered, columns: tuple[int, ...], prompts: int = PROMPTS) -> Answered:
    return data.members(np.arange(prompts), np.tile(columns, (prompts, 1)))


def test_each_member_is_as_right_as_its_answers_were(data: Answered) -> None:
    general = fit_weights([(data, np.arange(PROMPTS))], [np.arange(4)]).general
    some = of(data, (0, 1, 3))
    rule = fit_members(some, ("a", "b", "d"), general)
    assert rule.problem() is None
    own = own_rights_of_members(rule, some.observed).mean(axis=0)
    assert own == pytest.approx(some.scores.mean(axis=0), abs=0.02)


def test_the_gain_of_a_member_counts_what_the_one_after_it_adds(data: Answered) -> None:
    general = fit_weights([(data, np.arange(PROMPTS))], [np.arange(4)]).general
    some = of(data, (0, 1, 3))
    rule = fit_members(some, ("a", "b", "d"), general)
    first = some.observed.first(1)
    right = own_rights_of_members(rule, first)
    gains = gains_of_members(rule, first, right, some.observed.prior[:, 1:]).mean(axis=0)
    assert gains[0] < 0.05
    assert gains[1] > 0.2


def test_few_answers_change_little(data: Answered) -> None:
    general = fit_weights([(data, np.arange(PROMPTS))], [np.arange(4)]).general
    few, many = (fit_members(of(data, (0, 3), count), ("a", "d"), general) for count in (5, PROMPTS))
    distances = [np.abs(np.array(rule.own[1]) - np.array(general.own)).max() for rule in (few, many)]
    assert distances[0] < distances[1]


def test_the_gate_file_has_the_committees_of_which_a_set_has_all_answers() -> None:
    made = answer_set(np.tile(RIGHT, (PROMPTS, 1)), (1e-5,) * 4)
    folds, vectors = folds_and_vectors()
    training = [Training(made, vectors, folds)]
    committees = [("card-a", "d"), ("d", "card-a", "b"), ("card-a", "unknown")]
    plans = [Measured("cascade", members, 0, None) for members in committees]
    file = fit_gate_file(training, "x", plans, {"a": "card-a"})
    assert [rule.members for rule in file.committees] == committees[:2]
    assert [column.measured for column in file.columns] == plans[:2]
    assert file.gate().of(("card-a", "d")) is not file.gate()
    assert fit_gate_file(training, "x").sha256 != file.sha256
