"""Fit the gate of one committee to the answers of its own members."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from router.compose.learned.members import (
    MembersRule,
    Weights,
    features_of_members,
    own_rights_of_members,
    rights_of_members,
)
from router.compose.learned.rule import NO_ANSWER, OWN_WEIGHTS, Rule, gain_features, leading, own_features
from router.learn.plans.out_of_fold import fit_logistic
from router.learn.plans.pooled_gate import Answered
from router.types import Doubles, Mask

_PENALTY = 5.0
_GAIN_PENALTY = 50.0
_STEPS = 10
_UNREADABLE = 20.0
"""How many answers the general rule's chance of an answer that cannot be read counts for."""


def fit_members(data: Answered, members: Sequence[str], general: Rule) -> MembersRule:
    """The rule of `members`, whose answers are the columns of `data`, near that of all cards."""
    seen, scores = data.observed, data.scores
    readable = seen.answers != NO_ANSWER
    features = own_features(seen)
    own = [
        _near(general.own, features[:, each, :OWN_WEIGHTS], scores[:, each], readable[:, each])
        for each in range(len(members))
    ]
    unreadable = [
        float((scores[~mask, each].sum() + general.unreadable * _UNREADABLE) / ((~mask).sum() + _UNREADABLE))
        for each, mask in enumerate(readable.T)
    ]
    with_logprobs = None
    if seen.logprobs is not None and general.own_logprobs is not None:
        with_logprobs = tuple(
            _near(general.own_logprobs, features[:, each], scores[:, each], readable[:, each])
            for each in range(len(members))
        )
    rule = MembersRule(tuple(members), tuple(own), (), (), tuple(unreadable), with_logprobs)
    joined = []
    for count in range(2, len(members) + 1):
        some = seen.first(count)
        shown = features_of_members(some, own_rights_of_members(rule, some))
        start = (*general.joined, *[0.0] * (count - 1))
        joined.append(tuple(_near(start, shown[:, each], scores[:, each], readable[:, each]) for each in range(count)))
    rule = MembersRule(rule.members, rule.own, tuple(joined), (), rule.unreadable, rule.own_logprobs)
    gain = _gains(rule, data, general)
    return MembersRule(rule.members, rule.own, rule.joined, gain, rule.unreadable, rule.own_logprobs)


def _near(start: Weights, features: Doubles, scores: Doubles, readable: Mask) -> Weights:
    """Logistic weights near `start`, from the answers that can be read."""
    weights = fit_logistic(features[readable], scores[readable], _PENALTY, np.array(start), _STEPS, near=True)
    return tuple(map(float, weights))


def _gains(rule: MembersRule, data: Answered, general: Rule) -> tuple[tuple[Weights, ...], ...]:
    """Weights near the general ones, from how much better the delivered answer is after each number of members."""
    start, count = np.array(general.gain), data.scores.shape[1]
    rows = np.arange(len(data.scores))
    seen = [data.observed.first(asked) for asked in range(1, count + 1)]
    best = [leading(each, rights_of_members(rule, each)) for each in seen]
    score = [data.scores[rows, each.member] for each in best]
    penalty = _GAIN_PENALTY * np.eye(len(start))

    def weights(asked: int, later: int) -> Weights:
        features = gain_features(best[asked - 1], data.observed.prior[:, later], data.observed.usual, asked)
        target = score[later] - score[asked - 1] - features @ start
        found = start + np.linalg.solve(features.T @ features + penalty, features.T @ target)
        return tuple(map(float, found))

    return tuple(tuple(weights(asked, later) for later in range(asked, count)) for asked in range(1, count))
