"""The price of a model's tokens: rates, tiers by the length of the prompt, and service tiers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta, Struct

from router.formats import units
from router.formats.quantities import Dollars

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
        for length, of_tier in self.tiers:
            if input_tokens > length:
                rates = of_tier
        return rates
