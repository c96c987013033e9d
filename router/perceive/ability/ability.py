"""A card's ability: the Gaussian posterior of how well it does in each skill.

This is the linear item-response model with Gaussian uncertainty. For a prompt with the skills `s`, and `x = (1, s)`:

    expected quality = x · m        variance of the expected quality = xᵀ C x

`m` and `C` are the posterior mean and covariance. Evidence (`router.perceive.ability.belief`) narrows `C` and never
widens it. The prior of a card without outcomes is computed from its facts, by a factor model of the abilities and the
published facts of measured models.
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

_LEAST_CHANCE = 0.05
_FIRST_YEAR = 2020
NUMBERS = ("total_parameters", "active_parameters", "released", "price_usd_per_mtok", "open_weights")


class Ability(NamedTuple):
    """`mean` float64 `(1 + skills,)`, `covariance` `(1 + skills, 1 + skills)`."""

    mean: Doubles
    covariance: Doubles


def noise_variance(expected: Doubles) -> Doubles:
    """The variance of a single score around its expected value `p`: that of right or wrong, `p (1 - p)`."""
    chance = np.clip(expected, _LEAST_CHANCE, 1 - _LEAST_CHANCE)
    return np.asarray(chance * (1 - chance))


def profile_of(skills: Doubles) -> Doubles:
    """The profiles `x = (1, s)` of prompts with these skills `(prompts, skills)`."""
    return np.concatenate([np.ones((len(skills), 1)), skills], axis=1)


def most_informative(covariance: Doubles, profiles: Doubles, second_moment: Doubles, allowed: Mask) -> int:
    """The row of `profiles` whose outcome reduces the mean variance of the forecast most.

    `second_moment` `(1 + skills, 1 + skills)`, below `M`, is the mean of `x xᵀ` over the prompts to forecast; `allowed`
    marks the rows to choose from. The mean variance `tr(C M)` falls by `xᵀ C M C x / (xᵀ C x + noise)` (I-optimal
    design; the computerised adaptive test for a linear response). A tie goes to the earlier row.
    """
    cross = profiles @ covariance
    reduction = np.einsum("ij,jk,ik->i", cross, second_moment, cross)
    gain = reduction / (np.einsum("ij,ij->i", cross, profiles) + 0.25)
    return int(np.argmax(np.where(allowed, gain, -np.inf)))


class FactsModel(Struct, frozen=True, eq=False):
    """A factor model of abilities and facts: `(ability, facts) = mean + loadings · f + noise`.

    float64: `mean` `(1 + skills + facts,)`, `loadings` `(1 + skills + facts, factors)`, `noise`
    `(1 + skills + facts,)`, the variances that no factor explains.
    """

    mean: Doubles
    loadings: Doubles
    noise: Doubles

    def ability(self, facts: Doubles) -> Ability:
        """The prior for a model with these facts `(facts,)`, NaN where unknown; without any, the population prior."""
        size = len(self.mean) - len(facts)
        known = np.flatnonzero(np.isfinite(facts))
        of_facts, of_ability = self.loadings[size + known], self.loadings[:size]
        weighted = of_facts / self.noise[size + known, None]
        covariance = np.linalg.inv(np.eye(self.loadings.shape[1]) + weighted.T @ of_facts)
        factors = covariance @ (weighted.T @ (facts[known] - self.mean[size + known]))
        return Ability(
            self.mean[:size] + of_ability @ factors,
            of_ability @ covariance @ of_ability.T + np.diag(self.noise[:size]),
        )


def fact_count(families: Sequence[str]) -> int:
    """The length of `facts_row`."""
    return len(BENCHMARKS) + len(NUMBERS) + len(families)


def facts_row(facts: ModelFacts | None, families: Sequence[str]) -> Doubles:
    """The facts as float64 `(facts,)`, NaN where unknown: benchmarks as shares of their scales, `numbers_of` the facts,
    and the family as indicators of `families`.
    """
    if facts is None:
        return np.full(fact_count(families), np.nan)
    benchmarks = [facts.benchmarks.get(name, math.nan) for name in BENCHMARKS]
    family = [math.nan if facts.family is None else float(facts.family == name) for name in families]
    return np.array([*benchmarks, *numbers_of(facts), *family])


def numbers_of(facts: ModelFacts) -> tuple[float, ...]:
    """The facts named by `NUMBERS`, NaN where unknown: the logarithms of sizes and price, the release date in years
    since 2020, 1 for open weights.
    """
    released = math.nan
    if facts.released is not None:
        released = facts.released.year - _FIRST_YEAR + (facts.released.month - 1) / 12
    return (
        _logarithm(facts.total_parameters),
        _logarithm(facts.active_parameters),
        released,
        _logarithm(facts.price_usd_per_mtok),
        math.nan if facts.weights is None else float(facts.weights == "open"),
    )


def _logarithm(value: float | None) -> float:
    return math.log10(value) if value else math.nan
