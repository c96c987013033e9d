"""What a goal's cost is where a card's quantity is unknown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from router.cards import Card, Catalog
from router.decide.fields import DecisionInputs
from router.decide.goals import GOALS, counted_cost_usd
from router.types import Forecast
from tests.decide.cards import TODAY, card, choose, features, forecast, situations

NAN = float("nan")


def goal_costs(goal: str, cards: Sequence[Card], expected: Forecast, input_tokens: int = 900) -> list[float]:
    costs: list[float] = GOALS[goal](DecisionInputs(Catalog(cards), expected, TODAY, input_tokens)).tolist()
    return costs


def three(**of_the_last: Any) -> list[Card]:
    return [card("a-cheap"), card("b-dear"), card("c-unknown", **of_the_last)]


def test_a_card_without_a_price_counts_as_what_hosts_usually_charge_for_its_size() -> None:
    expected = forecast([0.5] * 3, cost_usd=[0.00001, 0.01, NAN])
    small, large = (goal_costs("cheapest", three(size=size), expected)[2] for size in ("8B", "70B"))
    assert 0 < small < large < 1
    # 900 tokens in and 100 out at 0.2$ and 0.9$ per million.
    for size, cost_usd in (("8B", 0.0002), ("8.03B", 0.0002), ("70B", 0.0009), ("405B", 0.0018)):
        inputs = DecisionInputs(Catalog(three(size=size)), expected, TODAY, 900)
        assert counted_cost_usd(inputs)[2] == pytest.approx(cost_usd)


def test_the_usual_cost_of_a_card_without_a_price_includes_its_thinking() -> None:
    expected = forecast([0.5] * 3, cost_usd=[0.00001, 0.01, NAN], written_tokens=[100, 100, 1100])
    assert counted_cost_usd(DecisionInputs(Catalog(three(size="8B")), expected, TODAY, 900))[2] == pytest.approx(0.0004)


@pytest.mark.parametrize("goal", ["cheapest", "fastest"])
def test_a_card_of_unknown_size_too_counts_as_the_middle(goal: str) -> None:
    expected = forecast([0.5] * 3, cost_usd=[0.00001, 0.01, NAN], latency_ms=[100, 9000, NAN])
    assert goal_costs(goal, three(), expected) == [0.0, 1.0, 0.5]


@pytest.mark.parametrize(("goal", "cost"), [("smallest", 1.0), ("newest", 1.0), ("private", 1.0)])
def test_a_card_of_unknown_size_date_or_privacy_counts_as_the_worst(goal: str, cost: float) -> None:
    assert goal_costs(goal, three(), forecast([0.5] * 3))[2] == cost


def test_a_usual_price_above_all_known_ones_counts_as_the_dearest_and_moves_no_other_card() -> None:
    expected = forecast([0.5] * 3, cost_usd=[0.00001, 0.00002, NAN])
    assert goal_costs("cheapest", three(size="405B"), expected) == [0.0, 1.0, 1.0]


def test_among_free_cards_a_card_of_unknown_price_is_not_free() -> None:
    expected = forecast([0.5] * 3, cost_usd=[0.0, 0.0, NAN])
    assert goal_costs("cheapest", three(size="8B"), expected)[2] > 0.5


def test_where_no_price_is_known_smaller_cards_count_as_cheaper() -> None:
    cards = [card("a", size="3B"), card("b", size="70B"), card("c")]
    assert goal_costs("cheapest", cards, forecast([0.5] * 3, cost_usd=[NAN] * 3)) == [0.0, 1.0, 0.5]


def test_a_card_on_this_machine_without_a_price_costs_nothing() -> None:
    cards = [card("a", privacy="local"), card("b", base_url="http://127.0.0.1:9/v1"), card("c")]
    prices = Catalog(cards).columns.price_usd_per_mtok
    assert (prices[:2].tolist(), np.isnan(prices[2])) == ([0.0, 0.0], True)


@given(situations())
def test_a_card_of_unknown_cost_and_latency_never_moves_another_card(situation: tuple[list[Card], Forecast]) -> None:
    cards, expected = situation
    unknown = card("zz", size="70B")
    numbers = {name: [*getattr(expected, name), NAN] for name in ("cost_usd", "latency_ms", "ttft_ms")}
    # The forecast is in the order of the ids; "zz" is the last.
    with_it = forecast(
        [*expected.quality, 0.5], output_tokens=[*expected.output_tokens, 100.0], mean_quality=None, **numbers
    )
    for goal, column in (("cheapest", "cost_usd"), ("fastest", "latency_ms")):
        if not np.isnan(getattr(expected, column)).all():
            assert goal_costs(goal, [*cards, unknown], with_it)[:-1] == goal_costs(goal, cards, expected)


def test_a_decision_states_what_it_assumes_about_unknown_costs_and_latencies() -> None:
    expected = forecast([0.5] * 3, cost_usd=[0.00001, 0.01, NAN], latency_ms=[100, 9000, NAN])
    decision = choose(three(size="8B"), expected, "cheapest*0.1,fastest*0.1", seen=features(tokens=900))
    assert {candidate.card: candidate.assumed for candidate in decision.candidates} == {
        "a-cheap": (),
        "b-dear": (),
        "c-unknown": (
            "cost unknown; counted as 0.0002$ (0.2$ per 1,000 requests), usual for 8B",
            "latency unknown; counted as the middle between the least and the greatest of the catalogue",
        ),
    }


def test_nothing_is_assumed_where_no_goal_uses_the_fact() -> None:
    expected = forecast([0.5] * 3, cost_usd=[0.1, 0.2, NAN])
    assert all(not candidate.assumed for candidate in choose(three(), expected).candidates)
    (unknown,) = (one for one in choose(three(), expected, "cheapest").candidates if one.card == "c-unknown")
    assert unknown.assumed == (
        "cost unknown; counted as the middle between the least and the greatest of the catalogue",
    )


def test_a_limit_on_an_unknown_cost_still_rejects_the_card() -> None:
    expected = forecast([0.5] * 3, cost_usd=[0.1, 0.2, NAN])
    assert choose(three(size="8B"), expected, "cost<1$").rejections["c-unknown"].reason == "cost unknown"
