"""Soft goals: each goal gives every card a cost in [0, 1], normalised over the whole catalogue.

Normalising over the whole catalogue, not over the cards that pass the limits, means that a limit never reorders the
remaining cards. Quantities that span orders of magnitude (size, cost, time) are compared by `log(1 + x / smallest)`.

A card whose size, release date, privacy or quality is unknown gets the worst cost, 1. An unknown price is no reason to
count as the dearest, nor an unknown latency as the slowest: the cost of such a request counts as what hosts usually
charge for the card's size, the latency (and the cost where the size is unknown too) as the middle of the scale. These
scales are made by the known values alone, so a card of which little is known never moves another one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from router.decide.fields import DecisionInputs, once
from router.formats.units import show_parameters, show_request_cost
from router.perceive import kernel
from router.types import Doubles

LOSS = "loss"
"""The part of a score that is one minus forecast quality; its weight is 1 plus that of the goal `best`."""

COST = "cost"
"""The part of a score that is the cost of the request as a share of what a wrong answer costs."""

LOAD = "load"
"""The goal that avoids busy servers; what it weighs is known to a running gateway alone."""

_UNKNOWN_USD_PER_MTOK = 2.0
"""What a card is assumed to charge of which neither the price nor the size is known."""

MIDDLE = 0.5
"""The cost of what is unknown and cannot be assumed."""

_ALMOST_FREE = 1e-12
_MIDDLE_IN_WORDS = "the middle between the least and the greatest of the catalogue"


def scaled(
    values: Doubles, *, logarithmic: bool, usual: Callable[[], Doubles] | None = None, unknown: float = 1.0
) -> Doubles:
    """Map the known `values` linearly to [0, 1]: smallest 0, largest 1, all equal 0.

    An unknown value (NaN) counts as the card's `usual` value, within the scale of the known ones; where that is unknown
    too, as `unknown`.
    """
    is_unknown = np.isnan(values)
    if usual is None or not np.count_nonzero(is_unknown):
        shares = _shares(values, values, logarithmic)
    else:
        counted = np.where(is_unknown, usual(), values)
        # Without any known value, the usual ones make the scale.
        shares = _shares(counted, counted if is_unknown.all() else values, logarithmic)
        shares = np.minimum(np.maximum(shares, 0.0), 1.0)
    shares[np.isnan(shares)] = unknown
    return shares


def _shares(values: Doubles, scale: Doubles, logarithmic: bool) -> Doubles:
    """The places of `values` between the smallest (0) and the largest (1) of `scale`, to nine decimals."""
    if logarithmic:
        positive = scale[scale > 0]
        # Among free cards, any price is far from theirs, whatever the other unknown ones are.
        smallest_positive = positive.min() if positive.size else _ALMOST_FREE
        logarithms = np.log1p(values / smallest_positive)
        values, scale = logarithms, logarithms if scale is values else np.log1p(scale / smallest_positive)
    smallest, largest = np.fmin.reduce(scale, initial=np.inf), np.fmax.reduce(scale, initial=-np.inf)
    width = largest - smallest if largest > smallest else 1.0
    shares: Doubles = ((values - smallest) / width).round(9)
    return shares


class Scale(NamedTuple):
    """The logarithmic scale of a goal, made by the cards: a plan's place on it may be above 1.

    `unit` is the smallest positive value of a card, `least` and `width` are logarithms.
    """

    unit: float
    least: float
    width: float

    def place(self, value: float) -> float:
        """Where a value is; 0 is the least of the cards, 1 the greatest."""
        return round((math.log1p(value / self.unit) - self.least) / self.width, 9)

    def slope(self, value: float) -> float:
        """How much the place rises for each unit of the value."""
        return 1.0 / ((self.unit + value) * self.width)


def scale_of(values: Doubles) -> Scale:
    """The scale that the known `values` of the cards make, as `scaled` does."""
    known = values[~np.isnan(values)]
    positive = known[known > 0]
    unit = float(positive.min()) if positive.size else _ALMOST_FREE
    logarithms = np.log1p(known / unit)
    least, greatest = (float(logarithms.min()), float(logarithms.max())) if known.size else (0.0, 0.0)
    return Scale(unit, least, greatest - least if greatest > least else 1.0)


def surely_counted_cost_usd(inputs: DecisionInputs) -> Doubles:
    """`counted_cost_usd`, and where that is unknown the cost at a usual price of all models."""
    if not np.count_nonzero(np.isnan(inputs.forecast.cost_usd)):
        return inputs.forecast.cost_usd
    tokens = inputs.input_tokens + inputs.forecast.written_tokens
    cost_usd = counted_cost_usd(inputs)
    return np.where(np.isnan(cost_usd), tokens * (_UNKNOWN_USD_PER_MTOK / 1e6), cost_usd)


def counted_cost_usd(inputs: DecisionInputs) -> Doubles:
    """The forecast cost; where it is unknown, that at the usual price for the card's size; else NaN."""
    return np.where(np.isnan(inputs.forecast.cost_usd), _usual_cost_usd(inputs), inputs.forecast.cost_usd)


def _usual_cost_usd(inputs: DecisionInputs) -> Doubles:
    tokens = inputs.input_tokens + inputs.forecast.written_tokens
    return tokens * inputs.catalog.columns.usual_price_usd_per_mtok / 1e6


def assumptions(inputs: DecisionInputs, parts: Mapping[str, Doubles], card: int) -> tuple[str, ...]:
    """What the score of the card at this position assumes about a cost or latency that is unknown."""
    sentences = []
    if ("cheapest" in parts or COST in parts) and math.isnan(inputs.forecast.cost_usd.item(card)):
        size, cost_usd = inputs.catalog.columns.size_parameters[card], counted_cost_usd(inputs)[card]
        counted = f"{show_request_cost(cost_usd)}, usual for {show_parameters(size)}"
        if np.isnan(cost_usd):
            counted = f"that of {_UNKNOWN_USD_PER_MTOK:g}$ per million tokens" if COST in parts else _MIDDLE_IN_WORDS
        sentences.append(f"cost unknown; counted as {counted}")
    if "fastest" in parts and math.isnan(inputs.forecast.latency_ms.item(card)):
        sentences.append(f"latency unknown; counted as {_MIDDLE_IN_WORDS}")
    return tuple(sentences)


def loss_of(quality: Doubles) -> Doubles:
    """One minus quality; 1 where the quality is unknown."""
    return _worst_where_unknown(1.0 - quality)


def _worst_where_unknown(cost: Doubles) -> Doubles:
    # `fmin` ignores NaN.
    return np.fmin(cost, 1.0)


def _load(inputs: DecisionInputs) -> Doubles:
    """How busy the servers of the cards are; 0 where that is not known."""
    load: Doubles = np.zeros(len(inputs.catalog))
    for host, share in inputs.load.items():
        if host in inputs.catalog.hosts:
            load[inputs.catalog.hosts[host]] = min(max(share, 0.0), 1.0)
    return load


GOALS: Mapping[str, Callable[[DecisionInputs], Doubles]] = {
    "best": lambda inputs: loss_of(inputs.forecast.choice_quality),
    "smallest": lambda inputs: once(
        inputs.catalog, "smallest", lambda: scaled(inputs.catalog.columns.size_parameters, logarithmic=True)
    ),
    "cheapest": lambda inputs: scaled(
        inputs.forecast.cost_usd, logarithmic=True, usual=lambda: _usual_cost_usd(inputs), unknown=MIDDLE
    ),
    "fastest": lambda inputs: scaled(inputs.forecast.latency_ms, logarithmic=True, unknown=MIDDLE),
    "newest": lambda inputs: once(
        inputs.catalog, "newest", lambda: scaled(-inputs.catalog.columns.released_day, logarithmic=False)
    ),
    "private": lambda inputs: once(
        inputs.catalog, "private", lambda: _worst_where_unknown(inputs.catalog.columns.exposure)
    ),
    "concise": lambda inputs: scaled(inputs.forecast.output_tokens, logarithmic=True),
    # Not on a scale of the catalogue: where all servers are idle, none is the busiest.
    LOAD: _load,
}
"""The cost of every card for each goal, of shape `(cards,)`."""


def loss_weight(weights: Mapping[str, float]) -> float:
    """The weight of the loss in a score."""
    return 1.0 + weights.get("best", 0.0)


def cost_of_mistakes(inputs: DecisionInputs, mistake_usd: float) -> Doubles:
    """The cost of the request in units of a wrong answer's cost, with which it can be added to the loss."""
    shares: Doubles = (surely_counted_cost_usd(inputs) / mistake_usd).round(9)
    return shares


def parts_of(
    inputs: DecisionInputs, weights: Mapping[str, float], mistake_usd: float | None = None
) -> dict[str, Doubles]:
    """The parts of every card's score: the weighted loss, the cost where the policy states that of a wrong answer, then
    for each goal its weight times its cost.
    """
    parts = None if mistake_usd is None else _compiled_parts(inputs, loss_weight(weights), mistake_usd)
    if parts is None:
        parts = {LOSS: GOALS["best"](inputs) * loss_weight(weights)}
        if mistake_usd is not None:
            parts[COST] = cost_of_mistakes(inputs, mistake_usd)
    return parts | goal_parts(inputs, weights)


def goal_parts(inputs: DecisionInputs, weights: Mapping[str, float]) -> dict[str, Doubles]:
    """The weight times the cost of each goal but that of the loss."""
    return {goal: weight * GOALS[goal](inputs) for goal, weight in weights.items() if goal != "best" and weight}


def _compiled_parts(inputs: DecisionInputs, weight: float, mistake_usd: float) -> dict[str, Doubles] | None:
    """Loss and cost by the compiled kernel; None where there is none, or where a cost is unknown."""
    extension, quality = kernel.extension(), inputs.forecast.choice_quality
    if extension is None:
        return None
    out = np.empty((2, len(quality)))
    if not extension.loss_and_cost(quality, inputs.forecast.cost_usd, weight, mistake_usd, out):
        return None
    return {LOSS: out[0], COST: out[1]}
