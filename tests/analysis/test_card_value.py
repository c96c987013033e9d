from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from router.analysis.card_value import ValueReport, card_values
from router.errors import CallerError

NAMES = ("abacus", "bard", "clerk", "double")
# Sums, sums, verses, verses: `clerk` is right where `abacus` is, `double` answers as `bard` does.
SCORES = np.array([[1, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 1], [0, 1, 0, 1.0]])
COST_USD = np.array([[4.0, 3.0, 1.0, 2.0]] * 4) / 1000

outcomes = arrays(
    np.float64, st.tuples(st.integers(2, 30), st.integers(2, 6)), elements=st.sampled_from([0.0, 0.5, 1.0])
)


def report_of(scores: np.ndarray, **options: object) -> ValueReport:
    return card_values([f"card{column}" for column in range(scores.shape[1])], scores, **options)  # type: ignore[arg-type]


def test_a_card_is_worth_what_the_oracle_loses_without_it() -> None:
    values = {card.card: card.value for card in card_values(NAMES, SCORES).cards}
    assert values == {"abacus": 0.25, "bard": 0.0, "clerk": 0.0, "double": 0.0}


def test_cards_with_the_same_outcomes_are_named_as_twins() -> None:
    twins = {card.card: card.twin for card in card_values(NAMES, SCORES).cards}
    assert twins == {"abacus": None, "bard": "double", "clerk": None, "double": "bard"}


def test_the_most_complementary_pair_comes_first() -> None:
    pair = card_values(NAMES, SCORES).pairs[0]
    assert {pair.first, pair.second} == {"abacus", "bard"}
    assert (pair.gain, pair.quality, pair.first_better, pair.second_better) == (0.5, 1.0, 0.5, 0.5)


def test_sets_grow_until_a_further_card_adds_nothing() -> None:
    chosen = card_values(NAMES, SCORES, COST_USD).chosen
    assert [set(each.cards) for each in chosen] == [{"double"}, {"abacus", "double"}]
    assert chosen[-1].quality == 1.0
    assert chosen[-1].cost_usd == pytest.approx(0.003)


def test_a_budget_excludes_cards_that_are_too_dear_on_average() -> None:
    chosen = card_values(NAMES, SCORES, COST_USD, budget_usd=0.0021).chosen
    assert all(each.cost_usd is not None and each.cost_usd <= 0.0021 for each in chosen)
    assert chosen[-1].quality == 0.75


@pytest.mark.parametrize(
    ("cost_usd", "budget_usd", "problem"),
    [(None, 1.0, "--prices"), (COST_USD, 0.0001, "no card costs at most 0.0001")],
)
def test_a_budget_that_cannot_be_met_is_explained(cost_usd: np.ndarray | None, budget_usd: float, problem: str) -> None:
    with pytest.raises(CallerError, match=problem):
        card_values(NAMES, SCORES, cost_usd, budget_usd=budget_usd)


def test_one_card_has_nothing_to_be_compared_with() -> None:
    with pytest.raises(CallerError, match="at least two"):
        card_values(("abacus",), SCORES[:, :1])


def test_only_prompts_that_every_card_answered_are_compared_where_these_are_most() -> None:
    scores = SCORES.copy()
    scores[0, 1] = np.nan
    report = card_values(NAMES, scores)
    assert (report.prompts, report.left_out) == (3, 1)


def test_a_card_is_not_taken_where_it_was_not_run() -> None:
    scores = np.array([[1.0, np.nan], [np.nan, 1.0], [0.0, 1.0]])
    report = card_values(("one", "other"), scores)
    assert report.oracle == 1.0
    assert report.left_out == 0


@given(outcomes)
def test_removing_a_card_without_value_leaves_the_oracle_unchanged(scores: np.ndarray) -> None:
    oracle = scores.max(axis=1).mean()
    for card in report_of(scores).cards:
        without = np.delete(scores, int(card.card[4:]), axis=1).max(axis=1).mean()
        assert oracle - without == pytest.approx(card.value)
        assert card.adds_nothing == bool(np.isclose(oracle, without))


@given(outcomes, st.integers(1, 4))
def test_a_chosen_set_reaches_nearly_the_best_of_its_size(scores: np.ndarray, most: int) -> None:
    for chosen in report_of(scores, most_cards=most).chosen:
        size = len(chosen.cards)
        best = max(
            scores[:, columns].max(axis=1).mean() for columns in itertools.combinations(range(scores.shape[1]), size)
        )
        assert (1 - 1 / np.e) * best - 1e-9 <= chosen.quality <= best + 1e-9


@given(outcomes, st.floats(0.2, 3))
def test_no_set_exceeds_the_budget(scores: np.ndarray, budget_usd: float) -> None:
    cost = np.broadcast_to(np.arange(scores.shape[1]) + 0.1, scores.shape).astype(float)
    for chosen in report_of(scores, cost_usd=cost, budget_usd=budget_usd).chosen:
        assert chosen.cost_usd is not None
        assert chosen.cost_usd <= budget_usd + 1e-12
