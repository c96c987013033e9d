"""What learned plans are compared with: a fixed rule, plans of a gate that knows the truth, the best in hindsight."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from router.learn.data.answers import NO_ANSWER, AnswerSet
from router.learn.plans.committee import Committees
from router.learn.plans.search import Choice
from router.types import Doubles


def fixed_rule(data: AnswerSet, first: int, second: int, strong: int) -> Choice:
    """Two models are asked; where they give the same answer it is delivered, else a third model's."""
    answers = data.answers
    agree = (answers[:, first] == answers[:, second]) & (answers[:, first] != NO_ANSWER)
    quality = np.where(agree, data.scores[:, first], data.scores[:, strong])
    cost = data.cost_usd[:, first] + data.cost_usd[:, second] + np.where(agree, 0.0, data.cost_usd[:, strong])
    return Choice(quality, cost, np.ones(len(agree)))


def fixed_rules(data: AnswerSet, pool: Sequence[int]) -> list[Choice]:
    """The fixed rule for every pair of models that are cheaper than the best one of the pool, which is the third."""
    strong = max(pool, key=lambda model: float(data.scores[:, model].mean()))
    cost = data.cost_usd.mean(axis=0)
    cheaper = sorted((model for model in pool if cost[model] < cost[strong]), key=lambda model: cost[model])
    return [fixed_rule(data, first, second, strong) for first, second in itertools.combinations(cheaper, 2)]


class TruthfulCommittees(Committees):
    """Committees whose gate knows of every answer whether it is right: an AUC of 1."""

    def _rights(self, asked: tuple[int, ...]) -> Doubles:
        return self._data.scores[:, list(asked)]


def truthful_cascade(data: AnswerSet, members: Sequence[int]) -> Choice:
    """Members are asked in turn until an answer is right."""
    right = data.scores[:, list(members)] >= 1.0
    last = np.where(right.any(axis=1), right.argmax(axis=1), len(members) - 1)
    quality = data.scores[:, list(members)].max(axis=1)
    spent = np.cumsum(data.cost_usd[:, list(members)], axis=1)
    return Choice(quality, spent[np.arange(len(last)), last], np.ones(len(last)))
