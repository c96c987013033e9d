"""Ratings: how strong a model is in each family of tasks, from published facts.

A rating is on the scale of the LMArena text leaderboard with style control, in hundreds of Elo points above 1200. The
published facts of a model are noisy measurements of its ratings:

    x_k = center_k + slope_k (g + d_family(k) + s_source(k)) + noise_k

`g` is the model's general rating, `d` how much better it is in a family of tasks, `s` what a source of benchmarks adds
for this model, such as the taste of the voters of an arena. Benchmarks are on the logit scale. Slopes are positive, so
a better score, a newer, larger or more expensive model is never rated lower. What is known of a model is the Gaussian
posterior of its ratings; without any facts it is the prior.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from msgspec import Struct

from router.cards.benchmarks import BENCHMARKS, FAMILIES
from router.cards.facts import ModelFacts
from router.perceive.ability.ability import NUMBERS, Ability, numbers_of
from router.types import Doubles

SOURCES = ("lmarena", "livebench", "openhands")
"""Sources of several benchmarks, by the beginning of their names."""

LATENTS = len(FAMILIES) + len(SOURCES)
"""`g`, the families but `general`, the sources."""

_ELO_OF_ZERO, _ELO_PER_UNIT = 1200.0, 100.0
_EDGE = 0.01


class RatingModel(Struct, frozen=True, eq=False):
    """The fitted model. float64: `center`, `slope`, `noise` (a variance) `(columns,)`; `prior_mean` `()`, that of `g`;
    `prior_variance` `(latents,)`; `family_offset` `(families of models,)`, by how much the models of a vendor's family
    are better than their size, date and price let expect.
    """

    center: Doubles
    slope: Doubles
    noise: Doubles
    prior_mean: Doubles
    prior_variance: Doubles
    family_offset: Doubles

    def posterior(self, facts: Doubles, memberships: Doubles, offset: float = 0.0) -> Ability:
        """Mean and covariance of the latent variables of a model with these facts `(columns,)`, NaN where unknown.

        `offset` is that of the model's family: its size, date and price say that much more.
        """
        mean = np.zeros(memberships.shape[1])
        mean[0] = self.prior_mean + offset
        numbers = np.zeros(len(facts))
        numbers[len(BENCHMARKS) : len(BENCHMARKS) + len(NUMBERS)] = 1.0
        return self.updated(
            Ability(mean, np.diag(self.prior_variance)), facts + numbers * self.slope * offset, memberships
        )

    def updated(self, prior: Ability, facts: Doubles, memberships: Doubles) -> Ability:
        """Mean and covariance of the latent variables, given those before these facts `(columns,)`, NaN where unknown
        were known.
        """
        known = np.flatnonzero(np.isfinite(facts))
        if not len(known):
            return prior
        design = self.slope[known, None] * memberships[known]
        weighted = design / self.noise[known, None]
        covariance = np.linalg.inv(np.linalg.inv(prior.covariance) + weighted.T @ design)
        residual = facts[known] - self.center[known] - design @ prior.mean
        posterior: Doubles = prior.mean + covariance @ (weighted.T @ residual)
        return Ability(posterior, np.asarray(covariance, dtype=np.float64))


def rating_of(latent: Ability) -> Ability:
    """The ratings by family `(families,)`, in the order of `FAMILIES`, from the latent variables."""
    families = family_matrix(len(latent.mean))
    return Ability(families @ latent.mean, families @ latent.covariance @ families.T)


def family_matrix(latents: int) -> Doubles:
    """The matrix `(families, latents)` that maps latent variables to ratings."""
    families = np.eye(len(FAMILIES), latents)
    families[:, 0] = 1.0
    return families


def memberships() -> Doubles:
    """For each column of `measurements` the latent variables that it measures, float64 `(columns, LATENTS)`."""
    table = np.zeros((len(BENCHMARKS) + len(NUMBERS), LATENTS))
    table[:, 0] = 1.0
    for row, (name, scale) in enumerate(BENCHMARKS.items()):
        if scale.family != "general":
            table[row, FAMILIES.index(scale.family)] = 1.0
        for place, source in enumerate(SOURCES):
            if name.startswith(source):
                table[row, len(FAMILIES) + place] = 1.0
    return table


def measurements(facts: ModelFacts | None) -> Doubles:
    """The facts as float64 `(columns,)`, NaN where unknown: ratings in units of 100 Elo, the logits of other
    benchmarks, `numbers_of` the facts.
    """
    if facts is None:
        return np.full(len(BENCHMARKS) + len(NUMBERS), np.nan)
    return np.array([*benchmark_measurements(facts.benchmarks), *numbers_of(facts)])


def benchmark_measurements(shares: Mapping[str, float]) -> list[float]:
    """The measurements of all benchmarks, NaN where a share is missing."""
    values = []
    for name, scale in BENCHMARKS.items():
        share = shares.get(name, math.nan)
        if scale.rating:
            elo = scale.least + share * (scale.greatest - scale.least)
            values.append((elo - _ELO_OF_ZERO) / _ELO_PER_UNIT)
        else:
            clipped = min(max(share, _EDGE), 1 - _EDGE) if math.isfinite(share) else math.nan
            values.append(math.log(clipped / (1 - clipped)))
    return values
