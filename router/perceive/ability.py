"""A card's ability: what it makes of each skill, and how sure we are of it.

The linear item-response model with Gaussian doubt. For a prompt whose reading is `s`, with `x = (1, s)`:

    expected quality = x · m        variance of that expectation = xᵀ C x

`m` and `C` are the posterior mean and covariance. Evidence narrows `C` and never widens it. The ability of a card
without outcomes comes from its facts: a factor model of what measured models' abilities and published facts share.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from router.cards.benchmarks import BENCHMARKS
from router.cards.facts import ModelFacts
from router.types import Doubles, Mask

_LEAST_NOISE = 0.05
_FIRST_YEAR = 2020
_NUMBERS = ("total_parameters", "active_parameters", "released", "price_usd_per_mtok", "open_weights")


class Ability(NamedTuple):
    """`mean` float64 `(1 + skills,)`, `covariance` `(1 + skills, 1 + skills)`."""

    mean: Doubles
    covariance: Doubles

    def observe(self, profiles: Doubles, scores: Doubles) -> Ability:
        """The ability after these scores in [0, 1] on prompts of these profiles `(prompts, 1 + skills)`."""
        if not len(scores):
            return self
        noise = noise_variance(profiles @ self.mean)
        through = self.covariance @ profiles.T
        gain = np.linalg.solve(profiles @ through + np.diag(noise), through.T).T
        mean = self.mean + gain @ (scores - profiles @ self.mean)
        covariance = self.covariance - gain @ through.T
        return Ability(mean, (covariance + covariance.T) / 2)

    def expected_posterior(self, profiles: Doubles) -> Ability:
        """The ability once prompts of these profiles are answered as it expects: as sure as it will then be."""
        return self.observe(profiles, profiles @ self.mean)


def noise_variance(expected: Doubles) -> Doubles:
    """How much a single score scatters about what is expected: that of right or wrong, `p (1 - p)`."""
    chance = np.clip(expected, _LEAST_NOISE, 1 - _LEAST_NOISE)
    return np.asarray(chance * (1 - chance))


def profile_of(skills: Doubles) -> Doubles:
    """`(1, s)` for readings `(prompts, skills)`: what an ability's mean is multiplied with."""
    return np.concatenate([np.ones((len(skills), 1)), skills], axis=1)


def most_informative(covariance: Doubles, profiles: Doubles, usual: Doubles, allowed: Mask) -> int:
    """The row of `profiles` whose outcome narrows the forecast most, on average over prompts.

    `usual` `(1 + skills, 1 + skills)` is the mean of `x xᵀ` over the prompts to forecast; `allowed` says which rows may
    be asked. The mean variance `tr(C usual)` falls by `xᵀ C usual C x / (xᵀ C x + noise)` (I-optimal design; the
    computerised adaptive test for a linear response). A tie goes to the earlier row.
    """
    through = profiles @ covariance
    fall = np.einsum("ij,jk,ik->i", through, usual, through)
    gain = fall / (np.einsum("ij,ij->i", through, profiles) + 0.25)
    return int(np.argmax(np.where(allowed, gain, -np.inf)))


class FactsModel(Struct, frozen=True, eq=False):
    """What abilities and facts share, as a factor model: `(ability, facts) = mean + loadings · f + noise`.

    float64: `mean` `(1 + skills + facts,)`, `loadings` `(1 + skills + facts, factors)`, `noise`
    `(1 + skills + facts,)`, the variances of what is not shared.
    """

    mean: Doubles
    loadings: Doubles
    noise: Doubles

    def ability(self, facts: Doubles) -> Ability:
        """The ability to expect of a model with these facts `(facts,)`, NaN where unknown (all: the population's)."""
        size = len(self.mean) - len(facts)
        known = np.flatnonzero(np.isfinite(facts))
        shown = self.loadings[size + known]
        weighted = shown / self.noise[size + known, None]
        shared = np.linalg.inv(np.eye(self.loadings.shape[1]) + weighted.T @ shown)
        factors = shared @ (weighted.T @ (facts[known] - self.mean[size + known]))
        own = self.loadings[:size]
        return Ability(self.mean[:size] + own @ factors, own @ shared @ own.T + np.diag(self.noise[:size]))


def fact_count(families: Sequence[str]) -> int:
    """How many numbers `facts_row` gives."""
    return len(BENCHMARKS) + len(_NUMBERS) + len(families)


def facts_row(facts: ModelFacts | None, families: Sequence[str]) -> Doubles:
    """The facts as float64 `(facts,)`, NaN where unknown: benchmarks as shares of their scales, the logarithms of sizes
    and price, the years since 2020, whether the weights are open, and one for the family among `families`.
    """
    if facts is None:
        return np.full(fact_count(families), np.nan)
    benchmarks = [facts.benchmarks.get(name, math.nan) for name in BENCHMARKS]
    released = math.nan
    if facts.released is not None:
        released = facts.released.year - _FIRST_YEAR + (facts.released.month - 1) / 12
    numbers = (
        _logarithm(facts.total_parameters),
        _logarithm(facts.active_parameters),
        released,
        _logarithm(facts.price_usd_per_mtok),
        math.nan if facts.weights is None else float(facts.weights == "open"),
    )
    family = [math.nan if facts.family is None else float(facts.family == each) for each in families]
    return np.array([*benchmarks, *numbers, *family])


def _logarithm(value: float | None) -> float:
    return math.log10(value) if value else math.nan
