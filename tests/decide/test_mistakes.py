"""A policy that states what a wrong answer costs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.cards import Card
from router.decide.policy import Policy, load_policies
from router.errors import ConfigurationError, NoCandidateError
from router.types import Decision, Forecast
from tests.decide.cards import card, choose, forecast, situations

CHEAP_AND_STRONG = [card("a-cheap"), card("b-strong")]
Situation = tuple[list[Card], Forecast]


def decided(mistake_usd: float, quality: list[float], cost_usd: list[float]) -> Decision:
    policy = Policy("p", "d", mistake_usd=mistake_usd)
    return choose(CHEAP_AND_STRONG, forecast(quality, cost_usd=cost_usd), policy=policy)


def test_a_prompt_that_every_card_answers_goes_to_the_cheapest() -> None:
    assert decided(1.0, [0.99, 0.992], [0.0001, 0.02]).card == "a-cheap"


def test_a_prompt_on_which_the_advantage_is_worth_its_price_goes_to_the_strong_card() -> None:
    assert decided(1.0, [0.6, 0.9], [0.0001, 0.02]).card == "b-strong"


def test_the_same_advantage_is_not_worth_it_where_a_mistake_costs_a_cent() -> None:
    assert decided(0.01, [0.6, 0.9], [0.0001, 0.02]).card == "a-cheap"


def test_the_part_of_the_score_is_the_cost_as_a_share_of_a_mistake() -> None:
    parts = decided(0.5, [0.6, 0.9], [0.0001, 0.02]).candidates[0].parts
    assert parts["cost"] == pytest.approx(0.04)
    assert parts["loss"] == pytest.approx(0.1)


def test_a_card_without_price_and_size_counts_as_two_dollars_per_million_tokens_and_says_so() -> None:
    decision = choose(
        CHEAP_AND_STRONG,
        forecast([0.5, 0.9], cost_usd=[0.001, float("nan")]),
        policy=Policy("p", "d", mistake_usd=1.0),
    )
    assert decision.card == "b-strong"
    assert decision.candidates[0].assumed == ("cost unknown; counted as that of 2$ per million tokens",)


@given(situations(), st.floats(1e-3, 10), st.floats(1, 100))
def test_a_dearer_mistake_never_chooses_a_worse_card(situation: Situation, mistake_usd: float, factor: float) -> None:
    cards, expected = situation
    qualities = []
    for price in (mistake_usd, mistake_usd * factor):
        try:
            decision = choose(cards, expected, policy=Policy("p", "d", mistake_usd=price, unknown="allow"))
        except NoCandidateError:
            return
        qualities.append(decision.candidates[0].quality)
    # Costs are rounded to nine decimals of a mistake.
    assert qualities[1] >= qualities[0] - 1e-6


def test_a_mistake_that_costs_nothing_is_an_error_with_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("id: p\ndescription: d\nmistake_usd: 0\n")
    with pytest.raises(ConfigurationError, match=r"p\.yaml:3: mistake_usd"):
        load_policies(tmp_path)
