"""Local evidence: what the outcomes of a card's probes say about prompts like them, and only about these.

    q(z) = q_0(z) + Σ_i k_i(z) (y_i - q_0(z_i)) / (κ + Σ_i k_i(z))        k_i(z) = exp(-β (1 - cos(z, z_i)))

`q_0` is the forecast without it. It is a kernel regression of the residuals with `κ` pseudo-outcomes of zero, as in the
training-free adapters of CapS-Adapter and ReLoop2 (with a discount of one). A prompt unlike all probes keeps its
forecast.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from router.perceive.skills import unit_rows
from router.types import Doubles, Floats

SHARPNESS, PRIOR_OUTCOMES = 10.0, 1.0
"""`β` and `κ`."""


class LocalEvidence(Struct, frozen=True, eq=False):
    """The outcomes of one card: topics float32 `(outcomes, embedded)` of length one, and residuals `(outcomes,)`."""

    topics: Floats
    residuals: Doubles

    def correction(self, topic: Floats) -> float:
        """What is added to the forecast of a prompt with this topic `(embedded,)`, of length one."""
        weights = np.exp(SHARPNESS * ((self.topics * topic).sum(axis=1, dtype=np.float64) - 1.0))
        return float((weights * self.residuals).sum() / (PRIOR_OUTCOMES + weights.sum()))


def topics_of_vectors(vectors: Floats, embedded: int) -> Floats:
    """The embeddings of feature vectors `(prompts, width)`, scaled to length one."""
    topics: Floats = unit_rows(vectors[:, :embedded].astype(np.float32))
    return topics
