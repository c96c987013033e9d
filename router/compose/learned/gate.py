"""The gate of one request."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from router.compose.gate import Asked
from router.compose.learned.rule import COUNTS, LOGPROBS, NO_ANSWER, GateWeights, Observed, Rule, gains, rights
from router.types import Doubles


class LearnedGate:
    """Applies the weights of a gate file; see `router.compose.gate.Gate`."""

    def __init__(self, identity: str, weights: GateWeights) -> None:
        self.id = identity
        self.weights = weights

    def rights(self, asked: Sequence[Asked], usual_prior: float) -> Doubles:
        """P(right) of the answer of each member asked so far, given all of them: float64 `(asked,)`.

        It is 0 of an answer that failed, which says nothing about the others.
        """
        found, may_be_right = np.zeros(len(asked)), np.array([not each.failed for each in asked], dtype=np.bool_)
        if usable := _usable(asked):
            found[may_be_right] = rights(self._rule(usable), observed(usable, usual_prior))[0]
        return found

    def gain(self, asked: Sequence[Asked], prior_of_next: float, usual_prior: float) -> float:
        """How much the quality of the delivered answer is expected to rise if one more card is asked, in [0, 1]."""
        usable = _usable(asked)
        if not usable:
            return prior_of_next
        rule, seen = self._rule(usable), observed(usable, usual_prior)
        return float(gains(rule, seen, rights(rule, seen), np.array([prior_of_next]))[0])

    def _rule(self, asked: Sequence[Asked]) -> Rule:
        """The rule for the kind of the first answer that can be read."""
        kind = next((member.answer.kind for member in asked if member.answer is not None), "")
        return self.weights.of_kind(kind)


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
