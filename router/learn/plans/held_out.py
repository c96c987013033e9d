"""Committees by the gate that is shipped, carried out as at run time, for members and prompts that it never saw."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from router.compose.learned import GateWeights, Observed, Rule
from router.compose.learned.members import MembersRule, gains_of_members, rights_of_members
from router.compose.learned.rule import gains, leading, rights
from router.learn.plans.committee import PlanOutcomes
from router.learn.plans.members_gate import fit_members
from router.learn.plans.pooled_gate import Answered, fit_weights
from router.types import Doubles, Indices

_MOST_PROMPTS = 1_000
_SEED = 0


class Judge(NamedTuple):
    """What a gate says of answers: P(right) of each, and the gains of one more, two more … members."""

    rights: Callable[[Observed], Doubles]
    gains: Callable[[Observed, Doubles, Doubles], Doubles]


def _of_all(rule: Rule) -> Judge:
    def gain(seen: Observed, right: Doubles, priors_of_later: Doubles) -> Doubles:
        return gains(rule, seen, right, priors_of_later[:, 0])[:, None]

    return Judge(functools.partial(rights, rule), gain)


def _of_members(rule: MembersRule) -> Judge:
    return Judge(functools.partial(rights_of_members, rule), functools.partial(gains_of_members, rule))


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
        return self.outcomes(members, lambda fold, kind: _of_all(self.weights(fold, members).of_kind(kind)))

    def outcomes(self, members: tuple[int, ...], judge_of: Callable[[int, str], Judge]) -> PlanOutcomes:
        """The outcomes by the gate that `judge_of` gives for the prompts of a fold with a kind of answers."""
        shape = len(self._folds), len(self.quality_per_usd)
        quality, cost, calls = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        kinds = np.array(self._data.kinds)
        for fold in np.unique(self._folds):
            for kind in np.unique(kinds[self._folds == fold]):
                rows = np.flatnonzero((self._folds == fold) & (kinds == kind))
                judge = judge_of(int(fold), str(kind))
                quality[rows], cost[rows], calls[rows] = self._asked(judge, rows, members, int(fold))
        return PlanOutcomes(members, quality, cost, calls)

    def others(self, fold: int, members: tuple[int, ...], most_prompts: int | None) -> Answered:
        """The answers of members to the prompts of other folds."""
        rows = np.flatnonzero(self._folds != fold)
        if most_prompts is not None:
            rows = np.random.default_rng(_SEED).permutation(rows)[:most_prompts]
        return self._data.members(rows, np.tile(members, (len(rows), 1)))

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
        self, judge: Judge, rows: Indices, members: tuple[int, ...], fold: int
    ) -> tuple[Doubles, Doubles, Doubles]:
        """Quality, cost and number of calls on `rows` at every price, `(rows, prices)`."""
        data = self._data.members(rows, np.tile(members, (len(rows), 1)))
        expected_usd = self._cost[self._folds != fold].mean(axis=0)
        asks = np.ones((len(rows), len(self.quality_per_usd)), dtype=np.bool_)
        quality, cost, calls = np.zeros(asks.shape), np.zeros(asks.shape), np.zeros(asks.shape)
        for count, member in enumerate(members, start=1):
            seen = data.observed.first(count)
            right = judge.rights(seen)
            best = leading(seen, right)
            delivered = data.scores[np.arange(len(rows)), best.member]
            quality = np.where(asks, delivered[:, None], quality)
            cost += asks * self._cost[rows, member][:, None]
            calls += asks
            if count < len(members):
                gain = judge.gains(seen, right, data.observed.prior[:, count:])
                spent = np.cumsum(expected_usd[list(members[count:])])[: gain.shape[1]]
                asks &= (gain[:, None, :] > self.quality_per_usd[:, None] * spent).any(axis=2)
        return quality, cost, calls


class OwnCommittees:
    """The same with the gate that `route train --plans` fits to a plan that names its members.

    It is fitted to these members' answers to the prompts of other folds, near a gate that never saw the members.
    """

    def __init__(self, of_all: HeldOutCommittees, most_prompts: int | None = None) -> None:
        """`most_prompts` are those fitted to at most."""
        self._of_all, self._most_prompts = of_all, most_prompts

    def run(self, members: tuple[int, ...]) -> PlanOutcomes:
        """The outcomes of asking `members` (columns) in this order."""
        return self._of_all.outcomes(members, lambda fold, _: _of_members(self.rule(fold, members)))

    def rule(self, fold: int, members: tuple[int, ...]) -> MembersRule:
        """The gate of these members without the prompts of a fold."""
        some = self._of_all.others(fold, members, self._most_prompts)
        return fit_members(some, [str(each) for each in members], self._of_all.weights(fold, members).general)
