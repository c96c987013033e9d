"""The catalogue's numeric facts as arrays with one entry per card, so that limits and goals evaluate all cards at once.

The order is the catalogue's. NaN is a fact that the card does not state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import cast

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from router.cards.schema import Card
from router.cards.usual_price import forecast_price, usual_price_usd_per_mtok

Column = NDArray[np.float64]

PRIVACY_EXPOSURE = {"local": 0.0, "private": 0.5, "public": 1.0}
"""The cost of the goal `private`, in [0, 1], for each value of `privacy`."""


class Columns(Struct, frozen=True, eq=False):
    """Arrays of shape `(cards,)`; their names state the units.

    `ttft_ms` is the time to the first token, `tpot_ms` the time per token after it, `released_day` the proleptic
    ordinal of the release date, `exposure` the privacy cost in [0, 1]. `usual_price_usd_per_mtok` is what hosts usually
    charge for a model of the card's size, input and output alike.
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
    released_day: Column
    exposure: Column

    @property
    def price_usd_per_mtok(self) -> Column:
        """The higher of the prices of input and output."""
        return cast("Column", np.maximum(self.input_price_usd_per_mtok, self.output_price_usd_per_mtok))


def columns_of(cards: Sequence[Card]) -> Columns:
    """The columns of `cards`, in the order of `cards`."""

    def column(fact: Callable[[Card], float | None]) -> Column:
        return _array(fact(card) for card in cards)

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
        released_day=column(lambda card: card.released.toordinal() if card.released else None),
        exposure=column(lambda card: PRIVACY_EXPOSURE[card.privacy] if card.privacy else None),
    )


def _array(values: Iterable[float | None]) -> Column:
    return np.array([np.nan if value is None else float(value) for value in values], dtype=np.float64)
