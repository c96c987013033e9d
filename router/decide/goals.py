"""Soft goals: each goal gives every card a cost in [0, 1], normalised over the whole catalogue.

Normalising over the whole catalogue, not over the cards that pass the limits, means that a limit never reorders the
remaining cards. Quantities that span orders of magnitude (size, cost, time) are compared by `log(1 + x / smallest)`. A
card whose quantity is unknown gets the worst cost, 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from router.decide.fields import DecisionInputs
from router.types import Doubles

LOSS = "loss"
"""The part of a score that is one minus forecast quality; its weight is 1 plus that of the goal `best`."""


def scaled(values: Doubles, *, logarithmic: bool) -> Doubles:
    """Map the known `values` linearly to [0, 1]: smallest 0, largest 1, all equal 0. Unknown values (NaN) become 1."""
    if logarithmic:
        positive = values[values > 0]
        if positive.size:
            values = np.log1p(values / positive.min())
    smallest, largest = np.fmin.reduce(values, initial=np.inf), np.fmax.reduce(values, initial=-np.inf)
    width = largest - smallest if largest > smallest else 1.0
    return _worst_where_unknown(((values - smallest) / width).round(9))


def loss_of(quality: Doubles) -> Doubles:
    """One minus quality; 1 where the quality is unknown."""
    return _worst_where_unknown(1.0 - quality)


def _worst_where_unknown(cost: Doubles) -> Doubles:
    # `fmin` ignores NaN.
    return np.fmin(cost, 1.0)


GOALS: Mapping[str, Callable[[DecisionInputs], Doubles]] = {
    "best": lambda inputs: loss_of(inputs.forecast.quality),
    "smallest": lambda inputs: scaled(inputs.catalog.columns.size_parameters, logarithmic=True),
    "cheapest": lambda inputs: scaled(inputs.forecast.cost_usd, logarithmic=True),
    "fastest": lambda inputs: scaled(inputs.forecast.latency_ms, logarithmic=True),
    "newest": lambda inputs: scaled(-inputs.catalog.columns.released_day, logarithmic=False),
    "private": lambda inputs: _worst_where_unknown(inputs.catalog.columns.exposure),
    "concise": lambda inputs: scaled(inputs.forecast.output_tokens, logarithmic=True),
}
"""The cost of every card for each goal, of shape `(cards,)`."""


def loss_weight(weights: Mapping[str, float]) -> float:
    """The weight of the loss in a score."""
    return 1.0 + weights.get("best", 0.0)


def parts_of(inputs: DecisionInputs, weights: Mapping[str, float]) -> dict[str, Doubles]:
    """The parts of every card's score: the weighted loss, then for each goal its weight times its cost."""
    parts = {LOSS: GOALS["best"](inputs) * loss_weight(weights)}
    for goal, weight in weights.items():
        if goal != "best" and weight:
            parts[goal] = weight * GOALS[goal](inputs)
    return parts
