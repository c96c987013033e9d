"""A model's facts in the form in which they are evidence: plain numbers, benchmarks as shares of their scales.

Training and forecasting read the same facts by the same function, so a card means the same to both.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from router.cards.benchmarks import share_of_scale
from router.cards.schema import Benchmark, Card, Price
from router.formats.quantities import Size


class ModelFacts(Struct, frozen=True):
    """What is published about one model. None means that the fact is not known.

    `benchmarks` are shares in [0, 1] of the scales of `router.cards.benchmarks`. `price_usd_per_mtok` is the
    dearer of input and output. `base` is the model or adapter base that this one was tuned from.
    """

    name: str
    family: str | None = None
    base: str | None = None
    weights: Literal["open", "closed"] | None = None
    total_parameters: float | None = None
    active_parameters: float | None = None
    released: datetime.date | None = None
    price_usd_per_mtok: float | None = None
    benchmarks: Mapping[str, float] = {}


def facts_of(card: Card) -> ModelFacts:
    """The facts that a card states."""
    parents = card.lineage.parents if card.lineage else ()
    return plain_facts(
        card.id,
        family=card.family,
        base=card.base or (parents[0] if parents else None),
        weights=card.weights,
        size=card.size,
        released=card.released,
        price=card.price,
        benchmarks=card.benchmarks,
    )


def plain_facts(
    name: str,
    *,
    family: str | None,
    base: str | None,
    weights: Literal["open", "closed"] | None,
    size: Size | None,
    released: datetime.date | None,
    price: Price | None,
    benchmarks: Mapping[str, Benchmark],
) -> ModelFacts:
    """The facts as plain numbers; benchmarks that are no evidence are left out.

    Raises ValueError for a score that is not on its benchmark's scale.
    """
    shares = {each: share_of_scale(each, benchmark.score) for each, benchmark in benchmarks.items()}
    # Nothing is known of ability from a price of nothing: it is what one's own server charges.
    dearer = max(price.input_usd, price.output_usd) if price else 0.0
    return ModelFacts(
        name=name,
        family=family,
        base=base,
        weights=weights,
        total_parameters=size.total if size else None,
        active_parameters=size.active if size else None,
        released=released,
        price_usd_per_mtok=float(dearer) or None,
        benchmarks={each: share for each, share in shares.items() if share is not None},
    )
