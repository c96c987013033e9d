"""Reading a prompt's features as skills: what the prompt asks of a model, as a few numbers.

    s(z) = (1 - t) · B_near φ(z) + t · B_far φ(z)

`φ(z)` is one, the standardised features, and the prompt's likeness to landmarks of the training prompts. `t` is how
likely the prompt is of a kind that the training has not seen, judged by how strange its topic is: its Mahalanobis
distance from the training's topics, and its distance from the nearest landmark. Near the training the skills may lean
on everything, far from it on the topic alone, because formats and lengths differ between data sets more than topics do.
`docs/predictor.md` explains it; fitting is `router.learn.training.skill_stack`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from msgspec import Struct

from router.types import Doubles, Floats

CLIP = 8.0
"""A standardised feature beyond this many standard deviations says no more than "far out"."""

_EXACT_IN_FLOAT32 = 2**24
_SHARES = np.linspace(0.0, 0.99, 101)
"""The novelty at each quantile of the training's strangeness: what lies beyond the last has the rest."""


class SkillParameters(Struct, frozen=True, eq=False):
    """The arrays through which a feature vector of `width` numbers, `embedded` of them the embedding, is read.

    `center`, `scale` float32 `(width,)`; `topic_center` float32 `(embedded,)`; `landmarks` int8 `(landmarks, embedded)`
    with `landmark_scale` `(landmarks,)`; `sharpness` `(1,)`, the inverse temperature of the likeness;
    `likeness_center`, `likeness_scale` `(landmarks,)`; `gate` `(2,)`, offset and slope of the logit of `t`;
    `near`, `far` float32 `(1 + width + landmarks, skills)`; `directions`
    `(directions, embedded)`, along which topics vary most, with `precision` `(directions + 1,)`, the last for all other
    directions; `strangeness` `(3,)`, its offset and what the distance and the closeness add to it;
    `strangeness_quantiles` `(101,)`, of the training prompts, ascending.
    """

    center: Floats
    scale: Floats
    topic_center: Floats
    landmarks: Floats
    landmark_scale: Floats
    sharpness: Floats
    likeness_center: Floats
    likeness_scale: Floats
    gate: Floats
    near: Floats
    far: Floats
    directions: Floats
    precision: Floats
    strangeness: Floats
    strangeness_quantiles: Floats


class SkillProjection(NamedTuple):
    """Of each prompt, float64: `read` `(prompts, 1 + width + landmarks)`, which is `φ`; `skills` `(prompts, skills)`;
    `farness` `(prompts,)`, which is `t` in [0, 1]; `novelty` `(prompts,)`, the share of training prompts that are
    less strange.
    """

    read: Doubles
    skills: Doubles
    farness: Doubles
    novelty: Doubles


class SkillProjector:
    """Reads feature vectors through one lens. A prompt's reading is the same in a batch and alone."""

    def __init__(self, lens: SkillParameters) -> None:
        self.lens = lens
        self._landmarks = np.ascontiguousarray(lens.landmarks.T, dtype=np.float32)
        self._levels = levels(lens.landmarks.shape[1])
        self._quantiles = lens.strangeness_quantiles.astype(np.float64)
        self._directions = np.ascontiguousarray(lens.directions.T, dtype=np.float64)
        self._near_and_far = np.concatenate([lens.near, lens.far], axis=1).astype(np.float64)
        precision = lens.precision.astype(np.float64)
        self._rest, self._along = precision[-1], precision[:-1] - precision[-1]
        self._strangeness, self._gate = lens.strangeness.astype(np.float64), lens.gate.astype(np.float64)

    def __call__(self, vectors: Floats) -> SkillProjection:
        """The readings of feature vectors `(prompts, width)`."""
        standard, likeness, strangeness = self.features(vectors)
        farness = self.farness(strangeness)
        read = np.concatenate([np.ones((len(vectors), 1)), standard, likeness], axis=1)
        near, far = np.split(row_by_row(read, self._near_and_far), 2, axis=1)
        skills = near + farness[:, None] * (far - near)
        return SkillProjection(read, skills, farness, self._novelty(strangeness))

    def features(self, vectors: Floats) -> tuple[Floats, Doubles, Doubles]:
        """Standardised features `(prompts, width)`, standardised likeness to each landmark `(prompts, landmarks)`, and
        strangeness `(prompts,)`.
        """
        closeness = self.closeness(vectors)
        strangeness = self.strangeness(self.distance(vectors), closeness.max(axis=1))
        return self.standard(vectors), self.likeness(closeness), strangeness

    def standard(self, vectors: Floats) -> Floats:
        """The features in standard deviations from the training's mean, clipped."""
        lens = self.lens
        standard: Floats = np.minimum(np.maximum((vectors - lens.center) / lens.scale, -CLIP), CLIP)
        return standard

    def closeness(self, vectors: Floats) -> Doubles:
        """The cosine of each prompt's topic and each landmark, float64 `(prompts, landmarks)`.

        Both are whole numbers small enough that every sum of products is exact in single precision: so the result
        depends neither on the machine nor on the size of the batch.
        """
        whole, step = quantised(unit_rows(topics_of(vectors, self.lens)), self._levels)
        cosines: Doubles = (whole @ self._landmarks) * (step.astype(np.float64) * self.lens.landmark_scale)
        return cosines

    def likeness(self, closeness: Doubles) -> Doubles:
        """The softmax of the closeness to all landmarks, standardised."""
        lens = self.lens
        raised = np.exp((closeness - closeness.max(axis=1, keepdims=True)) * float(lens.sharpness[0]))
        raised /= raised.sum(axis=1, keepdims=True)
        raised -= lens.likeness_center
        raised /= lens.likeness_scale
        clipped: Doubles = np.minimum(np.maximum(raised, -CLIP), CLIP, out=raised)
        return clipped

    def distance(self, vectors: Floats) -> Doubles:
        """The squared Mahalanobis distance of each prompt's topic from the training's mean, float64 `(prompts,)`."""
        away = topics_of(vectors, self.lens).astype(np.float64)
        distance: Doubles = np.square(away).sum(axis=1) * self._rest + row_by_row(
            np.square(row_by_row(away, self._directions)), self._along
        )
        return distance

    def strangeness(self, distance: Doubles, nearest: Doubles) -> Doubles:
        """How strange prompts at this distance are whose nearest landmark is this close."""
        offset, of_distance, of_closeness = self._strangeness
        strangeness: Doubles = offset + of_distance * distance + of_closeness * nearest
        return strangeness

    def farness(self, strangeness: Doubles) -> Doubles:
        """`t` for prompts that are so strange."""
        offset, slope = self._gate
        farness: Doubles = 1.0 / (1.0 + np.exp(np.minimum(np.maximum(-(offset + slope * strangeness), -30.0), 30.0)))
        return farness

    def _novelty(self, strangeness: Doubles) -> Doubles:
        quantiles = self._quantiles
        ranked = np.interp(strangeness, quantiles, _SHARES)
        # Beyond the strangest training prompt too, what is stranger has the greater novelty.
        beyond = np.maximum(strangeness - quantiles[-1], 0.0)
        novelty: Doubles = ranked + (1.0 - _SHARES[-1]) * (beyond / (1.0 + beyond))
        return novelty


def topics_of(vectors: Floats, lens: SkillParameters) -> Floats:
    """The embeddings in `vectors` `(prompts, width)` less the training's mean, float32 `(prompts, embedded)`."""
    topics: Floats = vectors[:, : len(lens.topic_center)] - lens.topic_center
    return topics


def unit_rows(rows: Floats) -> Floats:
    """`rows` scaled to length one; a row of zeros as it is."""
    length = np.sqrt(np.square(rows).sum(axis=1, keepdims=True))
    scaled: Floats = rows / np.maximum(length, 1e-12)
    return scaled


def row_by_row(rows: Doubles, matrix: Doubles) -> Doubles:
    """`rows @ matrix`, where each row of the product is the same to the bit whatever other rows there are."""
    # Of a stack of one-row matrices each is multiplied by itself.
    product: Doubles = (rows[:, None, :] @ matrix)[:, 0]
    return product


def levels(width: int) -> int:
    """The greatest whole number such that the sum of `width` products of two such numbers is exact in float32."""
    return max(1, min(127, int((_EXACT_IN_FLOAT32 / max(width, 1)) ** 0.5)))


def quantised(rows: Floats, greatest: int) -> tuple[Floats, Floats]:
    """`rows` as whole numbers from `-greatest` to `greatest`, and the step `(rows, 1)` that gives them back."""
    step = np.maximum(np.abs(rows).max(axis=1, keepdims=True), 1e-12) / np.float32(greatest)
    return np.rint(rows / step).astype(np.float32, copy=False), step.astype(np.float32, copy=False)
