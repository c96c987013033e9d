"""The features of the members of many prompts at once, in single precision.

The served forecasts are the same to the bit on every machine, which takes sums in a fixed order. Training needs no such
sums: its features are those of `SkillProjector.features` up to rounding.
"""

from __future__ import annotations

import numpy as np

from router.perceive.skills import CLIP, SkillParameters, SkillProjector
from router.types import Doubles, Floats, Indices

_ROWS_AT_A_TIME = 1024
"""So many that what is computed of them stays in the processor's cache."""


def features_of(vectors: Floats, projector: SkillProjector) -> Floats:
    """Standardised features and standardised similarities, float32 `(prompts, width + landmarks)`."""
    parameters = projector.parameters
    width = len(parameters.center)
    features = np.empty((len(vectors), width + len(parameters.landmarks)), dtype=np.float32)
    for start in range(0, len(vectors), _ROWS_AT_A_TIME):
        rows = slice(start, start + _ROWS_AT_A_TIME)
        features[rows, :width] = projector.standardised(vectors[rows])
        similarities = softmax(projector.cosine(vectors[rows]), parameters)
        features[rows, width:] = standardised(similarities, parameters.similarity_center, parameters.similarity_scale)
    return features


def softmax(cosines: Doubles, parameters: SkillParameters) -> Floats:
    """The similarities to all landmarks, not yet standardised, float32 `(prompts, landmarks)`."""
    exponents: Floats = (cosines - cosines.max(axis=1, keepdims=True)).astype(np.float32)
    exponents *= parameters.sharpness[0]
    np.exp(exponents, out=exponents)
    exponents /= exponents.sum(axis=1, keepdims=True)
    return exponents


def standardised(similarities: Floats, center: Floats, scale: Floats) -> Floats:
    """`similarities` in standard deviations from their mean, clipped, in place."""
    similarities -= center
    similarities /= scale
    return np.clip(similarities, -CLIP, CLIP, out=similarities)


def standardise_without(similarities: Floats, left_out: Indices) -> None:
    """`standardised` with the mean and the deviation of all rows but those, in place."""
    rows = len(similarities) - len(left_out)

    def mean_of_others(values: Floats) -> Doubles:
        total: Doubles = values.sum(axis=0, dtype=np.float64) - values[left_out].sum(axis=0, dtype=np.float64)
        return total / rows

    similarities -= mean_of_others(similarities).astype(np.float32)
    deviation = np.sqrt(np.maximum(mean_of_others(np.square(similarities)), 0.0))
    standardised(similarities, np.zeros(1, np.float32), np.maximum(deviation, 1e-6).astype(np.float32))


def distances(topics: Floats, parameters: SkillParameters) -> Doubles:
    """The squared Mahalanobis distances of float32 topics `(prompts, embedded)`, as `SkillProjector.distance`."""
    rest = parameters.precision[-1]
    along: Floats = np.square(topics @ parameters.directions.T) @ (parameters.precision[:-1] - rest)
    of_all: Doubles = np.einsum("ij,ij->i", topics, topics) * np.float64(rest) + along
    return of_all
