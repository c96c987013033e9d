"""What a flag in a prompt may choose: no card above the one that answers without it.

A prompt contains text of others: a document, a web page, a tool's output. So its flags may make an answer cheaper,
smaller or more private, and never the opposite.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from msgspec import Struct

from router.cards.catalog import Catalog
from router.types import Doubles, Forecast, Mask


class Quantity(Struct, frozen=True):
    """A quantity in which no card may be above the chosen one.

    `values` has one entry per card, NaN where it is unknown. `grows`: an unknown value of the chosen card counts as
    larger than any known one; otherwise only cards without any (0), or whose value is unknown too, are not above it.
    """

    name: str
    values: Doubles
    grows: bool = False

    def above(self, chosen: int) -> Mask:
        """The cards above the chosen one. A card whose value is unknown is above one whose value is known."""
        limit = self.values[chosen]
        if np.isnan(limit):
            return np.zeros(len(self.values), dtype=bool) if self.grows else self.values > 0
        is_above: Mask = ~(self.values <= limit)
        return is_above


def cards_above(catalog: Catalog, forecast: Forecast, input_tokens: int, card: str) -> Mapping[str, str]:
    """The ids of the cards that a flag in the prompt may not choose where `card` answers without it, with the reason.

    `input_tokens` is the length of the prompt, on which prices may depend.
    """
    columns = catalog.columns
    at_length = columns.prices_usd_per_mtok(input_tokens)
    quantities = (
        Quantity("price of input", columns.input_price_usd_per_mtok),
        Quantity("price of output", columns.output_price_usd_per_mtok),
        Quantity("price of input", at_length[0]),
        Quantity("price of output", at_length[1]),
        Quantity("cost", forecast.cost_usd),
        Quantity("size", columns.size_parameters, grows=True),
        Quantity("exposure (privacy)", columns.exposure),
    )
    chosen = catalog.ids.index(card)
    reasons: dict[str, str] = {}
    for quantity in quantities:
        for position in np.flatnonzero(quantity.above(chosen)):
            reason = f"{quantity.name} above that of {card}, which answers without the flag in the prompt"
            reasons.setdefault(catalog.ids[position], reason)
    return reasons
