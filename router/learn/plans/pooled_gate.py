"""Fit the gate that is shipped: one for all models, from members drawn at random, so that it fits cards it never saw.

The weights of answers by themselves and of all answers together are logistic, those of the gain of one more member
linear; `router.compose.learned.rule` applies them. Draws of 2 to 5 members in random order stand for all plans.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from router.compose.learned import COUNTS, GateWeights, Observed, Rule
from router.compose.learned.rule import (
    LEAST_PRIOR,
    MOST_MEMBERS,
    OWN_WEIGHTS,
    gain_features,
    joined_features,
    leading,
    own_features,
    own_rights,
    rights,
)
from router.learn.data.answers import NO_ANSWER, AnswerSet
from router.learn.plans.out_of_fold import fit_logistic
from router.types import Doubles, Indices, Mask

LOGPROB_TABLES = ("logprob_q10", "logprob_q50", "logprob_min")
_LEAST_ANSWERS = 5_000
_DRAWS = 2
_STEPS = 10
_PENALTY = 1.0
_GAIN_PENALTY = 20.0
_SEED = 0


class Answered(NamedTuple):
    """Sets side by side: what was observed of all models, the scores, and the kind of each prompt's answers.

    `observed` has one column a model; `scores` `(prompts, models)`, `kinds` `(prompts,)`.
    """

    observed: Observed
    scores: Doubles
    kinds: tuple[str, ...]

    def members(self, rows: Indices, columns: Indices) -> Answered:
        """Those of the models `columns` `(rows, k)` on each of `rows`."""
        seen, where = self.observed, (rows[:, None], columns)
        chosen = Observed(
            prior=seen.prior[where],
            usual=seen.usual[rows],
            answers=seen.answers[where],
            counts=seen.counts[where],
            open=seen.open[where],
            logprobs=None if seen.logprobs is None else seen.logprobs[where],
        )
        return Answered(chosen, self.scores[where], tuple(self.kinds[row] for row in rows))


def answered(data: AnswerSet, prior: Doubles) -> Answered:
    """The answers of a set as a gate sees them; `prior` `(prompts, models)` are forecasts out of fold."""

    def table(name: str) -> Doubles:
        if name not in data.signal_names:
            return np.full(data.scores.shape, np.nan)
        return data.signals[:, :, data.signal_names.index(name)]

    never = np.zeros(data.scores.shape, dtype=np.bool_)
    has_logprobs = all(name in data.signal_names for name in LOGPROB_TABLES)
    seen = Observed(
        prior=np.clip(prior, LEAST_PRIOR, 1 - LEAST_PRIOR),
        usual=prior.mean(axis=1),
        answers=data.answers,
        counts=np.stack([table(name) for name in COUNTS], axis=2),
        open=never,
        logprobs=np.stack([table(name) for name in LOGPROB_TABLES], axis=2) if has_logprobs else None,
    )
    return Answered(seen, data.scores, data.kinds or ("text",) * len(data.scores))


def fit_weights(sets: Sequence[tuple[Answered, Indices]], columns: Sequence[Indices]) -> GateWeights:
    """The weights from `rows` of each set and from the models `columns` of it.

    A kind of answers has a rule of its own where there are enough of them, and of other kinds.
    """
    rng = np.random.default_rng(_SEED)
    draws = [
        _draw(data, rows, models, rng) for (data, rows), models in zip(sets, columns, strict=True) if len(models) > 1
    ]
    parts = [part for drawn in draws for part in drawn]
    general = _fit_rule(parts)
    kinds = {kind for part in parts for kind in part.kinds}
    found = {}
    for kind in sorted(kinds) if len(kinds) > 1 else ():
        own = [_of_kind(part, kind) for part in parts]
        if sum(part.scores.size for part in own) >= _LEAST_ANSWERS:
            found[kind] = _fit_rule([part for part in own if len(part.scores)])
    return GateWeights(general, found)


def _draw(data: Answered, rows: Indices, models: Indices, rng: np.random.Generator) -> list[Answered]:
    """Random members in random order, for every number of members."""
    drawn = []
    for members in range(2, min(MOST_MEMBERS, len(models)) + 1):
        repeated = np.repeat(rows, _DRAWS)
        order = np.argsort(rng.random((len(repeated), len(models))), axis=1)[:, :members]
        drawn.append(data.members(repeated, models[order]))
    return drawn


def _of_kind(data: Answered, kind: str) -> Answered:
    rows = np.array([row for row, found in enumerate(data.kinds) if found == kind], dtype=np.intp)
    columns = np.tile(np.arange(data.scores.shape[1]), (len(rows), 1))
    return data.members(rows, columns)


def _fit_rule(parts: Sequence[Answered]) -> Rule:
    readable = [part.observed.answers != NO_ANSWER for part in parts]
    scores = np.concatenate([part.scores[mask] for part, mask in zip(parts, readable, strict=True)])
    own = np.concatenate(
        [own_features(part.observed)[:, :, :OWN_WEIGHTS][mask] for part, mask in zip(parts, readable, strict=True)]
    )
    unread = np.concatenate([part.scores[~mask] for part, mask in zip(parts, readable, strict=True)])
    rule = Rule(
        own=_logistic(own, scores),
        joined=(),
        gain=(),
        # One wrong answer more keeps a set in which all can be read from claiming that none of them is ever right.
        unreadable=float(unread.sum() / (len(unread) + 1)),
        own_logprobs=_own_with_logprobs(parts, readable),
    )
    features = [joined_features(part.observed, own_rights(rule, part.observed)) for part in parts]
    joined = np.concatenate([each[mask] for each, mask in zip(features, readable, strict=True)])
    rule = Rule(rule.own, _logistic(joined, scores), (), rule.unreadable, rule.own_logprobs)
    return Rule(rule.own, rule.joined, _fit_gain(rule, parts), rule.unreadable, rule.own_logprobs)


def _own_with_logprobs(parts: Sequence[Answered], readable: Sequence[Mask]) -> tuple[float, ...] | None:
    known = [(part, mask) for part, mask in zip(parts, readable, strict=True) if part.observed.logprobs is not None]
    if not known:
        return None
    features = np.concatenate([own_features(part.observed)[mask] for part, mask in known])
    return _logistic(features, np.concatenate([part.scores[mask] for part, mask in known]))


def _fit_gain(rule: Rule, parts: Sequence[Answered]) -> tuple[float, ...]:
    """Weights from how much better the delivered answer was after each further member."""
    features, targets = [], []
    for part in parts:
        before = part.observed.first(1)
        best = leading(before, rights(rule, before))
        for members in range(1, part.scores.shape[1]):
            after = part.observed.first(members + 1)
            following = leading(after, rights(rule, after))
            features.append(gain_features(best, part.observed.prior[:, members], part.observed.usual, members))
            rows = np.arange(len(part.scores))
            targets.append(part.scores[rows, following.member] - part.scores[rows, best.member])
            best = following
    rows_ = np.concatenate(features)
    penalty = _GAIN_PENALTY * np.eye(rows_.shape[1])
    weights = np.linalg.solve(rows_.T @ rows_ + penalty, rows_.T @ np.concatenate(targets))
    return tuple(map(float, weights))


def _logistic(features: Doubles, target: Doubles) -> tuple[float, ...]:
    start = np.zeros(features.shape[1])
    return tuple(map(float, fit_logistic(features, target, _PENALTY, start, _STEPS)))
