"""The arithmetic of a gate that knows its members: the rule of all cards, with weights of its own for each of them.

The features are those of `rule`, and which of the other members give the same answer. The weights were fitted with a
penalty on their distance from the rule of all cards, so few answers change little.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from msgspec import Struct

from router.compose.learned.rule import (
    GAIN_WEIGHTS,
    JOINED_WEIGHTS,
    LOGPROBS,
    MOST_MEMBERS,
    NO_ANSWER,
    OWN_WEIGHTS,
    Observed,
    gain_features,
    joined_features,
    leading,
    own_features,
    same_answers,
)
from router.perceive.ability.acceptance import probability
from router.types import Doubles

Weights = tuple[float, ...]


class MembersRule(Struct, frozen=True, forbid_unknown_fields=True):
    """Weights for `members`, the ids of cards in the order in which they are asked.

    `own`, `own_logprobs` and `unreadable` are those of `Rule`, for each member. `joined` has, for each number of
    answers from two on, the weights of each of them: those of `Rule.joined`, then one for each other answer that is the
    same. `gain` has for each number of answers, from one on, those of `Rule.gain` for each number of further members.
    """

    members: tuple[str, ...]
    own: tuple[Weights, ...]
    joined: tuple[tuple[Weights, ...], ...]
    gain: tuple[tuple[Weights, ...], ...]
    unreadable: Weights
    own_logprobs: tuple[Weights, ...] | None = None

    def problem(self) -> str | None:
        """What is wrong with the weights, None where nothing is."""
        count = len(self.members)
        if not 2 <= count <= MOST_MEMBERS or len(set(self.members)) < count:
            return f"{count} members, expected two to {MOST_MEMBERS} different ones"
        sizes = [len(self.own), len(self.unreadable), len(self.joined) + 1, len(self.gain) + 1]
        sizes.append(count if self.own_logprobs is None else len(self.own_logprobs))
        numbers = [len(each) for each in self.joined], [len(each) for each in self.gain]
        if set(sizes) != {count} or numbers != (list(range(2, count + 1)), list(range(count - 1, 0, -1))):
            return f"the weights are not those of {count} members"
        for name, size, weights in self._all():
            if len(weights) != size:
                return f"{name} has {len(weights)} weights, expected {size}"
            if not np.isfinite(weights).all():
                return f"{name} has a weight that is not finite"
        return None if all(0 <= each <= 1 for each in self.unreadable) else "unreadable has a value above 1 or below 0"

    def _all(self) -> Iterator[tuple[str, int, Weights]]:
        yield from (("own", OWN_WEIGHTS, weights) for weights in self.own)
        yield from (("own_logprobs", OWN_WEIGHTS + LOGPROBS, weights) for weights in self.own_logprobs or ())
        for each in self.joined:
            yield from (("joined", JOINED_WEIGHTS + len(each) - 1, weights) for weights in each)
        yield from (("gain", GAIN_WEIGHTS, weights) for each in self.gain for weights in each)
        yield "unreadable", len(self.members), self.unreadable


def own_rights_of_members(rule: MembersRule, seen: Observed) -> Doubles:
    """P(right) of each answer by itself, `(n, k)`, of the first members."""
    weights = rule.own if seen.logprobs is None or rule.own_logprobs is None else rule.own_logprobs
    chosen = np.array(weights[: seen.answers.shape[1]])
    readable = probability((own_features(seen)[:, :, : chosen.shape[1]] * chosen).sum(axis=2))
    unreadable = np.array(rule.unreadable[: seen.answers.shape[1]])
    return np.asarray(np.where(seen.answers == NO_ANSWER, unreadable, readable))


def features_of_members(seen: Observed, own: Doubles) -> Doubles:
    """What all answers show of each, `(n, k, features)`: the joined features, and who of the others agrees."""
    members = own.shape[1]
    same = same_answers(seen)
    others = np.array([[other for other in range(members) if other != each] for each in range(members)])
    agrees = np.take_along_axis(same, others[None], axis=2)
    return np.concatenate([joined_features(seen, own), agrees], axis=2)


def rights_of_members(rule: MembersRule, seen: Observed) -> Doubles:
    """P(right) of each answer given all of them, `(n, k)`; members that agree share the mean of theirs."""
    own = own_rights_of_members(rule, seen)
    members = own.shape[1]
    if members == 1:
        return own
    weights = np.array(rule.joined[members - 2])
    joined = probability((features_of_members(seen, own) * weights).sum(axis=2))
    same = same_answers(seen)
    shared = (same * joined[:, None, :]).sum(axis=2) / same.sum(axis=2)
    return np.asarray(np.where(seen.votes, shared, own), dtype=np.float64)


def gains_of_members(rule: MembersRule, seen: Observed, right: Doubles, priors_of_later: Doubles) -> Doubles:
    """How much the quality of the delivered answer is expected to rise if one more member is asked, if two are …

    `priors_of_later` and the result are `(n, members left)`. A cheap member may be worth asking only because of the one
    after it.
    """
    best = leading(seen, right)
    asked = right.shape[1]
    expected = [
        gain_features(best, priors_of_later[:, later], seen.usual, asked) @ np.array(weights)
        for later, weights in enumerate(rule.gain[asked - 1])
    ]
    return np.asarray(np.clip(np.stack(expected, axis=1), 0.0, 1.0 - best.right[:, None]))
