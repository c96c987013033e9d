"""What is believed of one card's ability, and how outcomes change it: the linear and the item-response form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Self

import numpy as np
from msgspec import Struct

from router.perceive.ability import Ability, most_informative, noise_variance
from router.perceive.acceptance import AcceptanceParameters, family_weights, probability
from router.perceive.ratings import family_matrix
from router.types import Doubles, Indices, Mask

_STEPS = 2
_STEP = 0.05


class Belief(Protocol):
    """The ability of a card, and some prompts, its rows."""

    def observe(self, rows: Indices | Sequence[int], scores: Doubles) -> Self:
        """The belief after these scores in [0, 1] on these rows."""

    def expected(self, rows: Indices | Sequence[int]) -> Doubles:
        """The expected scores, not clipped, float64 `(rows,)`."""

    def mean_variance(self, rows: Indices | Sequence[int]) -> float:
        """The variance of the mean of the expected scores."""

    def most_informative(self, pending: Sequence[int], allowed: Mask) -> int | None:
        """The allowed row whose outcome would narrow the forecasts most, once those of the rows `pending` are known;
        None where the ability is certain.
        """


class LinearBelief(Struct, frozen=True, eq=False):
    """`ability` over profiles `(rows, 1 + skills)`; `second_moment` describes the prompts to forecast."""

    ability: Ability
    profiles: Doubles
    second_moment: Doubles

    def observe(self, rows: Indices | Sequence[int], scores: Doubles) -> LinearBelief:
        """See `Belief.observe`."""
        ability = self.ability.observe(self.profiles[rows], scores) if len(rows) else self.ability
        return LinearBelief(ability, self.profiles, self.second_moment)

    def expected(self, rows: Indices | Sequence[int]) -> Doubles:
        """See `Belief.expected`."""
        expected: Doubles = self.profiles[rows] @ self.ability.mean
        return expected

    def mean_variance(self, rows: Indices | Sequence[int]) -> float:
        """See `Belief.mean_variance`."""
        mean_profile = self.profiles[rows].mean(axis=0)
        return max(float(mean_profile @ self.ability.covariance @ mean_profile), 0.0)

    def most_informative(self, pending: Sequence[int], allowed: Mask) -> int | None:
        """See `Belief.most_informative`."""
        covariance = self.ability.expected_posterior(self.profiles[list(pending)]).covariance
        if not np.trace(covariance) > 0:
            return None
        return most_informative(covariance, self.profiles, self.second_moment, allowed)


class LogisticBelief(Struct, frozen=True, eq=False):
    """`latent`, the latent variables of a card's ratings, and the readings `(rows, READINGS)` of prompts."""

    parameters: AcceptanceParameters
    latent: Ability
    readings: Doubles

    def observe(self, rows: Indices | Sequence[int], scores: Doubles) -> LogisticBelief:
        """See `Belief.observe`; linearised at the posterior (iterated extended Kalman filter)."""
        if not len(rows):
            return self
        mean, prior = self.latent.mean, self.latent
        for _ in range(_STEPS):
            expected, slopes = self._linearised(mean, rows)
            cross = prior.covariance @ slopes.T
            noise = noise_variance(expected) + np.square(expected * (1 - expected)) * float(
                self.parameters.difficulty_variance
            )
            gain = np.linalg.solve(slopes @ cross + np.diag(noise), cross.T).T
            mean = prior.mean + gain @ (scores - expected - slopes @ (prior.mean - mean))
        covariance = prior.covariance - gain @ cross.T
        return LogisticBelief(self.parameters, Ability(mean, (covariance + covariance.T) / 2), self.readings)

    def expected(self, rows: Indices | Sequence[int]) -> Doubles:
        """See `Belief.expected`."""
        return self._linearised(self.latent.mean, rows)[0]

    def mean_variance(self, rows: Indices | Sequence[int]) -> float:
        """See `Belief.mean_variance`."""
        direction = self._linearised(self.latent.mean, rows)[1].mean(axis=0)
        return max(float(direction @ self.latent.covariance @ direction), 0.0)

    def most_informative(self, pending: Sequence[int], allowed: Mask) -> int | None:
        """See `Belief.most_informative`."""
        pending = list(pending)
        known = self.observe(pending, self.expected(pending)).latent
        everything = np.arange(len(self.readings))
        _, slopes = self._linearised(self.latent.mean, everything)
        return most_informative(known.covariance, slopes, slopes.T @ slopes / len(slopes), allowed)

    def _linearised(self, mean: Doubles, rows: Indices | Sequence[int]) -> tuple[Doubles, Doubles]:
        """The expected scores `(rows,)` and their derivatives by the latent variables `(rows, latents)`."""
        matrix, weights = family_matrix(len(mean)), family_weights(self.readings[rows])
        ratings, curve = matrix @ mean, self.parameters.strengths
        slopes = (curve(ratings + _STEP) - curve(ratings - _STEP)) / (2 * _STEP)
        expected = probability(weights @ curve(ratings) - self.readings[rows, 0])
        return expected, (expected * (1 - expected))[:, None] * ((weights * slopes) @ matrix)
