"""A sequential committee: the cheapest member answers, the next is asked only where the gain is worth its price.

After every call, the probability that each answer so far is right is learned from all of them together: the forecasts
from the prompt, the texts, and who agrees with whom; the most probable answer is delivered. Two wrong models often give
the same wrong answer, so votes that only add up are overconfident. Where to stop is learned by backward induction: from
the last member to the first, the gain of asking on (what the rest of the plan adds, less `price · λ`) is regressed out
of fold on what is known at that moment. See `docs/composition.md`; sources: Dekoninck et al., "A Unified Approach to
Routing and Cascading for LLMs" (2024); Gupta et al., "Language Model Cascades" (ICLR 2024).
"""

from __future__ import annotations

import itertools

import numpy as np
from msgspec import Struct

from router.learn.data.answers import NO_ANSWER, AnswerSet
from router.learn.plans.answer_gate import Gate
from router.learn.plans.out_of_fold import LinearOutOfFold, logistic_out_of_fold, logit
from router.types import Doubles, Indices

_STOP_PENALTY = 20.0


class PlanOutcomes(Struct, frozen=True, eq=False):
    """What a plan achieves at each price of money: float64 `(prompts, prices)`.

    `quality` is the score of the delivered answer, `cost_usd` what all calls cost, `calls` how many there were.
    """

    members: tuple[int, ...]
    quality: Doubles
    cost_usd: Doubles
    calls: Doubles


class _Joined(Struct, frozen=True, eq=False):
    """The answers of the members asked so far, `(prompts,)` each.

    `score` is that of the delivered answer, `probability` that it is right, `second` that of the best other answer.
    """

    score: Doubles
    probability: Doubles
    second: Doubles


class Committees:
    """Runs committees over the answers of a set."""

    def __init__(self, data: AnswerSet, gate: Gate, folds: Indices, quality_per_usd: Doubles) -> None:
        """`quality_per_usd` `(prices,)` are the prices of money λ for which each plan's rule to stop is learned."""
        self._data, self._gate, self._folds = data, gate, folds
        self.quality_per_usd = quality_per_usd
        self._answers = data.answers
        self._prior = logit(gate.prior, 0.03)
        self._posterior = logit(gate.posterior)
        self._joined: dict[tuple[int, ...], _Joined] = {}
        self._outcomes: dict[tuple[int, ...], PlanOutcomes] = {}

    def run(self, members: tuple[int, ...]) -> PlanOutcomes:
        """The outcomes of asking `members` (columns) in this order."""
        if members not in self._outcomes:
            self._outcomes[members] = self._run(members)
        return self._outcomes[members]

    def _run(self, members: tuple[int, ...]) -> PlanOutcomes:
        cost = self._data.cost_usd
        prices = len(self.quality_per_usd)
        spent = np.cumsum(cost[:, list(members)], axis=1)
        joined = self._join(members)
        value = quality = np.repeat(joined.score[:, None], prices, axis=1)
        total = np.repeat(spent[:, [-1]], prices, axis=1)
        calls = np.full(total.shape, float(len(members)))
        for asked in range(len(members) - 1, 0, -1):
            joined = self._join(members[:asked])
            going_on = value - self.quality_per_usd * cost[:, [members[asked]]]
            state = self._state(members, asked, joined)
            gain = LinearOutOfFold(state, self._folds, _STOP_PENALTY)(going_on - joined.score[:, None])
            # Nothing can be gained over an answer that is certainly right.
            goes_on = (gain > 0) & (joined.probability < 1.0)[:, None]
            value = np.where(goes_on, going_on, joined.score[:, None])
            quality = np.where(goes_on, quality, joined.score[:, None])
            total = np.where(goes_on, total, spent[:, [asked - 1]])
            calls = np.where(goes_on, calls, float(asked))
        return PlanOutcomes(members, quality, total, calls)

    def _join(self, asked: tuple[int, ...]) -> _Joined:
        if asked not in self._joined:
            self._joined[asked] = self._learned_join(asked)
        return self._joined[asked]

    def _learned_join(self, asked: tuple[int, ...]) -> _Joined:
        columns = list(asked)
        answers = self._answers[:, columns]
        right = self._rights(asked)
        # An answer that cannot be read is delivered only where there is no other.
        right = np.where(answers == NO_ANSWER, right - 1.0, right)
        best = right.argmax(axis=1)
        rows = np.arange(len(right))
        others = np.where(answers == answers[rows, best][:, None], 0.0, right)
        delivered = self._data.scores[rows, np.array(columns)[best]]
        return _Joined(delivered, np.clip(right[rows, best], 0.0, 1.0), np.maximum(others.max(axis=1), 0.0))

    def _rights(self, asked: tuple[int, ...]) -> Doubles:
        """The probability that each answer is right, given all of them, `(prompts, asked)`."""
        if len(asked) == 1:
            return self._gate.posterior[:, list(asked)]
        return np.stack([self._right(asked, each) for each in range(len(asked))], axis=1)

    def _right(self, asked: tuple[int, ...], each: int) -> Doubles:
        """The probability that the answer of member number `each` is right, given all answers."""
        answers, posterior = self._answers, self._posterior
        own = answers[:, asked[each]]
        others = [member for member in asked if member != asked[each]]
        columns = [self._prior[:, asked[each]], posterior[:, asked[each]], self._prior.mean(axis=1)]
        for other in others:
            agrees = ((answers[:, other] == own) & (own != NO_ANSWER)).astype(np.float64)
            columns += [posterior[:, other], agrees, agrees * posterior[:, other], answers[:, other] == NO_ANSWER]
        for first, second in itertools.combinations(others, 2):
            agree = (answers[:, first] == answers[:, second]) & (answers[:, first] != NO_ANSWER)
            against = agree & (answers[:, first] != own)
            columns += [agree, against * (posterior[:, first] + posterior[:, second])]
        features = np.concatenate([np.stack(columns, axis=1), self._gate.signals[:, asked[each]]], axis=1)
        return logistic_out_of_fold(features, self._data.scores[:, asked[each]], self._folds)

    def _state(self, members: tuple[int, ...], asked: int, joined: _Joined) -> Doubles:
        """What is known after `asked` calls, `(prompts, columns)`."""
        probability, second = logit(joined.probability), joined.second
        columns = [self._prior[:, member] for member in members]
        columns += [self._prior.mean(axis=1), probability, np.square(probability), joined.probability, second]
        columns += [self._posterior[:, member] for member in members[:asked]]
        for one, other in itertools.combinations(members[:asked], 2):
            agree = (self._answers[:, one] == self._answers[:, other]).astype(np.float64)
            columns += [agree, agree * probability]
        texts = [self._gate.signals[:, member] for member in {members[0], members[asked - 1]}]
        return np.concatenate([np.stack(columns, axis=1), *texts], axis=1)
