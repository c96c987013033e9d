"""What a card without a price counts as: nothing on this machine, else what hosts usually charge for its size."""

from __future__ import annotations

from router.cards.price import Price
from router.cards.schema import Card
from router.formats.net import is_loopback
from router.formats.quantities import Dollars

# Servers whose default address is on this machine, for cards without an address.
_ON_THIS_MACHINE = frozenset({"hosted_vllm", "llamafile", "lm_studio", "ollama", "ollama_chat", "vllm"})

# The most parameters of a tier, and its price in USD per million tokens, input and output alike: Together AI's
# serverless tiers, in litellm's price map as together-ai-up-to-4b … together-ai-81.1b-110b. Frozen here, so that a
# card's usual price never depends on the other cards.
_TIERS = ((4e9, 0.1), (8e9, 0.2), (21e9, 0.3), (41e9, 0.8), (80e9, 0.9))
_LARGEST_TIER_USD_PER_MTOK = 1.8


def forecast_price(card: Card) -> Price | None:
    """The price for forecasts: the card's; zero for a model on this machine; None where it is unknown."""
    if card.price is not None:
        return card.price
    by_default = card.provider in _ON_THIS_MACHINE and not card.base_url and not card.deployments
    local = card.privacy == "local" or is_loopback(card.base_url) or by_default
    return Price(Dollars(0), Dollars(0)) if local else None


def usual_price_usd_per_mtok(card: Card) -> float | None:
    """What hosts usually charge for a model of this size; None where the size is unknown."""
    if card.size is None:
        return None
    # A tier reaches to the next decimal: models "of 8B" have 8.03 billion parameters.
    billions = round(card.size.total / 1e9, 1) * 1e9
    return next((price for most, price in _TIERS if billions <= most), _LARGEST_TIER_USD_PER_MTOK)
