"""The price of a card's tokens, and the cost of a call."""

from __future__ import annotations

from router.cards.schema import Card, Price
from router.dispatch.providers import base_url
from router.formats.net import is_loopback
from router.formats.quantities import Dollars
from router.types import Usage


def price_of(card: Card) -> Price | None:
    """The price of the card's tokens: zero for a model on this machine, None where the price is unknown."""
    if card.price is None and (card.privacy == "local" or is_loopback(base_url(card))):
        return Price(Dollars(0), Dollars(0))
    return card.price


def cost_usd(price: Price, usage: Usage) -> float:
    """The cost of a call. Cached input is charged at the full input price where the card has no price for it."""
    rates = price.rates_at(usage.input_tokens)
    cached_usd = rates.input_usd if rates.cached_input_usd is None else rates.cached_input_usd
    uncached_tokens = max(usage.input_tokens - usage.cached_input_tokens, 0)
    return (
        uncached_tokens * rates.input_usd
        + usage.cached_input_tokens * cached_usd
        + usage.output_tokens * rates.output_usd
    ) / 1e6
