"""Usage becomes dollars: rates of every kind of token, cache factors, service tiers, costs that upstreams report."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.cards.price import Price
from router.cards.schema import Card
from router.dispatch.costs import (
    Expected,
    TokenRates,
    Tokens,
    bounds_of,
    cost_of,
    cost_usd,
    no_answer,
    token_rates,
    tokens_by_rate,
)
from router.formats.quantities import read_quantity
from router.types import Usage

USUAL = {"input": "3$", "output": "15$"}
CACHE = {**USUAL, "cached_input": "0.3$", "cache_write": "3.75$", "cache_write_1h": "6$"}
AUDIO = {**USUAL, "audio_input": "30$", "audio_output": "60$"}
LONG = {**USUAL, "above": {"200k": {"input": "6$", "output": "22$"}}}
MILLION = 1_000_000


def price(stated: dict[str, Any]) -> Price:
    return msgspec.convert(stated, Price, dec_hook=read_quantity)


def card(provider: str = "openai", model: str = "m", stated: dict[str, Any] | None = None, **facts: Any) -> Card:
    return Card(id="c", provider=provider, model=model, price=None if stated is None else price(stated), **facts)


@pytest.mark.parametrize(
    ("stated", "usage", "expected_usd"),
    [
        (USUAL, Usage(MILLION, MILLION), 18.0),
        (USUAL, Usage(MILLION, 0, MILLION), 3.0),
        (USUAL, Usage(MILLION, 0, 0, MILLION), 3.0),
        (USUAL, Usage(MILLION, 0, 0, MILLION, cache_write_1h_tokens=MILLION), 3.0),
        (CACHE, Usage(MILLION, 0, MILLION), 0.3),
        (CACHE, Usage(MILLION, 0, 0, MILLION), 3.75),
        (CACHE, Usage(MILLION, 0, 0, MILLION, cache_write_1h_tokens=MILLION), 6.0),
        (CACHE, Usage(4 * MILLION, 0, MILLION, 2 * MILLION, cache_write_1h_tokens=MILLION), 3 + 0.3 + 3.75 + 6),
        ({**USUAL, "cache_write": "3.75$"}, Usage(MILLION, 0, 0, MILLION, cache_write_1h_tokens=MILLION), 3.75),
        (USUAL, Usage(0, MILLION, reasoning_tokens=MILLION), 15.0),
        (AUDIO, Usage(2 * MILLION, 0, audio_input_tokens=MILLION), 33.0),
        (AUDIO, Usage(0, 2 * MILLION, audio_output_tokens=MILLION), 75.0),
        (USUAL, Usage(2 * MILLION, 2 * MILLION, audio_input_tokens=MILLION, audio_output_tokens=MILLION), 36.0),
        (LONG, Usage(MILLION, 0), 6.0),
        ({**USUAL, "batch": 0.5}, Usage(MILLION, MILLION, service_tier="batch"), 9.0),
        ({**USUAL, "flex": 0.5}, Usage(MILLION, MILLION, service_tier="flex"), 9.0),
        ({**LONG, "priority": 2}, Usage(MILLION, 0, service_tier="priority"), 12.0),
        (
            {**USUAL, "priority": {"input": "5$", "output": "25$"}},
            Usage(MILLION, MILLION, service_tier="priority"),
            30.0,
        ),
        ({**USUAL, "priority": 2}, Usage(MILLION, MILLION, service_tier="default"), 18.0),
        ({**USUAL, "priority": 2}, Usage(MILLION, MILLION, service_tier="flex"), 18.0),
        (USUAL, Usage(MILLION, MILLION, service_tier="above"), 18.0),
    ],
)
def test_every_kind_of_token_has_its_rate(stated: dict[str, Any], usage: Usage, expected_usd: float) -> None:
    assert cost_usd(price(stated), usage) == pytest.approx(expected_usd)


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("anthropic", "claude-sonnet-4-5"),
        ("bedrock", "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("vertex_ai", "claude-sonnet-4-5@20250929"),
        ("openrouter", "anthropic/claude-sonnet-4.5"),
    ],
)
def test_a_claude_has_anthropics_factors_wherever_it_is_served(provider: str, model: str) -> None:
    usage = Usage(4 * MILLION, 0, MILLION, 2 * MILLION, cache_write_1h_tokens=MILLION)
    assert cost_of(card(provider, model, USUAL), usage) == pytest.approx(3 * (1 + 0.1 + 1.25 + 2))


def test_a_stated_rate_comes_before_the_usual_factor() -> None:
    usage = Usage(3 * MILLION, 0, MILLION, 2 * MILLION, cache_write_1h_tokens=MILLION)
    claude = card("anthropic", "claude-haiku-9", {**USUAL, "cached_input": "1$", "cache_write": "2$"})
    assert cost_of(claude, usage) == pytest.approx(1 + 2 + 6)


def test_the_factors_hold_for_the_rates_of_long_prompts() -> None:
    claude = card("anthropic", "claude-sonnet-4-5", LONG)
    assert cost_of(claude, Usage(MILLION, 0, 0, MILLION)) == pytest.approx(7.5)


@pytest.mark.parametrize(
    ("called", "expected_usd"),
    [
        (card("openai_like", "m", base_url="https://models.example/v1"), 0.95),
        (card("openai_like", "m", USUAL, base_url="https://models.example/v1"), 18.0),
        (card("openrouter", "m", USUAL), 0.95),
        (card("perplexity", "m", USUAL), 0.95),
        (card("openai_like", "m", base_url="http://127.0.0.1:8000/v1"), 0.0),
    ],
    ids=["no-price", "price", "openrouter", "perplexity", "this-machine"],
)
def test_a_reported_cost_counts_where_nothing_better_is_known(called: Card, expected_usd: float) -> None:
    assert cost_of(called, Usage(MILLION, MILLION, reported_cost_usd=0.95)) == pytest.approx(expected_usd)


def test_without_a_price_and_a_reported_cost_the_cost_is_unknown() -> None:
    assert cost_of(card("openai", "m"), Usage(MILLION, MILLION)) is None


_tokens = st.integers(0, 10**9)
_usages = st.builds(
    Usage,
    _tokens,
    _tokens,
    _tokens,
    _tokens,
    _tokens,
    cache_write_1h_tokens=_tokens,
    audio_input_tokens=_tokens,
    audio_output_tokens=_tokens,
    service_tier=st.sampled_from([None, "default", "batch", "flex", "priority"]),
)
_dollars = st.floats(0, 1000).map(lambda value: f"{value:.6f}$")
_prices = st.fixed_dictionaries(
    {"input": _dollars, "output": _dollars},
    optional={
        **dict.fromkeys(("cached_input", "cache_write", "cache_write_1h", "audio_input", "audio_output"), _dollars),
        "batch": st.floats(0.01, 10),
        "priority": st.fixed_dictionaries({"input": _dollars, "output": _dollars}),
    },
).map(price)


@given(_usages)
def test_no_token_is_charged_twice(usage: Usage) -> None:
    tokens = tokens_by_rate(usage)
    assert min(tokens) >= 0
    assert sum(tokens) == usage.total_tokens


@given(_prices, _usages, st.integers(0, 10**6))
def test_a_cost_is_never_negative_and_never_falls_with_more_output(price: Price, usage: Usage, more: int) -> None:
    longer = msgspec.structs.replace(usage, output_tokens=usage.output_tokens + more, audio_output_tokens=0)
    shorter = msgspec.structs.replace(usage, audio_output_tokens=0)
    assert 0 <= cost_usd(price, shorter) <= cost_usd(price, longer) * (1 + 1e-9)


@given(_prices, _usages)
def test_the_cost_lies_between_the_cheapest_and_the_dearest_rate(price: Price, usage: Usage) -> None:
    usual = msgspec.structs.replace(usage, service_tier=None)
    rates = token_rates(price)
    cost = cost_usd(price, usual)
    assert min(rates) * usage.total_tokens / 1e6 <= cost * (1 + 1e-9) + 1e-9
    assert cost <= max(rates) * usage.total_tokens / 1e6 * (1 + 1e-9) + 1e-9


def test_tokens_and_rates_have_the_same_fields() -> None:
    assert Tokens._fields == TokenRates._fields


HELLO = {"messages": [{"role": "user", "content": "hello"}]}
EXPECTED = Expected(1_000, 400.0, 1_000.0)


def output_tokens(usd: float) -> int:
    """What is left of a cost at the usual price after the prompt of EXPECTED."""
    return round((usd - 0.003) * 1e6 / 15)


@pytest.mark.parametrize(
    ("fields", "facts", "likely", "reserved", "worst"),
    [
        ({}, {}, 400, 1_000, 131_072),
        ({}, {"context_tokens": 30_000}, 400, 1_000, 30_000),
        ({}, {"max_output_tokens": 8_000}, 400, 1_000, 8_000),
        ({}, {"max_output_tokens": 300}, 300, 300, 300),
        ({"max_tokens": 5_000}, {}, 400, 5_000, 5_000),
        ({"max_tokens": 5_000}, {"max_output_tokens": 2_000}, 400, 2_000, 2_000),
        ({"max_tokens": 50_000}, {"context_tokens": 30_000}, 400, 50_000, 50_000),
        ({"max_tokens": 100}, {}, 100, 100, 100),
        ({"max_tokens": 100, "n": 50}, {}, 5_000, 5_000, 5_000),
    ],
)
def test_what_a_request_may_cost_follows_its_limit_and_that_of_the_card(
    fields: dict[str, Any], facts: dict[str, Any], likely: int, reserved: int, worst: int
) -> None:
    bounds = bounds_of(card(stated=USUAL, **facts), "chat", {**HELLO, **fields}, EXPECTED)
    assert tuple(map(output_tokens, bounds)) == (likely, reserved, worst)


def test_the_dearest_way_to_charge_for_the_prompt_is_reserved() -> None:
    def reserved_input_usd(stated: dict[str, Any], body: dict[str, Any]) -> float:
        return bounds_of(card(stated=stated), "chat", {**body, "max_tokens": 1}, EXPECTED).reserved_usd

    assert reserved_input_usd(USUAL, HELLO) == pytest.approx(0.003, rel=0.01)
    assert reserved_input_usd(CACHE, HELLO) == pytest.approx(0.00375, rel=0.01)
    for_an_hour = {**HELLO, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    assert reserved_input_usd(CACHE, for_an_hour) == pytest.approx(0.006, rel=0.01)
    assert reserved_input_usd(AUDIO, {**HELLO, "modalities": ["audio"]}) == pytest.approx(0.03, rel=0.01)


def test_a_conversation_that_the_server_has_stored_may_be_as_long_as_the_context() -> None:
    body = {"input": "go on", "previous_response_id": "resp_1", "max_output_tokens": 1}
    bounds = bounds_of(card(stated=USUAL, context_tokens=100_000), "responses", body, EXPECTED)
    assert bounds.worst_usd == pytest.approx(0.3, rel=0.01)


def test_an_answer_that_is_no_text_is_assumed_to_have_500_tokens() -> None:
    bounds = bounds_of(card(stated=USUAL), "chat", {"prompt": "a cat", "n": 2}, None)
    assert bounds.worst_usd == bounds.likely_usd == pytest.approx(1_000 * 15e-6, rel=0.01)


def test_without_a_price_nothing_is_reserved_and_embeddings_cost_their_input() -> None:
    assert bounds_of(card(), "chat", HELLO, EXPECTED) == (0, 0, 0)
    assert no_answer({"input": "hello " * 100}, card()) == (0, 0, 0)
    assert no_answer({"input": "hello " * 100}, card(stated=USUAL)).worst_usd == pytest.approx(150 * 3e-6, rel=0.1)
