"""The arithmetic of the learned gate, for many prompts at once: one request is a batch of one.

Three steps. An answer by itself: P(right) from its forecast, the usual forecast and its text. All answers: members
that give the same answer share one probability, learned from symmetric features, so that any number of members in any
order fits. Two wrong models often give the same wrong answer, so votes are weighed and not added up. One more member:
how much the probability of the delivered answer is expected to rise.

Sources: Gupta et al., "Language Model Cascades: Token-Level Uncertainty and Beyond" (ICLR 2024) for quantiles of
log-probabilities; Dekoninck et al., "A Unified Approach to Routing and Cascading for LLMs" (2024) for asking on by
the expected gain in the quality of the best answer so far.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from msgspec import Struct

from router.perceive.ability.acceptance import probability
from router.types import Doubles, Indices, Mask

COUNTS = ("out_chars", "lines", "digits", "hedges")
"""The counts of an answer's text that the gate uses, as tables of answers name them."""

LOGPROBS = 3
"""Log-probabilities of an answer's tokens: the quantiles .1 and .5 and the least."""

NO_ANSWER = -1
MOST_MEMBERS = 5
LEAST_PRIOR = 0.03
"""No forecast from the prompt alone is surer than this."""

_LEAST = 0.005
# Places and scales of the logarithms of the counts, so that one penalty suits all weights.
_USUAL_COUNTS = np.array([6.0, 1.5, 3.0, 0.0])
_SCALE_OF_COUNTS = np.array([1.5, 1.0, 1.5, 1.0])
_MOST_UNUSUAL = 2.5
OWN_WEIGHTS, JOINED_WEIGHTS, GAIN_WEIGHTS = 9, 13, 14


class Rule(Struct, frozen=True, forbid_unknown_fields=True):
    """Weights. `own` and `joined` are logistic, of P(right) of an answer that can be read, the constant first;
    `own_logprobs` takes the place of `own` where log-probabilities are known, None where there were none to learn
    from. `gain` is linear. `unreadable` is P(right) of an answer that should be readable and is not.
    """

    own: tuple[float, ...]
    joined: tuple[float, ...]
    gain: tuple[float, ...]
    unreadable: float
    own_logprobs: tuple[float, ...] | None = None

    def problem(self) -> str | None:
        """What is wrong with the weights, None where nothing is."""
        sizes = {"own": OWN_WEIGHTS, "joined": JOINED_WEIGHTS, "gain": GAIN_WEIGHTS}
        sizes["own_logprobs"] = OWN_WEIGHTS + LOGPROBS
        for name, size in sizes.items():
            weights = getattr(self, name)
            if weights is not None and len(weights) != size:
                return f"{name} has {len(weights)} weights, expected {size}"
            if weights is not None and not np.isfinite(weights).all():
                return f"{name} has a weight that is not finite"
        return None if 0 <= self.unreadable <= 1 else f"unreadable is {self.unreadable:g}, not a probability"


class GateWeights(Struct, frozen=True, forbid_unknown_fields=True):
    """The rule for all kinds of answers, and those of kinds of which there was enough to learn from."""

    general: Rule
    kinds: dict[str, Rule] = {}

    def of_kind(self, kind: str) -> Rule:
        """The rule for answers of this kind."""
        return self.kinds.get(kind, self.general)


class Observed(NamedTuple):
    """Answers of `k` members to `n` prompts.

    `prior` `(n, k)` are forecasts from the prompt, `usual` `(n,)` the mean forecast over cards. `answers` `(n, k)` are
    integers, equal ones in a row are the same answer, NO_ANSWER is one that cannot be read. `counts` `(n, k, 4)` are
    those of COUNTS, NaN where unknown; `logprobs` `(n, k, 3)`, None where unknown. `open` `(n, k)`: an answer that
    cannot be read, to a prompt that does not ask for one that can. Answers that failed are left out: they cannot be
    right, and show nothing of others.
    """

    prior: Doubles
    usual: Doubles
    answers: Indices
    counts: Doubles
    open: Mask
    logprobs: Doubles | None = None

    def first(self, members: int) -> Observed:
        """The same of the first members only."""
        return Observed(
            self.prior[:, :members],
            self.usual,
            self.answers[:, :members],
            self.counts[:, :members],
            self.open[:, :members],
            None if self.logprobs is None else self.logprobs[:, :members],
        )

    @property
    def votes(self) -> Mask:
        """The answers that can be compared, `(n, k)`."""
        return np.asarray(self.answers != NO_ANSWER)


def logit(probabilities: Doubles, least: float) -> Doubles:
    """The log-odds of probabilities clipped to [least, 1 - least]."""
    clipped = np.clip(probabilities, least, 1.0 - least)
    return np.asarray(np.log(clipped / (1.0 - clipped)))


def own_features(seen: Observed) -> Doubles:
    """What each answer shows by itself, `(n, k, features)`."""
    prior = np.clip(seen.prior, LEAST_PRIOR, 1 - LEAST_PRIOR)
    counts = (np.log1p(np.maximum(seen.counts, 0)) - _USUAL_COUNTS) / _SCALE_OF_COUNTS
    # An unknown count says nothing, and a rare one no more than the longest that were learned from.
    counts = np.clip(np.nan_to_num(counts), -_MOST_UNUSUAL, _MOST_UNUSUAL)
    length = counts[:, :, 0]
    usual = np.broadcast_to(logit(seen.usual, LEAST_PRIOR)[:, None], prior.shape)
    columns = [np.ones(prior.shape), logit(prior, LEAST_PRIOR), prior, usual, length, np.square(length)]
    columns += [counts[:, :, position] for position in range(1, len(COUNTS))]
    stacked = np.stack(columns, axis=2)
    return stacked if seen.logprobs is None else np.concatenate([stacked, seen.logprobs], axis=2)


def own_rights(rule: Rule, seen: Observed) -> Doubles:
    """P(right) of each answer by itself, `(n, k)`."""
    weights = rule.own if seen.logprobs is None or rule.own_logprobs is None else rule.own_logprobs
    readable = probability(own_features(seen)[:, :, : len(weights)] @ np.array(weights))
    right = np.where(seen.answers == NO_ANSWER, rule.unreadable, readable)
    return np.asarray(np.where(seen.open, seen.prior, right))


def same_answers(seen: Observed) -> Mask:
    """Which members give the same answer, `(n, k, k)`; every member agrees with itself."""
    equal = seen.answers[:, :, None] == seen.answers[:, None, :]
    votes = seen.votes
    equal &= votes[:, :, None] & votes[:, None, :]
    return np.asarray(equal | np.eye(equal.shape[1], dtype=np.bool_))


def joined_features(seen: Observed, own: Doubles) -> Doubles:
    """What all answers together show of each, `(n, k, features)`; equal for members that agree.

    `own` `(n, k)` is P(right) of each answer by itself.
    """
    same, votes = same_answers(seen), seen.votes
    own = np.clip(own, _LEAST, 1 - _LEAST)
    size = same.sum(axis=2)
    support = (same * own[:, None, :]).sum(axis=2)
    surest = np.where(same, own[:, None, :], 0.0).max(axis=2)
    against = ~same & votes[:, None, :]
    unreadable = ~votes & ~seen.open
    members = (votes | unreadable).sum(axis=1)[:, None]
    columns = [
        np.ones(own.shape),
        logit(surest, _LEAST),
        support,
        size >= 2,
        size >= 3,
        np.where(against, support[:, None, :], 0.0).max(axis=2),
        np.where(against, size[:, None, :], 0).max(axis=2),
        (against * own[:, None, :]).sum(axis=2),
        (~same & unreadable[:, None, :]).sum(axis=2),
        np.broadcast_to(logit(seen.usual, LEAST_PRIOR)[:, None], own.shape),
        *(np.broadcast_to(members == count, own.shape) for count in (3, 4, MOST_MEMBERS)),
    ]
    return np.stack(columns, axis=2, dtype=np.float64, casting="unsafe")


def rights(rule: Rule, seen: Observed) -> Doubles:
    """P(right) of each answer given all of them, `(n, k)`."""
    own = own_rights(rule, seen)
    if own.shape[1] == 1:
        return own
    joined = probability(joined_features(seen, own) @ np.array(rule.joined))
    alone = (seen.votes | ~seen.open).sum(axis=1)[:, None] < 2
    return np.where(seen.votes & ~alone, joined, own)


class Leading(NamedTuple):
    """The answer that would be delivered: which member's, P(right), that of the best other answer, and how many
    members give it; `(n,)` each.
    """

    member: Indices
    right: Doubles
    second: Doubles
    size: Indices


def leading(seen: Observed, right: Doubles) -> Leading:
    """The most probable answer, the earlier member's among equals."""
    rows = np.arange(len(right))
    member = right.argmax(axis=1)
    same = same_answers(seen)[rows, member]
    second = np.where(same, 0.0, right).max(axis=1)
    return Leading(member, right[rows, member], second, same.sum(axis=1))


def gain_features(best: Leading, prior_of_next: Doubles, usual: Doubles, members: int) -> Doubles:
    """What is known before one more member is asked, `(n, features)`."""
    right, chance = best.right, np.clip(prior_of_next, LEAST_PRIOR, 1 - LEAST_PRIOR)
    agreed = best.size >= 2
    columns = [np.ones(len(right)), right, np.square(right), best.second, chance, np.square(chance), right * chance]
    columns += [np.clip(usual, LEAST_PRIOR, 1 - LEAST_PRIOR), np.full(len(right), float(members >= 2))]
    columns += [np.full(len(right), float(members >= 3)), agreed, agreed * right, best.second * chance]
    columns += [np.maximum(chance - right, 0.0)]
    return np.stack(columns, axis=1, dtype=np.float64, casting="unsafe")


def gains(rule: Rule, seen: Observed, right: Doubles, prior_of_next: Doubles) -> Doubles:
    """How much the quality of the delivered answer is expected to rise if one more member is asked, `(n,)`.

    Where answers cannot be compared, nothing is learned from the next one but its forecast.
    """
    best = leading(seen, right)
    learned = gain_features(best, prior_of_next, seen.usual, right.shape[1]) @ np.array(rule.gain)
    comparable = (seen.votes | ~seen.open).any(axis=1)
    expected = np.where(comparable, learned, prior_of_next - best.right)
    return np.clip(expected, 0.0, 1.0 - best.right)
