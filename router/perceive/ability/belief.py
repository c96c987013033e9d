"""What is believed of one card's ability, and how outcomes change it: the linear and the item-response form.

Outcomes on prompts that are alike share what is particular to their topic, so together they say less about the card as
a whole than as many outcomes on different topics. The covariance of outcomes around their expected values is

    V = diag(noise) + τ² K

with the similarity `K` of their topics and the standard deviation `τ` of what is particular to a topic. However far
outcomes on a few topics are from what was expected, they move the ability by a limited distance only. What the
ability does not explain of them then corrects the forecasts of prompts like them (`router.perceive.ability.local`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, Self

import numpy as np
from msgspec import Struct

from router.perceive.ability.ability import Ability, most_informative, noise_variance
from router.perceive.ability.acceptance import AcceptanceParameters, family_weights, probability
from router.perceive.ability.local import LocalEvidence, similarity
from router.perceive.ability.ratings import family_matrix
from router.types import Doubles, Indices, Mask

TOPIC_STD = 0.25
"""`τ`, in quality."""

MOST_PER_TOPIC = 0.15
"""How far outcomes on one topic move an ability at most, in standard deviations of its prior."""

_STEP = 0.05
_SHARE_OF_LEVEL = 0.5

Rows = Indices | Sequence[int]
"""Numbers of rows; no tuple, which numpy takes for several axes."""


class Response(NamedTuple):
    """What an ability expects of some prompts, all float64: `expected` scores `(rows,)`, their derivatives `slopes`
    `(rows, size)` by the ability, the variance `noise` `(rows,)` of a score.
    """

    expected: Doubles
    slopes: Doubles
    noise: Doubles


class ResponseModel(Protocol):
    """From an ability to scores on some prompts, the rows."""

    @property
    def steps(self) -> int:
        """How often it is linearised for an update."""

    def respond(self, mean: Doubles, rows: Rows) -> Response:
        """The response of an ability with this mean."""

    def __len__(self) -> int:
        """The number of rows."""


class LinearResponse(Struct, frozen=True, eq=False):
    """The linear form: the expected score is `x · m`, with profiles `(rows, 1 + skills)`."""

    profiles: Doubles
    steps: int = 1

    def respond(self, mean: Doubles, rows: Rows) -> Response:
        """See `ResponseModel.respond`."""
        slopes = self.profiles[rows]
        expected = slopes @ mean
        return Response(expected, slopes, noise_variance(expected))

    def __len__(self) -> int:
        return len(self.profiles)


class LogisticResponse(Struct, frozen=True, eq=False):
    """The item-response form: the latent variables of a card's ratings, and readings `(rows, READINGS)`."""

    parameters: AcceptanceParameters
    readings: Doubles
    steps: int = 4

    def respond(self, mean: Doubles, rows: Rows) -> Response:
        """See `ResponseModel.respond`."""
        matrix, weights = family_matrix(len(mean)), family_weights(self.readings[rows])
        ratings, curve = matrix @ mean, self.parameters.strengths
        steps = (curve(ratings + _STEP) - curve(ratings - _STEP)) / (2 * _STEP)
        expected = probability(weights @ curve(ratings) - self.readings[rows, 0])
        slope = expected * (1 - expected)
        noise = noise_variance(expected) + np.square(slope) * float(self.parameters.difficulty_variance)
        return Response(expected, slope[:, None] * ((weights * steps) @ matrix), noise)

    def __len__(self) -> int:
        return len(self.readings)


class Belief(Struct, frozen=True, eq=False):
    """The ability of a card before and after some outcomes, and the prompts that it is asked about, the rows.

    `topics` `(rows, numbers)` are those of the rows; `rows` and `scores` are the outcomes, and `local` is what they say
    about prompts like them. The expected ability of an adapter stays that of its base: it is made for a task, and how
    well it does there says nothing about other prompts. It is immutable: `observe` returns a new one.
    """

    model: ResponseModel
    topics: Doubles
    prior: Ability
    ability: Ability
    rows: Indices
    scores: Doubles
    local: LocalEvidence | None = None
    is_adapter: bool = False

    @classmethod
    def of(cls, model: ResponseModel, topics: Doubles, prior: Ability, *, is_adapter: bool = False) -> Self:
        """The belief before any outcome."""
        return cls(model, topics, prior, prior, np.zeros(0, dtype=np.intp), np.zeros(0), is_adapter=is_adapter)

    def observe(self, rows: Rows, scores: Doubles) -> Belief:
        """The belief after further scores in [0, 1] on these rows.

        It is computed from the prior and all outcomes, since outcomes on prompts that are alike are not independent.
        """
        if not len(rows):
            return self
        all_rows = np.concatenate([self.rows, np.asarray(rows, dtype=np.intp)])
        all_scores = np.concatenate([self.scores, scores])
        ability = self._posterior(all_rows, all_scores)
        if self.is_adapter:
            ability = Ability(self.prior.mean, ability.covariance)
        residuals = all_scores - np.clip(self.model.respond(ability.mean, all_rows).expected, 0.0, 1.0)
        local = LocalEvidence.of(self.topics[all_rows], residuals, is_adapter=self.is_adapter)
        return Belief(self.model, self.topics, self.prior, ability, all_rows, all_scores, local, self.is_adapter)

    def expected(self, rows: Rows) -> Doubles:
        """The expected scores, not clipped, float64 `(rows,)`, with local evidence."""
        expected = self.model.respond(self.ability.mean, rows).expected
        return expected if self.local is None else expected + self.local.corrections(self.topics[rows])

    def mean_variance(self, rows: Rows) -> float:
        """The variance of the mean of the expected scores."""
        direction = self.model.respond(self.ability.mean, rows).slopes.mean(axis=0)
        return max(float(direction @ self.ability.covariance @ direction), 0.0)

    def expecting(self, rows: Rows) -> Belief:
        """The belief if these rows had the expected scores: how much outcomes narrow it depends little on them."""
        return self.observe(rows, self.model.respond(self.ability.mean, rows).expected)

    def most_informative(self, pending: Sequence[int], allowed: Mask) -> int | None:
        """The allowed row whose outcome would narrow the forecasts of all rows most, once those of the rows `pending`
        are known; None where the ability is certain.
        """
        known = self.expecting(pending)
        if not np.trace(known.ability.covariance) > 0:
            return None
        slopes = self.model.respond(self.ability.mean, np.arange(len(self.model))).slopes
        mean = slopes.mean(axis=0)
        # What differs from prompt to prompt matters more for a choice than the level that all prompts share.
        wanted = slopes.T @ slopes / len(slopes) - _SHARE_OF_LEVEL * np.outer(mean, mean)
        return most_informative(known.ability.covariance, slopes, wanted, allowed)

    def _posterior(self, rows: Indices, scores: Doubles) -> Ability:
        """The Gaussian posterior, linearised at itself (iterated extended Kalman filter)."""
        prior, mean = self.prior, self.prior.mean
        alike = similarity(self.topics[rows])
        for _ in range(self.model.steps):
            response = self.model.respond(mean, rows)
            cross = prior.covariance @ response.slopes.T
            of_ability = response.slopes @ cross
            gain = np.linalg.solve(of_ability + np.diag(response.noise) + TOPIC_STD**2 * alike, np.eye(len(rows)))
            weights = gain @ (scores - response.expected - response.slopes @ (prior.mean - mean))
            mean = prior.mean + cross @ weights
        # The length of the move in standard deviations of the prior.
        length = max(float(weights @ of_ability @ weights), 0.0) ** 0.5
        topics = float((1.0 / np.maximum(alike, 0.0).sum(axis=1)).sum())
        share = min(1.0, MOST_PER_TOPIC * topics / length) if length > 0 else 1.0
        covariance = prior.covariance - cross @ gain @ cross.T
        return Ability(prior.mean + share * (mean - prior.mean), (covariance + covariance.T) / 2)
