"""The gate of one request."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from router.compose.gate import Asked
from router.compose.learned.members import MembersRule, gains_of_members, rights_of_members
from router.compose.learned.rule import COUNTS, LOGPROBS, NO_ANSWER, GateWeights, Observed, Rule, gains, rights
from router.types import Doubles


class LearnedGate:
    """Applies the weights of a gate file; see `router.compose.gate.Gate`."""

    def __init__(self, identity: str, weights: GateWeights, committees: Sequence[MembersRule] = ()) -> None:
        self.id = identity
        self.weights = weights
        self._committees = {rule.members: rule for rule in committees}

    def rights(self, asked: Sequence[Asked], usual_prior: float) -> Doubles:
        """P(right) of the answer of each member asked so far, given all of them: float64 `(asked,)`.

        It is 0 of an answer that failed, which says nothing about the others.
        """
        found, may_be_right = np.zeros(len(asked)), np.array([not each.failed for each in asked], dtype=np.bool_)
        if usable := _usable(asked):
            found[may_be_right] = rights(self._rule(usable), observed(usable, usual_prior))[0]
        return found

    def gains(self, asked: Sequence[Asked], priors_of_later: Sequence[float], usual_prior: float) -> list[float]:
        """See `Gate.gains`: that of one more card, in [0, 1]."""
        usable, prior_of_next = _usable(asked), priors_of_later[0]
        if not usable:
            return [prior_of_next]
        rule, seen = self._rule(usable), observed(usable, usual_prior)
        return [float(gains(rule, seen, rights(rule, seen), np.array([prior_of_next]))[0])]

    def of(self, members: Sequence[str]) -> LearnedGate | MembersGate:
        """The gate that was learned from these members' answers; this one where there is none."""
        rule = self._committees.get(tuple(members))
        return self if rule is None else MembersGate(self, rule)

    def _rule(self, asked: Sequence[Asked]) -> Rule:
        """The rule for the kind of the first answer that can be read."""
        kind = next((member.answer.kind for member in asked if member.answer is not None), "")
        return self.weights.of_kind(kind)


class MembersGate:
    """The gate of members whose answers it was learned from.

    Where one of them has failed, or answers cannot be compared, that of all cards takes its place.
    """

    def __init__(self, of_all: LearnedGate, rule: MembersRule) -> None:
        self.id, self._of_all, self._members = of_all.id, of_all, rule

    def rights(self, asked: Sequence[Asked], usual_prior: float) -> Doubles:
        """See `Gate.rights`."""
        if not self._knows(asked):
            return self._of_all.rights(asked, usual_prior)
        return np.asarray(rights_of_members(self._members, observed(asked, usual_prior))[0])

    def gains(self, asked: Sequence[Asked], priors_of_later: Sequence[float], usual_prior: float) -> list[float]:
        """See `Gate.gains`: those of all members that are left."""
        if not self._knows(asked):
            return self._of_all.gains(asked, priors_of_later, usual_prior)
        seen = observed(asked, usual_prior)
        right = rights_of_members(self._members, seen)
        return [float(gain) for gain in gains_of_members(self._members, seen, right, np.array([priors_of_later]))[0]]

    def of(self, members: Sequence[str]) -> LearnedGate | MembersGate:
        """See `Gate.of`."""
        return self._of_all.of(members)

    def _knows(self, asked: Sequence[Asked]) -> bool:
        names = tuple(each.card for each in asked)
        is_open = any(each.failed or (each.answer is None and not each.asks_for_answer) for each in asked)
        return bool(names) and names == self._members.members[: len(names)] and not is_open


def _usable(asked: Sequence[Asked]) -> list[Asked]:
    return [each for each in asked if not each.failed]


def observed(asked: Sequence[Asked], usual_prior: float) -> Observed:
    """The answers to one prompt, of which none has failed, as a batch of one."""
    codes: dict[object, int] = {}
    answers = [NO_ANSWER if each.answer is None else codes.setdefault(each.answer, len(codes)) for each in asked]
    texts = [each.signals for each in asked]
    # Tables of answers count line breaks.
    counts = [(text.characters, max(text.lines - 1, 0), text.digits, text.hedges) for text in texts]
    logprobs = [text.logprobs for text in texts]
    known = [values for values in logprobs if values is not None and all(map(math.isfinite, values))]
    return Observed(
        prior=np.array([[each.prior for each in asked]]),
        usual=np.array([usual_prior]),
        answers=np.array([answers], dtype=np.intp),
        counts=np.array([counts], dtype=np.float64).reshape(1, len(asked), len(COUNTS)),
        open=np.array([[each.answer is None and not each.asks_for_answer for each in asked]]),
        logprobs=np.array([known]).reshape(1, len(asked), LOGPROBS) if len(known) == len(asked) else None,
    )
