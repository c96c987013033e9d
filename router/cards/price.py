"""The price of a model's tokens: rates, tiers by the length of the prompt, and service tiers.

A card without a price counts as free on this machine, else as what hosts usually charge for its size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from router.formats import units
from router.formats.net import is_loopback
from router.formats.quantities import Dollars

if TYPE_CHECKING:
    from router.cards.schema import Card

# Servers whose default address is on this machine, for cards without an address.
_ON_THIS_MACHINE = frozenset({"hosted_vllm", "llamafile", "lm_studio", "ollama", "ollama_chat", "vllm"})

# The most parameters of a tier, and its price in USD per million tokens, input and output alike: Together AI's
# serverless tiers, in litellm's price map as together-ai-up-to-4b … together-ai-81.1b-110b. Frozen here, so that a
# card's usual price never depends on the other cards.
_TIERS = ((4e9, 0.1), (8e9, 0.2), (21e9, 0.3), (41e9, 0.8), (80e9, 0.9))
_LARGEST_TIER_USD_PER_MTOK = 1.8

_MAX_PRICE_TIERS = 2


def _without_usd(name: str) -> str:
    return name.removesuffix("_usd")


class Rates(Struct, frozen=True, forbid_unknown_fields=True, rename=_without_usd):
    """US dollars per million tokens."""

    input_usd: Dollars
    output_usd: Dollars
    cached_input_usd: Annotated[Dollars | None, Meta(description="Input that is read from a prompt cache.")] = None
    cache_write_usd: Annotated[Dollars | None, Meta(description="Input that is written to a prompt cache.")] = None
    cache_write_1h_usd: Annotated[
        Dollars | None, Meta(description="Input that is written to a prompt cache that keeps it for an hour.")
    ] = None
    audio_input_usd: Annotated[Dollars | None, Meta(description="Audio in the prompt.")] = None
    audio_output_usd: Annotated[Dollars | None, Meta(description="Audio in the answer.")] = None


TierPrice = Annotated[
    Annotated[float, Meta(gt=0, le=100)] | Rates,
    Meta(description="The price of requests in this service tier: a factor, such as 0.5, or rates of their own."),
]


class Price(Rates, frozen=True, forbid_unknown_fields=True, rename=_without_usd):
    """US dollars per million tokens, and the rates of requests with long prompts and in other service tiers."""

    above: Annotated[
        Mapping[str, Rates],
        Meta(
            max_length=_MAX_PRICE_TIERS,
            description="Rates of the whole request where its prompt is longer than this many tokens: {200k: {…}}.",
        ),
    ] = {}
    batch: TierPrice | None = None
    flex: TierPrice | None = None
    priority: TierPrice | None = None

    def __post_init__(self) -> None:
        if not self.above:
            return
        starts: set[int] = set()
        for length in self.above:
            try:
                starts.add(units.tokens(length))
            except ValueError as error:
                raise ValueError(f"above.{length}: {error}") from None
        if len(starts) < len(self.above):
            raise ValueError("above: two tiers begin at the same length")

    @property
    def tiers(self) -> tuple[tuple[int, Rates], ...]:
        """Each length of `above` in tokens with its rates, shortest first."""
        return tuple(sorted((units.tokens(length), rates) for length, rates in self.above.items()))

    def rates_at(self, input_tokens: int) -> Rates:
        """The rates of a request whose prompt has this many tokens, cached ones included."""
        rates: Rates = self
        if not self.above:
            return rates
        for length, of_tier in self.tiers:
            if input_tokens > length:
                rates = of_tier
        return rates


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
