"""The guard: a decision leaves its default card only where the forecast is sure enough that another does better.

The best of many forecasts is often the luckiest one, so following every small difference loses quality. The default
card is the one that the policy names, else the one that the same goals choose for an average prompt, where a card of
which little is known is not chosen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
from msgspec import Meta, Struct

from router.types import GREATEST_STD, Doubles, Guard, Indices


class GuardRule(Struct, frozen=True, forbid_unknown_fields=True):
    """What the guard asks for. `python -m bench.guard` chose the defaults.

    `confidence`: the probability, to be exceeded, that the best card's score is truly better than the default card's;
    0.5 asks for no more than an advantage. `novelty`: the greatest share of training prompts that may be less
    strange than the prompt; 1 lets any prompt pass.
    """

    confidence: Annotated[float, Meta(ge=0.5, lt=1)] = 0.6
    novelty: Annotated[float, Meta(ge=0, le=1)] = 0.99

    def releases(self, confidence: Any, novelty: Any) -> Any:
        """Whether the best card may answer, for one prompt (floats) or for several (arrays of the same shape)."""
        return (confidence > self.confidence) & (novelty <= self.novelty)


class Comparison(NamedTuple):
    """The best card against the default card, both as positions in the catalogue.

    `advantage` is how much lower, so better, the best card's score is; `std` its standard deviation; `confidence` the
    probability that it is truly above zero.
    """

    best: int
    default: int
    advantage: float
    std: float
    confidence: float


class GuardEvaluation(NamedTuple):
    """A rule, and what it weighs the cards with on one prompt; arrays have one entry a card.

    `score` is that of this prompt and `doubt` its standard deviation. `safe_score` ranks default cards: the score on an
    average prompt plus `doubt`, since a card of which little is known is no safe choice. `stated` is the position of
    the default card that is named, None where none is that exists; `role` is what that card is to the request.
    """

    rule: GuardRule
    score: Doubles
    doubt: Doubles
    safe_score: Doubles
    novelty: float
    stated: int | None = None
    role: str = "default"

    def contest(self, candidates: Indices) -> Comparison:
        """The best against the default of `candidates`, positions in rising order, so that the id breaks ties.

        Only quality counts as uncertain: the part of its doubt that is each card's own.
        """
        best = int(candidates[self.score[candidates].argmin()])
        if self.stated is not None and (candidates == self.stated).any():
            default = self.stated
        else:
            default = int(candidates[self.safe_score[candidates].argmin()])
        advantage = float(self.score[default] - self.score[best])
        std = math.hypot(self.doubt[best], self.doubt[default])
        return Comparison(best, default, advantage, std, confidence_of(advantage, std))

    def choose(self, candidates: Indices) -> int:
        """The position of the card that answers."""
        contest = self.contest(candidates)
        return contest.best if self.rule.releases(contest.confidence, self.novelty) else contest.default

    def account(self, contest: Comparison, ids: Sequence[str], missing: str = "") -> Guard:
        """What the guard did, in numbers and words.

        `missing` says why the default card that the policy names is no candidate, where that is so.
        """
        best, default = ids[contest.best], ids[contest.default]
        before = f"{missing}; " if missing else ""
        if best == default:
            return Guard("same", f"{before}the {self.role} card is the best", default, best)
        if self.novelty > self.rule.novelty:
            reason = (
                f"the prompt is stranger than {_percent(self.novelty)} of the training prompts; "
                f"above {_percent(self.rule.novelty)} the {self.role} card answers"
            )
        else:
            reason = (
                f"{best} scores {contest.advantage:.3f} ± {contest.std:.3f} better than the {self.role} card "
                f"{default}: "
                f"{_percent(contest.confidence)} sure, more than {_percent(self.rule.confidence)} is needed"
            )
        return Guard(
            state="released" if self.rule.releases(contest.confidence, self.novelty) else "held",
            reason=before + reason,
            default=default,
            best=best,
            advantage=contest.advantage,
            advantage_std=contest.std,
            confidence=contest.confidence,
            confidence_needed=self.rule.confidence,
            novelty=self.novelty,
            novelty_allowed=self.rule.novelty,
        )


def uncertainty_of(independent_std: Doubles) -> Doubles:
    """`independent_std`, the greatest there can be where it is unknown."""
    # Of a number and NaN this takes the number.
    return np.fmin(independent_std, GREATEST_STD)


def confidence_of(advantage: float, std: float) -> float:
    """The probability that a normal variable of this mean and standard deviation is above zero, to nine decimals."""
    if std == 0.0:
        return 0.5 if advantage == 0.0 else float(advantage > 0.0)
    return round(0.5 * math.erfc(-advantage / (std * math.sqrt(2.0))), 9)


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
