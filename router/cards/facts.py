"""The facts about a model that the predictor uses: plain numbers, benchmark scores mapped to [0, 1].

Training and forecasting use the same functions, so that a card means the same to both.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from router.cards.benchmarks import share_of_scale
from router.cards.price import Price
from router.cards.schema import Benchmark, Card
from router.formats.quantities import Size


class ModelFacts(Struct, frozen=True):
    """Published facts about one model; None where a fact is unknown.

    `benchmarks` are scores mapped to [0, 1] (see `router.cards.benchmarks`). `price_usd_per_mtok` is the higher of the
    prices of input and output. `base` is the model from which this one was fine-tuned.
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
    """The facts as plain numbers, without the benchmarks that are not listed in `router.cards.benchmarks`.

    Raises ValueError for a score outside its benchmark's scale.
    """
    shares = {benchmark: share_of_scale(benchmark, stated.score) for benchmark, stated in benchmarks.items()}
    # A price of zero is that of a self-hosted model and says nothing about ability.
    price_usd = max(price.input_usd, price.output_usd) if price else 0.0
    return ModelFacts(
        name=name,
        family=family,
        base=base,
        weights=weights,
        total_parameters=size.total if size else None,
        active_parameters=size.active if size else None,
        released=released,
        price_usd_per_mtok=float(price_usd) or None,
        benchmarks={benchmark: share for benchmark, share in shares.items() if share is not None},
    )
