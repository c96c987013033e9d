"""Local evidence: what the outcomes of a card's probes say about prompts like them, and only about these.

    q(z) = q_0(z) + k(z) · (K + κ I)⁻¹ (y - q_0)        k_i(z) = (exp(β c_i) - 1) / (exp(β) - 1)

`q_0` is the forecast without it, `c_i` the cosine of the topics of `z` and of probe `i`, `K` the same similarity among
the probes. It is a kernel regression of the residuals: one probe, or `n` alike, give `k n / (κ + n)` of their residual.
Weights by similarity alone, `Σ k_i r_i / (κ + Σ k_i)`, give the same for these, but forty probes of another topic would
add up to a correction. A prompt unlike all probes keeps its forecast.

How far the outcomes of one card agree with those near them is measured on themselves: the regression without outcome
`i` forecasts its residual `r_i` as `f_i`, and all corrections are multiplied with the factor of `f` that fits `r` best,
between 0 and 1. Where the neighbours of an outcome say nothing about it, the correction is nearly 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from msgspec import Struct

from router.cards import Catalog
from router.perceive.skills import unit_rows
from router.types import Doubles, Floats

SHARPNESS, PRIOR_OUTCOMES = 5.0, 1.0
"""`β` and `κ`."""

PRIOR_AGREEMENT = 0.1
"""The weight with which a factor of 1 is assumed: so many squared units of forecast residuals."""

_SHARE_OF_FAMILIES = 0.2


class LocalEvidence(Struct, frozen=True, eq=False):
    """The outcomes of one card: topics `(outcomes, numbers)`, weights `(outcomes,)`, and the largest residual.

    `of_task` is for an adapter, which is made for a task: by how much it is better there than its base is forecast.
    What it does well then raises its forecast on prompts of that task only; None for other cards.
    """

    topics: Doubles
    weights: Doubles
    bound: float
    of_task: float | None = None

    @classmethod
    def of(cls, topics: Doubles, residuals: Doubles, *, is_adapter: bool = False) -> LocalEvidence:
        """The evidence of outcomes on prompts with these topics `(outcomes, numbers)` and residuals `(outcomes,)`."""
        similar = similarity(topics)
        of_task = _of_task(similar, residuals) if is_adapter else None
        inverse = np.linalg.inv(similar + PRIOR_OUTCOMES * np.eye(len(topics)))
        weights = inverse @ residuals
        # Each residual as the regression without it forecasts it, which needs no second regression.
        left_out = residuals - weights / np.diag(inverse)
        agreement = (PRIOR_AGREEMENT + left_out @ residuals) / (PRIOR_AGREEMENT + left_out @ left_out)
        weights = weights * min(max(float(agreement), 0.0), 1.0)
        return cls(topics, np.asarray(weights, dtype=np.float64), float(np.abs(residuals).max(initial=0.0)), of_task)

    def correction(self, topic: Doubles) -> float:
        """What is added to the forecast of a prompt with this topic `(numbers,)`; at most the largest residual."""
        # Summed row by row, so that the result does not depend on how many prompts are forecast.
        near = np.maximum(_similarity_of((self.topics * topic).sum(axis=1)), 0.0)
        return min(max(float((near * self.weights).sum()), -self.bound), self.bound)

    def correction_on(self, topic: Doubles, *, is_of_task: bool) -> float:
        """`correction`, where it is known whether the prompt is of the task that an adapter is for."""
        correction = self.correction(topic)
        if self.of_task is None:
            return correction
        return max(correction, self.of_task) if is_of_task else min(correction, 0.0)

    def outcomes_near(self, topic: Doubles) -> float:
        """How many outcomes are on prompts like one with this topic `(numbers,)`, each weighed by its similarity."""
        return float(np.maximum(_similarity_of((self.topics * topic).sum(axis=1)), 0.0).sum())

    def corrections(self, topics: Doubles) -> Doubles:
        """The corrections `(prompts,)` of prompts with these topics `(prompts, numbers)`."""
        return np.array([self.correction(topic) for topic in topics], dtype=np.float64)


def _of_task(similar: Doubles, residuals: Doubles) -> float:
    """The mean residual of the outcomes that are like those better than expected, towards 0 where these are few."""
    better = residuals > 0
    if not better.any():
        return 0.0
    like = np.maximum(similar[:, better].mean(axis=1), 0.0)
    weights = np.minimum(like / like[better].mean(), 1.0)
    return float((weights * residuals).sum() / (PRIOR_OUTCOMES + weights.sum()))


def similarity(topics: Doubles) -> Doubles:
    """The similarity `(prompts, prompts)` of topics `(prompts, numbers)`: 1 for equal ones, 0 for unrelated ones."""
    return _similarity_of(topics @ topics.T)


def topics_of_vectors(vectors: Floats, center: Floats, families: Doubles | None) -> Doubles:
    """The topics of feature vectors `(prompts, width)`, of length one.

    They are the embeddings less their mean `center` `(embedded,)`, since all prompts have much in common, and the
    families of tasks `(prompts, families)` where they are known.
    """
    embedded = np.asarray(unit_rows(vectors[:, : len(center)] - center), dtype=np.float64)
    if families is None:
        return embedded
    of_families = families / np.maximum(np.linalg.norm(families, axis=1, keepdims=True), 1e-12)
    parts = embedded * (1 - _SHARE_OF_FAMILIES) ** 0.5, of_families * _SHARE_OF_FAMILIES**0.5
    return np.concatenate(parts, axis=1)


def _similarity_of(cosines: Doubles) -> Doubles:
    # A power series of the cosine with positive coefficients, so that the matrix is positive semi-definite.
    similar: Doubles = np.expm1(SHARPNESS * cosines) / np.expm1(SHARPNESS)
    return similar


def inherited(
    local: Mapping[int, LocalEvidence], catalog: Catalog, column: Callable[[Catalog, int], int | None]
) -> dict[int, LocalEvidence]:
    """The local evidence by position in the catalogue; a card without outcomes of its own has that of its origin.

    `column` gives the column of a card's own outcomes in the artifact, None without.
    """
    everyone = dict(local)
    for position in range(len(catalog)):
        nearest: int | None = position
        while nearest is not None and nearest not in local and column(catalog, nearest) is None:
            origin = catalog[nearest].origin
            nearest = None if origin is None else catalog.position(origin)
        if nearest is not None and nearest in local:
            everyone[position] = local[nearest]
    return everyone
