"""A sequential committee: the cheapest member answers; the next is asked only where the expected gain is worth its price.

The answers are joined by a vote with learned weights. Where to stop is learned by backward induction: from the last
member to the first, the gain of asking on (what the rest of the plan adds, less `price · λ`) is regressed out of fold
on what is known at that moment. See `docs/composition.md`; sources: Dekoninck et al., "A Unified Approach to Routing
and Cascading for LLMs" (2024); Gupta et al., "Language Model Cascades" (ICLR 2024).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from router.learn.data.answers import NO_ANSWER, AnswerSet
from router.learn.plans.answer_gate import Gate, readable_answers
from router.learn.plans.out_of_fold import LinearOutOfFold, logit
from router.types import Doubles, Indices

_STOP_PENALTY = 20.0
_LEAST_VOTE = 0.05
_USUAL_CHOICES = 10


class PlanOutcomes(Struct, frozen=True, eq=False):
    """What a plan achieves at each price of money: float64 `(prompts, prices)`.

    `quality` is the score of the delivered answer, `cost_usd` what all calls cost, `calls` how many there were.
    """

    members: tuple[int, ...]
    quality: Doubles
    cost_usd: Doubles
    calls: Doubles


class _Joined(Struct, frozen=True, eq=False):
    """The vote of the members asked so far. `winner`, `runner_up`: summed weights `(prompts,)`."""

    score: Doubles
    winner: Doubles
    runner_up: Doubles


class Committees:
    """Runs committees over the answers of a set."""

    def __init__(self, data: AnswerSet, gate: Gate, folds: Indices, quality_per_usd: Doubles) -> None:
        """`quality_per_usd` `(prices,)` are the prices of money λ for which each plan's rule to stop is learned."""
        self._data, self._gate, self._folds = data, gate, folds
        self.quality_per_usd = quality_per_usd
        self._answers = readable_answers(data)
        self._prior = logit(gate.prior, 0.03)
        self._posterior = logit(gate.posterior)
        choices = max(2, min(_USUAL_CHOICES, int(self._answers.max()) + 1))
        votes = np.maximum(_LEAST_VOTE, self._posterior + np.log(choices - 1))
        self._votes = votes * (self._answers != NO_ANSWER)

    def run(self, members: Sequence[int]) -> PlanOutcomes:
        """The outcomes of asking `members` (columns) in this order."""
        cost = self._data.cost_usd
        prices = len(self.quality_per_usd)
        spent = np.cumsum(cost[:, list(members)], axis=1)
        joined = self._joined(members)
        value = quality = np.repeat(joined.score[:, None], prices, axis=1)
        total = np.repeat(spent[:, [-1]], prices, axis=1)
        calls = np.full(total.shape, float(len(members)))
        for asked in range(len(members) - 1, 0, -1):
            joined = self._joined(members[:asked])
            going_on = value - self.quality_per_usd * cost[:, [members[asked]]]
            state = self._state(members, asked, joined)
            gain = LinearOutOfFold(state, self._folds, _STOP_PENALTY)(going_on - joined.score[:, None])
            goes_on = gain > 0
            value = np.where(goes_on, going_on, joined.score[:, None])
            quality = np.where(goes_on, quality, joined.score[:, None])
            total = np.where(goes_on, total, spent[:, [asked - 1]])
            calls = np.where(goes_on, calls, float(asked))
        return PlanOutcomes(tuple(members), quality, total, calls)

    def _joined(self, members: Sequence[int]) -> _Joined:
        columns = list(members)
        answers, votes, scores = self._answers[:, columns], self._votes[:, columns], self._data.scores[:, columns]
        agrees = (answers[:, :, None] == answers[:, None, :]) & (answers != NO_ANSWER)[:, :, None]
        support = (agrees * votes[:, None, :]).sum(axis=2)
        best = support.argmax(axis=1)
        rows = np.arange(len(support))
        others = np.where(agrees[rows, best], 0.0, support)
        return _Joined(scores[rows, best], support[rows, best], others.max(axis=1))

    def _state(self, members: Sequence[int], asked: int, joined: _Joined) -> Doubles:
        """What is known after `asked` calls, `(prompts, columns)`."""
        margin = joined.winner - joined.runner_up
        columns = [self._prior[:, member] for member in members]
        columns += [self._prior.mean(axis=1), joined.winner, joined.runner_up, margin, np.square(margin)]
        columns += [self._posterior[:, member] for member in members[:asked]]
        for first, second in itertools.combinations(members[:asked], 2):
            agree = (self._answers[:, first] == self._answers[:, second]).astype(np.float64)
            columns += [agree, agree * self._posterior[:, first], agree * self._posterior[:, second]]
        texts = [self._gate.signals[:, member] for member in {members[0], members[asked - 1]}]
        return np.concatenate([np.stack(columns, axis=1), *texts], axis=1)
