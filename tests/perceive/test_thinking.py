"""The tokens that cards spend on thinking, in forecasts of cost and latency."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from router.cards import Card, Catalog
from router.cards.schema import Latency, Price, Rates
from router.formats.quantities import Dollars, Milliseconds
from router.perceive.features import Perceiver
from router.perceive.predictor import Predictor
from router.perceive.text.encoder import StaticEncoder
from router.types import Features, Forecast
from router.wire import read_request
from router.wire.chat.request import ChatRequest

PRICE, LATENCY = Price(Dollars(3), Dollars(15)), Latency(Milliseconds(100), Milliseconds(10))


def card(name: str, **facts: Any) -> Card:
    return Card(id=name, provider="openai", model=name, **{"price": PRICE, "latency": LATENCY, **facts})


@pytest.fixture
def features(encoder: StaticEncoder) -> Any:
    def of(**fields: Any) -> Features:
        body = {"messages": [{"role": "user", "content": "What is 1 + 1?"}], **fields}
        return Perceiver(encoder)(ChatRequest.from_body(body))

    return of


def forecast(predictor: Predictor, features: Features, *cards: Card) -> Forecast:
    return predictor.bind(Catalog(cards))(features)


def test_thinking_is_charged_and_takes_time_but_is_no_part_of_the_answer(predictor: Predictor, features: Any) -> None:
    one = forecast(predictor, features(), card("a"), card("b", thinking_tokens=1000))
    assert one.output_tokens[0] == one.output_tokens[1]
    assert one.cost_usd[1] - one.cost_usd[0] == pytest.approx(1000 * 15 / 1e6)
    assert one.latency_ms[1] - one.latency_ms[0] == pytest.approx(1000 * 10)
    assert one.ttft_ms[0] == one.ttft_ms[1]


def test_a_request_that_states_its_own_effort_is_not_charged_for_usual_thinking(
    predictor: Predictor, features: Any
) -> None:
    cards = card("a"), card("b", thinking_tokens=1000)
    own = forecast(predictor, features(reasoning_effort="none"), *cards)
    assert own.cost_usd[0] == own.cost_usd[1]
    assert own.latency_ms[0] == own.latency_ms[1]


def test_the_limit_of_the_answer_includes_thinking(predictor: Predictor, features: Any) -> None:
    limited = forecast(predictor, features(max_tokens=40), card("b", thinking_tokens=1000))
    assert limited.latency_ms[0] == 100 + 40 * 10


def test_a_long_prompt_is_forecast_at_the_rates_of_its_tier(predictor: Predictor, features: Any) -> None:
    seen = features()
    tiers = Price(Dollars(3), Dollars(15), above={"1": Rates(Dollars(30), Dollars(150))})
    dear, cheap = forecast(predictor, seen, card("a", price=tiers), card("b")).cost_usd
    assert seen.input_tokens > 1
    assert dear == pytest.approx(10 * cheap)


def test_a_price_without_tiers_gives_the_same_bits_beside_one_with_tiers(predictor: Predictor, features: Any) -> None:
    tiers = Price(Dollars(3), Dollars(15), above={"1": Rates(Dollars(30), Dollars(150))})
    alone = forecast(predictor, features(), card("b"))
    together = forecast(predictor, features(), card("a", price=tiers), card("b"))
    assert np.array_equal(alone.cost_usd, together.cost_usd[1:])


@pytest.mark.parametrize(
    ("fields", "scale"),
    [
        ({}, 1.0),
        ({"thinking": {"type": "adaptive"}}, 1.0),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, 0.3),
        ({"thinking": {"type": "disabled"}}, 0.0),
        ({"output_config": {"effort": "low"}}, 0.3),
    ],
)
def test_the_effort_is_read_in_the_clients_own_protocol(
    encoder: StaticEncoder, fields: dict[str, Any], scale: float
) -> None:
    body = {"max_tokens": 5000, "messages": [{"role": "user", "content": "hi"}], **fields}
    assert Perceiver(encoder)(read_request("messages", body)).thinking_scale == scale
