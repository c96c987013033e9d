"""A fast head of one tenant and card (S19, ViDA): what this tenant's votes say about its own prompts.

A Bayesian linear regression of residuals on `x = (projections of the prompt's topic, 1)`, of constant size, that
forgets by half-lives: with the information `A = Σ w x xᵀ` and the moments `b = Σ w d x`,

    correction = xᵀ m,    m = (A + prior · I)⁻¹ b,    variance = error² · xᵀ (A + prior · I)⁻¹ x

so it is near 0 where its uncertainty is great. It takes the place of the error memory's correction, for its own tenant
only, where its prequential score says that it reduced the squared error by more than that did, beyond doubt.
"""

from __future__ import annotations

import functools

import numpy as np
from msgspec import Struct

from router.perceive.memory.sketch import planes
from router.types import Doubles

PROJECTIONS = 8
SIZE = PROJECTIONS + 1
GAIN, SQUARE, SCORED = 0, 1, 2
"""Rows of the score: by how much it reduced the squared error, the squares of that, and the number of votes."""
PRIOR = 20.0
"""In votes of full weight; the best of 3, 8 and 20 on cards, prompts and seeds that `bench.learn.tastes` leaves out."""
HALF_LIFE, SCORE_HALF_LIFE, DOUBT = 200.0, 50.0, 1.0
"""As those of the error memory."""


class FastHeads(Struct, frozen=True, eq=False):
    """The heads of several tenants: `information` `(tenants, SIZE, SIZE)`, `moments` `(tenants, SIZE)`, `scores`
    `(tenants, 3)`.
    """

    information: Doubles
    moments: Doubles
    scores: Doubles

    @classmethod
    def empty(cls, tenants: int) -> FastHeads:
        """Heads without votes."""
        return cls(np.zeros((tenants, SIZE, SIZE)), np.zeros((tenants, SIZE)), np.zeros((tenants, 3)))

    def view(self, tenant: int) -> HeadView:
        """What the head of a tenant says."""
        inverse = np.linalg.inv(self.information[tenant] + PRIOR * np.eye(SIZE))
        gain, square, scored = self.scores[tenant]
        # As for the memory's choices, one vote of full weight is assumed to have shown nothing.
        mean = gain / (scored + 1.0)
        spread = max(square / (scored + 1.0) - mean**2, 0.0) ** 0.5
        is_better = bool(mean - DOUBT * spread / (scored + 1.0) ** 0.5 > 0)
        return HeadView(inverse @ self.moments[tenant], inverse, is_better, float(mean))

    def learn(self, tenant: int, projected: Doubles, residual: float, weight: float, of_memory: float) -> FastHeads:
        """After a vote; `of_memory` is the correction that the error memory would have applied."""
        x = np.append(projected, 1.0)
        added = float(self.view(tenant).weights @ x)
        gain = (residual - of_memory) ** 2 - (residual - added) ** 2
        keeps, kept = 0.5 ** (weight / HALF_LIFE), 0.5 ** (weight / SCORE_HALF_LIFE)
        information, moments, scores = self.information.copy(), self.moments.copy(), self.scores.copy()
        information[tenant] = keeps * information[tenant] + weight * np.outer(x, x)
        moments[tenant] = keeps * moments[tenant] + weight * residual * x
        scores[tenant] = kept * scores[tenant] + weight * np.array([gain, gain**2, 1.0])
        return FastHeads(information, moments, scores)

    def faded(self, keeps: Doubles) -> FastHeads:
        """After the time since the last vote of each tenant: what is left of them `(tenants,)`."""
        return FastHeads(
            self.information * keeps[:, None, None], self.moments * keeps[:, None], self.scores * keeps[:, None]
        )

    def without(self, tenant: int) -> FastHeads:
        """With an empty head in the place of a tenant's."""
        kept = np.ones(len(self.scores))
        kept[tenant] = 0.0
        return self.faded(kept)


class HeadView(Struct, frozen=True, eq=False):
    """A head: the `weights` `(SIZE,)` of a correction, their covariance but for the variance of a residual `(SIZE,
    SIZE)`, whether it is better than the error memory, and by how much it reduced the squared error more.
    """

    weights: Doubles
    covariance: Doubles
    is_better: bool
    score: float


@functools.lru_cache(maxsize=8)
def _directions(width: int) -> Doubles:
    directions: Doubles = planes(width)[:PROJECTIONS]
    return directions


def projected(topic: Doubles) -> Doubles:
    """The projections `(PROJECTIONS,)` of a topic `(numbers,)`, on the same planes as the sketch."""
    projections: Doubles = _directions(len(topic)) @ topic
    return projections
