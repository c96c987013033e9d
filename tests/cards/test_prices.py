"""Prices that depend on the length of the prompt."""

from __future__ import annotations

import numpy as np
import pytest

from router.cards import Card, Catalog
from router.cards.price import Price, Rates
from router.dispatch.costs import cost_usd
from router.formats.quantities import Dollars
from router.types import Usage

TIERS = Price(
    Dollars(1),
    Dollars(4),
    Dollars(0.1),
    above={
        "1M": Rates(Dollars(3), Dollars(9)),
        "200k": Rates(Dollars(2), Dollars(6), Dollars(0.2)),
    },
)


def card(name: str, price: Price | None) -> Card:
    return Card(id=name, provider="p", model=name, price=price)


@pytest.mark.parametrize(
    ("input_tokens", "input_usd", "output_usd"), [(1, 1, 4), (200_000, 1, 4), (200_001, 2, 6), (1_000_001, 3, 9)]
)
def test_a_tier_holds_for_prompts_longer_than_its_length(input_tokens: int, input_usd: int, output_usd: int) -> None:
    rates = TIERS.rates_at(input_tokens)
    assert (rates.input_usd, rates.output_usd) == (input_usd, output_usd)


def test_the_columns_give_the_same_prices_as_the_cards() -> None:
    one_tier = Price(Dollars(5), Dollars(5), above={"100k": Rates(Dollars(7), Dollars(8))})
    flat = Price(Dollars(1), Dollars(2))
    catalog = Catalog([card("a", TIERS), card("b", one_tier), card("c", flat), card("d", None)])
    for length in (1, 100_001, 200_001, 2_000_000):
        expected = [card.price.rates_at(length) if card.price else None for card in catalog]
        input_usd, output_usd = catalog.columns.prices_usd_per_mtok(length)
        np.testing.assert_array_equal(input_usd, [rates.input_usd if rates else np.nan for rates in expected])
        np.testing.assert_array_equal(output_usd, [rates.output_usd if rates else np.nan for rates in expected])


def test_a_catalogue_without_tiers_has_no_rows_of_tiers() -> None:
    assert Catalog([card("c", Price(Dollars(1), Dollars(2)))]).columns.tier_tokens.shape == (0, 1)


def test_a_long_prompt_is_booked_at_the_rates_of_its_tier_cached_tokens_included() -> None:
    short, long = Usage(100_000, 10, cached_input_tokens=50_000), Usage(300_000, 10, cached_input_tokens=250_000)
    assert cost_usd(TIERS, short) == pytest.approx((50_000 * 1 + 50_000 * 0.1 + 10 * 4) / 1e6)
    assert cost_usd(TIERS, long) == pytest.approx((50_000 * 2 + 250_000 * 0.2 + 10 * 6) / 1e6)
