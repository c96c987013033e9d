"""Soft goals: each gives every card a cost in [0, 1], normalised over the whole catalogue.

Normalising over the catalogue, not over the cards that are left, means that a filter never reorders the rest.
Quantities that span orders of magnitude (size, cost, time) are compared by `log(1 + x / smallest)`. A card
whose fact is unknown gets the worst cost, 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from router.decide.fields import DecisionInputs
from router.types import Doubles

LOSS = "loss"
"""The part of a score that is one minus forecast quality; its weight is 1 plus that of the goal `best`."""


def scaled(values: Doubles, *, logarithmic: bool) -> Doubles:
    """`values` mapped to [0, 1] over all that are known: least 0, greatest 1; unknown 1; all equal 0."""
    if logarithmic:
        positive = values[values > 0]
        if positive.size:
            values = np.log1p(values / positive.min())
    least, greatest = np.fmin.reduce(values, initial=np.inf), np.fmax.reduce(values, initial=-np.inf)
    width = greatest - least if greatest > least else 1.0
    return _worst_where_unknown(((values - least) / width).round(9))


def loss_of(quality: Doubles) -> Doubles:
    """One minus quality; 1 where that is unknown."""
    return _worst_where_unknown(1.0 - quality)


def _worst_where_unknown(cost: Doubles) -> Doubles:
    # Of a number and NaN this takes the number.
    return np.fmin(cost, 1.0)


GOALS: Mapping[str, Callable[[DecisionInputs], Doubles]] = {
    "best": lambda sight: loss_of(sight.forecast.quality),
    "smallest": lambda sight: scaled(sight.catalog.columns.size_parameters, logarithmic=True),
    "cheapest": lambda sight: scaled(sight.forecast.cost_usd, logarithmic=True),
    "fastest": lambda sight: scaled(sight.forecast.latency_ms, logarithmic=True),
    "newest": lambda sight: scaled(-sight.catalog.columns.released_day, logarithmic=False),
    "private": lambda sight: _worst_where_unknown(sight.catalog.columns.exposure),
    "concise": lambda sight: scaled(sight.forecast.output_tokens, logarithmic=True),
}


def loss_weight(weights: Mapping[str, float]) -> float:
    """The weight of the loss in a score."""
    return 1.0 + weights.get("best", 0.0)


def parts_of(sight: DecisionInputs, weights: Mapping[str, float]) -> dict[str, Doubles]:
    """The parts of every card's score: the loss, then each goal's weight times its cost."""
    parts = {LOSS: GOALS["best"](sight) * loss_weight(weights)}
    for goal, weight in weights.items():
        if goal != "best" and weight:
            parts[goal] = weight * GOALS[goal](sight)
    return parts
