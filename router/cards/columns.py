"""The catalogue's numeric facts as arrays with one entry per card, so that limits and goals evaluate all cards at once.

The order is the catalogue's. NaN is a fact that the card does not state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import cast

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from router.cards.price import Rates, forecast_price, usual_price_usd_per_mtok
from router.cards.schema import Card

Column = NDArray[np.float64]

PRIVACY_EXPOSURE = {"local": 0.0, "private": 0.5, "public": 1.0}
"""The cost of the goal `private`, in [0, 1], for each value of `privacy`."""


class Columns(Struct, frozen=True, eq=False):
    """Arrays of shape `(cards,)`; their names state the units.

    `ttft_ms` is the time to the first token, `tpot_ms` the time per token after it, `released_day` the proleptic
    ordinal of the release date, `exposure` the privacy cost in [0, 1]. `usual_price_usd_per_mtok` is what hosts usually
    charge for a model of the card's size, input and output alike. `thinking_tokens` is what an answer typically costs
    in addition to the tokens that the client sees.

    `tier_tokens` `(tiers, cards)` are the prompt lengths above which the rates of the same row in `tier_input_price…`
    and `tier_output_price…` apply; infinite where a card has no such tier.
    """

    size_parameters: Column
    active_parameters: Column
    context_tokens: Column
    max_output_tokens: Column
    input_price_usd_per_mtok: Column
    output_price_usd_per_mtok: Column
    usual_price_usd_per_mtok: Column
    ttft_ms: Column
    tpot_ms: Column
    thinking_tokens: Column
    released_day: Column
    exposure: Column
    tier_tokens: Column
    tier_input_price_usd_per_mtok: Column
    tier_output_price_usd_per_mtok: Column

    @property
    def price_usd_per_mtok(self) -> Column:
        """The higher of the prices of input and output."""
        return cast("Column", np.maximum(self.input_price_usd_per_mtok, self.output_price_usd_per_mtok))

    def prices_usd_per_mtok(self, input_tokens: int) -> tuple[Column, Column]:
        """The prices of input and output for a prompt of this length."""
        input_price, output_price = self.input_price_usd_per_mtok, self.output_price_usd_per_mtok
        for length, tier_input, tier_output in zip(
            self.tier_tokens, self.tier_input_price_usd_per_mtok, self.tier_output_price_usd_per_mtok, strict=True
        ):
            applies = input_tokens > length
            if not applies.any():
                break
            input_price = np.where(applies, tier_input, input_price)
            output_price = np.where(applies, tier_output, output_price)
        return input_price, output_price


def columns_of(cards: Sequence[Card]) -> Columns:
    """The columns of `cards`, in the order of `cards`."""

    def column(fact: Callable[[Card], float | None]) -> Column:
        return _array(fact(card) for card in cards)

    tiers = [card.price.tiers if card.price else () for card in cards]
    # As many rows as the card with most tiers has: none in a catalogue without tiers.
    rows = range(max(map(len, tiers), default=0))

    def tier_rows(fact: Callable[[int, Rates], float], missing: float) -> Column:
        table = [[fact(*of_card[row]) if row < len(of_card) else missing for of_card in tiers] for row in rows]
        return np.array(table, dtype=np.float64).reshape(len(rows), len(cards))

    prices = [forecast_price(card) for card in cards]
    return Columns(
        size_parameters=column(lambda card: card.size.total if card.size else None),
        active_parameters=column(lambda card: card.size.active if card.size else None),
        context_tokens=column(lambda card: card.context_tokens),
        max_output_tokens=column(lambda card: card.max_output_tokens),
        input_price_usd_per_mtok=_array(price.input_usd if price else None for price in prices),
        output_price_usd_per_mtok=_array(price.output_usd if price else None for price in prices),
        usual_price_usd_per_mtok=column(usual_price_usd_per_mtok),
        ttft_ms=column(lambda card: card.latency.ttft_ms if card.latency else None),
        tpot_ms=column(lambda card: card.latency.tpot_ms if card.latency else None),
        thinking_tokens=column(lambda card: card.thinking_tokens),
        released_day=column(lambda card: card.released.toordinal() if card.released else None),
        exposure=column(lambda card: PRIVACY_EXPOSURE[card.privacy] if card.privacy else None),
        tier_tokens=tier_rows(lambda length, _: length, np.inf),
        tier_input_price_usd_per_mtok=tier_rows(lambda _, rates: rates.input_usd, np.nan),
        tier_output_price_usd_per_mtok=tier_rows(lambda _, rates: rates.output_usd, np.nan),
    )


def _array(values: Iterable[float | None]) -> Column:
    return np.array([np.nan if value is None else float(value) for value in values], dtype=np.float64)
