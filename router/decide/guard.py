"""The guard: a decision leaves the default card only where the forecast is confident that another card is better.

The best of many forecasts is often the luckiest one, so following every small difference loses quality. The default
card is the one that the policy states; otherwise the one that the same goals choose for an average prompt, with
uncertain cards ranked lower.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
from msgspec import Meta, Struct

from router.decide.fields import DecisionInputs
from router.decide.goals import COST, LOSS, goal_parts, loss_of, loss_weight, parts_of
from router.decide.ranking import AHEAD, best_of
from router.perceive import kernel
from router.types import GREATEST_STD, Doubles, Forecast, Guard, Mask


class GuardRule(Struct, frozen=True, forbid_unknown_fields=True):
    """The guard's two thresholds. `python -m bench.guard` chose the defaults.

    `confidence`: the best card answers only where the probability that its score is truly better than the default
    card's exceeds this; 0.5 requires no more than an advantage, and with 1 the default card answers wherever it may.
    `novelty`: the best card answers only where at most this share of the training prompts is less novel than the
    prompt; 1 lets any prompt pass.
    """

    confidence: Annotated[float, Meta(ge=0.5, le=1)] = 0.6
    novelty: Annotated[float, Meta(ge=0, le=1)] = 0.99

    def releases(self, confidence: Any, novelty: Any) -> Any:
        """Whether the best card may answer, for one prompt (floats) or for several (arrays of the same shape)."""
        return (confidence > self.confidence) & (novelty <= self.novelty)


class Comparison(Struct, frozen=True):
    """The best card against the default card, both as positions in the catalogue.

    `advantage` is how much lower, so better, the best card's score is; `std` its standard deviation; `confidence` the
    probability that it is truly above zero.
    """

    best: int
    default: int
    advantage: float
    std: float
    confidence: float


class GuardEvaluation(Struct, frozen=True, eq=False):
    """The guard applied to one prompt; arrays have one entry per card.

    `score` is the score on this prompt, `uncertainty` its standard deviation, `novelty` the prompt's. `safe_score`
    ranks default cards: the score on an average prompt plus `uncertainty`, since a card of which little is known is not
    a safe choice. `stated_default` is the position of the default card that the policy or the conversation states, None
    where there is none. `role` says in reasons which card it is: the `default` card or the `conversation's` card.
    `kept_because` is the reason why that card answers whatever the forecasts are, empty where they decide.
    """

    rule: GuardRule
    score: Doubles
    uncertainty: Doubles
    safe_score: Doubles
    novelty: float
    stated_default: int | None = None
    role: str = "default"
    kept_because: str = ""

    def compare(self, rejected: Mask, best: int | None = None, safest: int | None = None) -> Comparison:
        """The best of the cards that are not `rejected` against the default card among them. `best` and `safest` are
        the positions of those with the least `score` and `safe_score`, where they are known.

        Of the score, only the quality is uncertain; only the part of its uncertainty that cards do not share counts.
        """
        best, default = best_of(self.score, rejected) if best is None else best, self.stated_default
        if default is None or rejected[default]:
            default = best_of(self.safe_score, rejected) if safest is None else safest
        advantage = self.score.item(default) - self.score.item(best)
        std = math.hypot(self.uncertainty.item(best), self.uncertainty.item(default))
        return Comparison(best, default, advantage, std, confidence_of(advantage, std))

    def choose(self, rejected: Mask) -> int:
        """The position of the card that answers."""
        comparison = self.compare(rejected)
        released = self.rule.releases(comparison.confidence, self.novelty)
        return comparison.best if released else comparison.default

    def explain(self, comparison: Comparison, ids: Sequence[str], missing: str = "") -> Guard:
        """What the guard did, in numbers and words.

        `missing` is the reason why the policy's default card is not a candidate, where that is so.
        """
        best, default = ids[comparison.best], ids[comparison.default]
        prefix = f"{missing}; " if missing else ""
        if best == default:
            return Guard("same", f"{prefix}the {self.role} card is the best", default, best)
        if self.kept_because:
            reason = f"{self.kept_because}, so the {self.role} card {default} answers"
        elif self.novelty > self.rule.novelty:
            reason = (
                f"the prompt is more novel than {_percent(self.novelty)} of the training prompts; "
                f"above {_percent(self.rule.novelty)} the {self.role} card answers"
            )
        else:
            reason = (
                f"{best} scores {comparison.advantage:.3f} ± {comparison.std:.3f} better than the {self.role} card "
                f"{default}: confidence {_percent(comparison.confidence)}, "
                f"more than {_percent(self.rule.confidence)} is required"
            )
        return Guard(
            state="released" if self.rule.releases(comparison.confidence, self.novelty) else "held",
            reason=prefix + reason,
            default=default,
            best=best,
            advantage=comparison.advantage,
            advantage_std=comparison.std,
            confidence=comparison.confidence,
            confidence_needed=self.rule.confidence,
            novelty=self.novelty,
            novelty_allowed=self.rule.novelty,
        )


class Totals(NamedTuple):
    """The score, its standard deviation, and the `safe_score` of `GuardEvaluation`, each `(cards,)`."""

    score: Doubles
    uncertainty: Doubles
    safe_score: Doubles


class Scores(Struct, frozen=True, eq=False):
    """The parts of scores and their totals; and where they are known, the positions of the first candidates by their
    score, and of the one with the least `safe_score`.
    """

    parts: Mapping[str, Doubles]
    totals: Totals
    best: Sequence[int] | None = None
    safest: int | None = None


def scores_of(
    inputs: DecisionInputs, weights: Mapping[str, float], mistake_usd: float | None, rejected: Mask
) -> Scores:
    """`parts_of` and `totals_of` the cards, of which some are not `rejected`."""
    extension, forecast = kernel.extension(), inputs.forecast
    if extension is not None and mistake_usd is not None:
        out = np.empty((5, len(rejected)))
        arrays = forecast.choice_quality, forecast.cost_usd, forecast.mean_quality, forecast.independent_std
        of_goals = goal_parts(inputs, weights) if weights else {}
        found = extension.choose(
            arrays, tuple(of_goals.values()), loss_weight(weights), mistake_usd, rejected, out, AHEAD
        )
        if found is not None:
            safest, *best = found
            parts = {LOSS: out[0], COST: out[1], **of_goals}
            return Scores(parts, Totals(out[2], out[3], out[4]), best, safest)
    parts = parts_of(inputs, weights, mistake_usd)
    return Scores(parts, totals_of(parts, forecast, loss_weight(weights)))


def totals_of(parts: Mapping[str, Doubles], forecast: Forecast, weight: float) -> Totals:
    """The sums of the parts of scores, in their order; `weight` is that of the loss."""
    extension = kernel.extension()
    if extension is not None:
        out = np.empty((3, len(forecast.mean_quality)))
        values = tuple(parts.values())
        if extension.totals(values, forecast.mean_quality, forecast.independent_std, weight, out):
            return Totals(out[0], out[1], out[2])
    uncertainty = weight * uncertainty_of(forecast.independent_std)
    average_prompt_parts = {**parts, LOSS: weight * loss_of(forecast.mean_quality)}
    safe_score = functools.reduce(np.add, average_prompt_parts.values()) + uncertainty
    return Totals(functools.reduce(np.add, parts.values()), uncertainty, safe_score)


def uncertainty_of(independent_std: Doubles) -> Doubles:
    """`independent_std`, with the greatest possible value where it is unknown."""
    # `fmin` ignores NaN.
    return np.fmin(independent_std, GREATEST_STD)


def confidence_of(advantage: float, std: float) -> float:
    """The probability that a normal variable of this mean and standard deviation is above zero, to nine decimals."""
    if std == 0.0:
        return 0.5 if advantage == 0.0 else float(advantage > 0.0)
    return round(0.5 * math.erfc(-advantage / (std * math.sqrt(2.0))), 9)


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
