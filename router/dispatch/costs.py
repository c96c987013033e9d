"""What a call costs."""

from __future__ import annotations

from router.cards.schema import Card, Price
from router.dispatch.providers import base_url
from router.formats.net import is_loopback
from router.formats.quantities import Dollars
from router.types import Usage


def price_of(card: Card) -> Price | None:
    """What the card's tokens cost. Nothing where they are made on this machine; None where nobody stated it."""
    if card.price is None and (card.privacy == "local" or is_loopback(base_url(card))):
        return Price(Dollars(0), Dollars(0))
    return card.price


def cost_usd(price: Price, usage: Usage) -> float:
    """What a call costs; input from a cache counts in full where the card states no price for it."""
    cached_usd = price.input_usd if price.cached_input_usd is None else price.cached_input_usd
    fresh = max(usage.input_tokens - usage.cached_input_tokens, 0)
    return (
        fresh * price.input_usd + usage.cached_input_tokens * cached_usd + usage.output_tokens * price.output_usd
    ) / 1e6
