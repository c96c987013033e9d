"""What running a plan needs to know beside the request, and whether a request can be answered by a plan at all."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from msgspec import Struct

from router.cards.catalog import Catalog
from router.decide.plans.possible import impossible
from router.decide.plans.spec import Caps, PlanSpec
from router.dispatch import Call
from router.types import Doubles, Features, Forecast, known
from router.wire.reading.indivisible import indivisible_in
from router.wire.reading.needs import modalities_of, needs_of

_NONE: Mapping[str, float] = {}
_NO_VECTOR = np.zeros(0, dtype=np.float32)
Scores = Callable[[Mapping[str, Any]], Mapping[str, float]]
"""By card, a number for a chat body."""


class Forecasts(Struct, frozen=True):
    """What is forecast of cards on this request, by card: quality, cost in US dollars, and the tokens of an answer.

    `usual_quality` is the mean over the catalogue.
    """

    quality: Mapping[str, float] = _NONE
    cost_usd: Mapping[str, float] = _NONE
    written_tokens: Mapping[str, float] = _NONE
    usual_quality: float = 0.5

    @classmethod
    def of(cls, catalog: Catalog, forecast: Forecast) -> Forecasts:
        """The known forecasts of the cards of `catalog`."""
        quality = _by_card(catalog, forecast.quality)
        usual = sum(quality.values()) / len(quality) if quality else 0.5
        cost_usd, written = _by_card(catalog, forecast.cost_usd), _by_card(catalog, forecast.written_tokens)
        return cls(quality, cost_usd, written, usual)


def _by_card(catalog: Catalog, values: Doubles) -> dict[str, float]:
    stated = ((card, known(value)) for card, value in zip(catalog.ids, values, strict=True))
    return {card: value for card, value in stated if value is not None}


class Brief(Struct, frozen=True, eq=False):
    """The plan's file, what is forecast, and what the operator allows at most (`caps`).

    `request_id` seeds what must not depend on the members, such as their order. `scores` are those of the cards that
    may answer a chat body of its own, the lower the better; `qualities` what is forecast of them for it.
    """

    spec: PlanSpec
    forecasts: Forecasts = Forecasts()
    caps: Caps = Caps()
    request_id: str = ""
    scores: Scores | None = None
    qualities: Scores | None = None

    @property
    def limits(self) -> Caps:
        """The caps of the plan, as far as the operator allows them."""
        return limits_of(self.spec, self.caps)

    def seeded(self) -> random.Random:
        """A source of numbers that is the same whenever this request is run again."""
        return random.Random(self.request_id)


def limits_of(spec: PlanSpec, most: Caps) -> Caps:
    """The caps of a plan, as far as the operator's `most` allow them."""
    own = spec.caps
    return Caps(
        calls=min(own.calls, most.calls),
        parallel=min(own.parallel, most.parallel),
        usd=_least(own.usd, most.usd),
        seconds=_least(own.seconds, most.seconds),
    )


def unfit_reason(spec: PlanSpec, call: Call) -> str:
    """Why a plan of this kind cannot answer the request, whatever was decided; empty where it can."""
    if call.affinity.binds:
        return "the request refers to what only one server has"
    needs, modalities = needs_of(call.body), modalities_of(call.body)
    return impossible(spec, Features(_NO_VECTOR, 0, modalities, needs, indivisible=indivisible_in(call.body)))


def _least(first: float | None, second: float | None) -> float | None:
    stated = [value for value in (first, second) if value is not None]
    return min(stated) if stated else None


def mark_of(request_id: str, texts: Sequence[str]) -> str:
    """A mark that none of `texts` contains, and that nobody can know before the request."""
    mark = request_id
    while True:
        mark = hashlib.sha256("\0".join((mark, *texts)).encode("utf-8", "surrogatepass")).hexdigest()[:16]
        if not any(mark in text for text in texts):
            return f"=== {mark}"
