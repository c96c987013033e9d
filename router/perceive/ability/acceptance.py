"""The item-response part of a predictor: the chance that a careful person accepts a model's answer.

    logit q = Σ_f w_f(z) e(r_mf) - b(z) + (1 - t) · γ · 4 · i_m(z)

`b` is the prompt's difficulty and `w` its families of tasks (`router.perceive.reader`), `r` the ratings of the model
(`router.perceive.ability.ratings`), `e` the curve from a rating to a strength. On an easy prompt every model is near
1; models differ where prompts are hard. `i` is what outcomes show about this model on this kind of prompt beyond its
ratings: the model-specific part of the skills (`router.perceive.skills`), which counts in domain only (`t` is the
probability that the prompt is out of domain). The strictness of a data set's grader and its answer format are no part
of `q`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from msgspec import Struct

from router.cards.benchmarks import FAMILIES
from router.perceive.ability.ability import Ability
from router.perceive.ability.ratings import LATENTS, RatingModel, memberships, rating_of
from router.perceive.exact import exp
from router.perceive.reader import CONTEXT_FEATURES, GRAM_BITS, READINGS, ReaderParameters
from router.types import Doubles

TIERS = ("small", "medium", "strong", "frontier")
"""The strengths for which prompts are graded, and an operator's words for a card's strength, the weakest first."""

TIER_NOISE = 0.5
"""The standard deviation of an operator's `tier` as a measurement of a rating, in units of 100 Elo."""

STRONGER_BY, STRONGER_NOISE = 0.2, 0.05
"""By how much a card that is `stronger_than` another is rated higher than it, and the standard deviation of that."""

_LOGIT_OF_INTERACTION = 4.0
_OLDER_SLOPE, _NEWER_SLOPE = 0.5, 0.7


class AcceptanceParameters(Struct, frozen=True, eq=False):
    """`reader` and `ratings`; float64: `memberships` `(columns, latents)` of all columns of the ratings, of which those
    after the published facts are outcomes; `outcomes` `(models, outcome columns)`, NaN where there are none; `rated`
    `(models + 1, families)`, the ratings of the measured models and of the population.
    `tier_ratings` and `tier_strengths` `(tiers,)` are the points of the curve from ratings to strengths. `difficulties`
    `(quantiles,)` are quantiles of the difficulty of everyday prompts, `families` `(families - 1,)` their mean
    families. `difficulty_variance` `()` is the error of a read difficulty; `interaction` `()` is `γ`.
    """

    reader: ReaderParameters
    ratings: RatingModel
    memberships: Doubles
    outcomes: Doubles
    rated: Doubles
    tier_ratings: Doubles
    tier_strengths: Doubles
    difficulties: Doubles
    families: Doubles
    difficulty_variance: Doubles
    interaction: Doubles

    @property
    def interaction_scale(self) -> float:
        """`4 γ`, by which an interaction counts in logits: the logistic function has the slope 1/4 in its middle."""
        return float(self.interaction) * _LOGIT_OF_INTERACTION

    def strengths(self, ratings: Doubles) -> Doubles:
        """The curve `e`, of any shape: linear between the tiers, and flatter beyond the weakest and strongest."""
        points, values = self.tier_ratings, self.tier_strengths
        first, last = ((values[i + 1] - values[i]) / (points[i + 1] - points[i]) for i in (0, len(points) - 2))
        below, above = np.minimum(ratings - points[0], 0.0), np.maximum(ratings - points[-1], 0.0)
        strengths: Doubles = np.interp(ratings, points, values)
        strengths += _OLDER_SLOPE * first * below + _NEWER_SLOPE * last * above
        return strengths

    def place(self, facts: Doubles, outcomes: Doubles, offset: float = 0.0) -> Ability:
        """The latent variables of a model with these measurements and these outcomes, NaN where unknown; `offset` is
        that of its family.
        """
        return self.ratings.posterior(np.concatenate([facts, outcomes]), self.memberships, offset)

    def strength_of(self, latent: Ability) -> Strength:
        """The strengths in each family of a model with these latent variables."""
        rating = rating_of(latent)
        step = 0.05
        slopes = (self.strengths(rating.mean + step) - self.strengths(rating.mean - step)) / (2 * step)
        variance = np.diag(latent.covariance)[: len(FAMILIES)]
        return Strength(self.strengths(rating.mean), variance * np.square(slopes))


class Strength(NamedTuple):
    """`mean` `(families,)`: the strength in each family. `variance` `(families,)`: that of the general strength, then
    of what each other family adds to it.
    """

    mean: Doubles
    variance: Doubles


def family_weights(readings: Doubles) -> Doubles:
    """The weights of all families `(prompts, families)` for readings `(prompts, READINGS)`; what no family of tasks
    takes is general.
    """
    shares = readings[:, 1:]
    return np.concatenate([1.0 - shares.sum(axis=1, keepdims=True), shares], axis=1)


def probability(logits: Doubles) -> Doubles:
    """The logistic function, away from 0 and 1."""
    bounded = np.minimum(np.maximum(logits, -12.0), 12.0)
    chance: Doubles = 1.0 / (1.0 + exp(-bounded))
    return chance


def acceptance_shapes(
    parameters: AcceptanceParameters, embedded: int, width: int, models: int, families: int
) -> dict[str, tuple[int, ...]]:
    """The shapes that the arrays must have, by their names in `head.npz`, for feature vectors of this width."""
    facts = len(memberships())
    landmarks = len(np.atleast_1d(parameters.reader.landmarks))
    latents = parameters.memberships.shape[-1] if parameters.memberships.ndim else 0
    columns = facts + (parameters.outcomes.shape[-1] if parameters.outcomes.ndim else 0)
    dense, tiers, others = width + CONTEXT_FEATURES, len(TIERS), len(FAMILIES) - 1
    shapes: dict[str, tuple[int, ...]] = {
        "reader.grams": (2**GRAM_BITS, READINGS),
        "reader.center": (dense,),
        "reader.scale": (dense,),
        "reader.weights": (dense, READINGS),
        "reader.intercept": (READINGS,),
        "reader.landmarks": (landmarks, embedded),
        "reader.landmark_scale": (landmarks,),
        "reader.landmark_weights": (landmarks, READINGS),
        "reader.curve": (2, max(parameters.reader.curve.size // 2, 1)),
        "ratings.center": (columns,),
        "ratings.slope": (columns,),
        "ratings.noise": (columns,),
        "ratings.prior_mean": (),
        "ratings.prior_variance": (latents,),
        "ratings.family_offset": (families,),
        "memberships": (columns, max(latents, LATENTS)),
        "outcomes": (models, columns - facts),
        "rated": (models + 1, len(FAMILIES)),
        "tier_ratings": (tiers,),
        "tier_strengths": (tiers,),
        "difficulties": (max(parameters.difficulties.size, 1),),
        "families": (others,),
        "difficulty_variance": (),
        "interaction": (),
    }
    return {f"acceptance.{name}": shape for name, shape in shapes.items()}
