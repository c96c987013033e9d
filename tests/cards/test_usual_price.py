from __future__ import annotations

import pytest

from router.cards.price import forecast_price, usual_price_usd_per_mtok
from router.dispatch.costs import price_of
from tests.decide.cards import card


@pytest.mark.parametrize(
    ("size", "usd_per_mtok"),
    [("1B", 0.1), ("4B", 0.1), ("8B", 0.2), ("8.03B", 0.2), ("14B", 0.3), ("32B", 0.8), ("70B", 0.9), ("405B", 1.8)],
)
def test_the_usual_price_rises_with_the_size(size: str, usd_per_mtok: float) -> None:
    assert usual_price_usd_per_mtok(card("a", size=size)) == usd_per_mtok


def test_a_card_of_unknown_size_has_no_usual_price() -> None:
    assert usual_price_usd_per_mtok(card("a")) is None


@pytest.mark.parametrize("url", [None, "http://127.0.0.1:8000/v1", "https://example.org/v1"])
@pytest.mark.parametrize(
    "provider", ["openai", "deepinfra", "hosted_vllm", "vllm", "ollama", "ollama_chat", "lm_studio", "llamafile"]
)
def test_what_costs_nothing_is_forecast_to_cost_nothing(provider: str, url: str | None) -> None:
    mine = card("a", provider=provider, base_url=url)
    assert forecast_price(mine) == price_of(mine)


def test_a_stated_price_is_the_forecast_price_on_this_machine_too() -> None:
    stated = card("a", privacy="local", price={"input": "1$", "output": "2$"})
    assert forecast_price(stated) == stated.price
