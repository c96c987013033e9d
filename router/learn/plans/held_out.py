"""Committees by the gate that is shipped, carried out as at run time, for members and prompts that it never saw."""

from __future__ import annotations

import numpy as np

from router.compose.learned import GateWeights, Rule
from router.compose.learned.rule import gains, leading, rights
from router.learn.plans.committee import PlanOutcomes
from router.learn.plans.pooled_gate import Answered, fit_weights
from router.types import Doubles, Indices

_MOST_PROMPTS = 1_000
_SEED = 0


class HeldOutCommittees:
    """Runs committees over the answers of a set; every gate is fitted without the members and the prompts of its test.

    Where no two other models are left, only the prompts are left out.
    """

    def __init__(self, data: Answered, cost_usd: Doubles, folds: Indices, quality_per_usd: Doubles) -> None:
        """`cost_usd` `(prompts, models)`; `quality_per_usd` `(prices,)` are the prices of money λ."""
        self._data, self._cost, self._folds = data, cost_usd, folds
        self.quality_per_usd = quality_per_usd
        self._weights: dict[tuple[int, frozenset[int]], GateWeights] = {}

    def run(self, members: tuple[int, ...]) -> PlanOutcomes:
        """The outcomes of asking `members` (columns) in this order."""
        shape = len(self._folds), len(self.quality_per_usd)
        quality, cost, calls = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        for fold in np.unique(self._folds):
            weights = self.weights(int(fold), members)
            kinds = np.array(self._data.kinds)
            for kind in np.unique(kinds[self._folds == fold]):
                rows = np.flatnonzero((self._folds == fold) & (kinds == kind))
                rule = weights.of_kind(str(kind))
                quality[rows], cost[rows], calls[rows] = self._asked(rule, rows, members, int(fold))
        return PlanOutcomes(members, quality, cost, calls)

    def rights(self, members: tuple[int, ...], *, unseen: bool) -> Doubles:
        """P(right) of each member's answer given all of them, `(prompts, members)`.

        `unseen`: the gate was fitted without these members, and not only without the prompts.
        """
        result = np.zeros((len(self._folds), len(members)))
        for fold in np.unique(self._folds):
            rows = np.flatnonzero(self._folds == fold)
            seen = self._data.members(rows, np.tile(members, (len(rows), 1))).observed
            result[rows] = rights(self.weights(int(fold), members if unseen else ()).general, seen)
        return result

    def weights(self, fold: int, members: tuple[int, ...]) -> GateWeights:
        """The gate without the prompts of a fold and without these models."""
        key = fold, frozenset(members)
        if key not in self._weights:
            others = np.array([each for each in range(self._data.scores.shape[1]) if each not in key[1]])
            models = others if len(others) > 1 else np.arange(self._data.scores.shape[1])
            rows = np.flatnonzero(self._folds != fold)
            some = np.random.default_rng(_SEED).permutation(rows)[:_MOST_PROMPTS]
            self._weights[key] = fit_weights([(self._data, some)], [models])
        return self._weights[key]

    def _asked(
        self, rule: Rule, rows: Indices, members: tuple[int, ...], fold: int
    ) -> tuple[Doubles, Doubles, Doubles]:
        """Quality, cost and number of calls on `rows` at every price, `(rows, prices)`."""
        data = self._data.members(rows, np.tile(members, (len(rows), 1)))
        expected_usd = self._cost[self._folds != fold].mean(axis=0)
        asks = np.ones((len(rows), len(self.quality_per_usd)), dtype=np.bool_)
        quality, cost, calls = np.zeros(asks.shape), np.zeros(asks.shape), np.zeros(asks.shape)
        for count, member in enumerate(members, start=1):
            seen = data.observed.first(count)
            right = rights(rule, seen)
            best = leading(seen, right)
            delivered = data.scores[np.arange(len(rows)), best.member]
            quality = np.where(asks, delivered[:, None], quality)
            cost += asks * self._cost[rows, member][:, None]
            calls += asks
            if count < len(members):
                gain = gains(rule, seen, right, data.observed.prior[:, count])
                asks &= gain[:, None] > self.quality_per_usd * expected_usd[members[count]]
        return quality, cost, calls
