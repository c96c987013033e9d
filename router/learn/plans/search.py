"""The plans worth considering for a pool, and the choice between single models and plans."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Self

import numpy as np
from msgspec import Struct

from router.learn.data.answers import AnswerSet
from router.learn.plans.committee import Committees, PlanOutcomes
from router.learn.plans.out_of_fold import LinearOutOfFold
from router.types import Doubles, Floats, Indices

_ROUTING_PENALTY = 300.0
_PAIRS_PER_PRICE = 3
_PLANS_PER_PRICE = 3
# Advantages, in utility, for which the best choice on average is left on one prompt.
_ADVANTAGES = (0.0, 0.01, 0.02, 0.04, 0.08, 0.16)


class Choice(Struct, frozen=True, eq=False):
    """A way of choosing on every prompt: `quality`, `cost_usd` and `is_plan`, each float64 `(prompts,)`."""

    quality: Doubles
    cost_usd: Doubles
    is_plan: Doubles


def find_plans(committees: Committees, data: AnswerSet, pool: Sequence[int], rows: Indices) -> list[tuple[int, ...]]:
    """Committees of two and three members of `pool`, cheapest first, that are among the best on `rows` at some price.

    A pool of one has none.
    """
    ordered = sorted(pool, key=lambda model: (data.cost_usd[rows, model].mean(), model))
    found: list[tuple[int, ...]] = [*itertools.combinations(ordered, 2)]
    if not found:
        return []
    best = _best_at_each_price(committees, found, rows, _PAIRS_PER_PRICE)
    for pair, model in itertools.product(best, ordered):
        members = tuple(each for each in ordered if each in pair or each == model)
        if members not in found:
            found.append(members)
    return _best_at_each_price(committees, found, rows, _PLANS_PER_PRICE)


def _best_at_each_price(
    committees: Committees, members: Sequence[tuple[int, ...]], rows: Indices, count: int
) -> list[tuple[int, ...]]:
    plans = (committees.run(each) for each in members)
    prices = committees.quality_per_usd
    utility = np.stack([(plan.quality[rows] - prices * plan.cost_usd[rows]).mean(axis=0) for plan in plans])
    chosen = np.unique(np.argsort(-utility, axis=0, kind="stable")[:count])
    return [members[each] for each in chosen]


def routing_forecast(vectors: Floats, folds: Indices) -> LinearOutOfFold:
    """What `choices` forecasts utilities with. It is the same for all choices on a set, and takes longer than they."""
    return LinearOutOfFold(vectors.astype(np.float64), folds, _ROUTING_PENALTY)


def choices(
    data: AnswerSet,
    forecast: LinearOutOfFold,
    folds: Indices,
    pool: Sequence[int],
    quality_per_usd: Doubles,
    plans: Sequence[PlanOutcomes] = (),
) -> list[Choice]:
    """Constant models and plans, and routed choices among them at each price, plain and guarded.

    `forecast` is that of `routing_forecast` for these `folds`. A routed choice takes the best on average over the other
    folds, and leaves it where the forecast utility of another one is higher by more than an advantage.
    """
    rows = np.arange(len(data.scores))
    found = [Choice(data.scores[:, model], data.cost_usd[:, model], np.zeros(len(rows))) for model in pool]
    for position, price in enumerate(quality_per_usd):
        quality = np.stack(
            [*(data.scores[:, each] for each in pool), *(each.quality[:, position] for each in plans)], 1
        )
        cost = np.stack(
            [*(data.cost_usd[:, each] for each in pool), *(each.cost_usd[:, position] for each in plans)], 1
        )
        found += [Choice(each.quality[:, position], each.cost_usd[:, position], np.ones(len(rows))) for each in plans]
        utility = quality - price * cost
        expected = forecast(utility)
        default = np.empty(len(rows), dtype=np.intp)
        for fold in np.unique(folds):
            default[folds == fold] = utility[folds != fold].mean(axis=0).argmax()
        advantage = expected.max(axis=1) - expected[rows, default]
        for least in _ADVANTAGES:
            chosen = np.where(advantage > least, expected.argmax(axis=1), default)
            found.append(Choice(quality[rows, chosen], cost[rows, chosen], (chosen >= len(pool)).astype(np.float64)))
    return found


class Means(Struct, frozen=True, eq=False):
    """Choices with their mean `quality` and `cost_usd` on some rows."""

    choices: tuple[Choice, ...]
    quality: tuple[float, ...]
    cost_usd: tuple[float, ...]

    @classmethod
    def on(cls, rows: Indices, found: Sequence[Choice]) -> Self:
        """Those of the choices `found`."""
        quality = tuple(float(each.quality[rows].mean()) for each in found)
        return cls(tuple(found), quality, tuple(float(each.cost_usd[rows].mean()) for each in found))

    def best_within(self, budget_usd: float) -> Choice | None:
        """The choice with the highest mean quality whose mean cost is within the budget."""
        affordable = [number for number, usd in enumerate(self.cost_usd) if usd <= budget_usd]
        best = max(affordable, key=self.quality.__getitem__, default=None)
        return None if best is None else self.choices[best]

    def cheapest(self) -> Choice:
        """The choice with the lowest mean cost."""
        return self.choices[min(range(len(self.choices)), key=self.cost_usd.__getitem__)]


def confirmed(single: Choice, composed: Choice, rows: Indices, standard_errors: float) -> Choice:
    """`composed` where it is better than `single` on `rows` by more than so many standard errors, else `single`."""
    difference = composed.quality[rows] - single.quality[rows]
    error = difference.std() / np.sqrt(len(rows))
    return composed if difference.mean() > standard_errors * error else single
