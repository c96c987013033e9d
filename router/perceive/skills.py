"""Skills: what a prompt asks of a model, as a few numbers computed from its feature vector.

    s(z) = (1 - t) · B_in φ(z) + t · B_out φ(z)

`φ(z)` is one, the standardised features, and the prompt's similarity to landmarks, which are cluster centres of the
training prompts. `t` is the probability that the prompt is out of domain, computed from its out-of-domain (OOD) score:
the Mahalanobis distance of its topic from the training topics, and its distance from the nearest landmark. In domain,
the skills use all features; out of domain, only the topic, because formats and lengths differ between data sets more
than topics do. `docs/predictor.md` explains the model; `router.learn.training.skill_stack` fits it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct

from router.perceive import kernel
from router.perceive.exact import exp, in_order, interpolated
from router.types import Doubles, Floats

CLIP = 8.0
"""Standardised features are clipped at this many standard deviations: larger values carry no more information."""

_EXACT_IN_FLOAT32 = 2**24
QUANTILE_NOVELTIES = np.linspace(0.0, 0.99, 101)
"""The novelty at each quantile of the training prompts' OOD scores; scores above the last quantile share the rest."""

_STORED_NAMES = {
    "similarity_center": "likeness_center",
    "similarity_scale": "likeness_scale",
    "ood_logit": "gate",
    "in_domain": "near",
    "out_of_domain": "far",
    "ood_score": "strangeness",
    "ood_score_quantiles": "strangeness_quantiles",
}
"""Arrays that have another name in `head.npz`, whose format is fixed."""


class SkillParameters(Struct, frozen=True, eq=False, rename=_STORED_NAMES):
    """The arrays that map a feature vector of `width` numbers, of which the first `embedded` are the embedding, to
    skills.

    Standardisation: `center`, `scale` float32 `(width,)`; `topic_center` float32 `(embedded,)`.
    Landmarks: `landmarks` int8 `(landmarks, embedded)`, `landmark_scale` `(landmarks,)`; `sharpness` `(1,)`, the
    inverse temperature of the similarity; `similarity_center`, `similarity_scale` `(landmarks,)`.
    Skills: `in_domain`, `out_of_domain` float32 `(1 + width + landmarks, skills)`.
    OOD score: `directions` `(directions, embedded)`, the principal axes of the topics, and `precision`
    `(directions + 1,)`, of which the last holds for all other directions; `ood_score` `(3,)`, the intercept and the
    coefficients of the distance and of the cosine to the nearest landmark; `ood_score_quantiles` `(101,)`, those of the
    training prompts, ascending; `ood_logit` `(2,)`, intercept and slope of the logit of `t`.
    """

    center: Floats
    scale: Floats
    topic_center: Floats
    landmarks: Floats
    landmark_scale: Floats
    sharpness: Floats
    similarity_center: Floats
    similarity_scale: Floats
    ood_logit: Floats
    in_domain: Floats
    out_of_domain: Floats
    directions: Floats
    precision: Floats
    ood_score: Floats
    ood_score_quantiles: Floats


class SkillProjection(NamedTuple):
    """The skills of prompts, all float64: `regressors` `(prompts, 1 + width + landmarks)`, which is `φ`; `skills`
    `(prompts, skills)`; `ood_probability` `(prompts,)`, which is `t` in [0, 1]; `novelty` `(prompts,)`, the share of
    training prompts with a lower OOD score.
    """

    regressors: Doubles
    skills: Doubles
    ood_probability: Doubles
    novelty: Doubles


class SkillProjector:
    """Computes skills from feature vectors. A prompt's skills are the same, to the bit, alone and in any batch."""

    def __init__(self, parameters: SkillParameters) -> None:
        self.parameters = parameters
        self._landmarks = np.ascontiguousarray(parameters.landmarks.T, dtype=np.float32)
        self._levels = levels(parameters.landmarks.shape[1])
        self._quantiles = parameters.ood_score_quantiles.astype(np.float64)
        self._directions = np.ascontiguousarray(parameters.directions.T, dtype=np.float64)
        both = np.concatenate([parameters.in_domain, parameters.out_of_domain], axis=1)
        self._in_and_out_of_domain = both.astype(np.float64)
        precision = parameters.precision.astype(np.float64)
        self._other_precision, self._extra_precision = precision[-1], precision[:-1] - precision[-1]
        self._ood_score = parameters.ood_score.astype(np.float64)
        self._ood_logit = parameters.ood_logit.astype(np.float64)
        self._is_compiled = kernel.extension() is not None

    def __call__(self, vectors: Floats) -> SkillProjection:
        """The skills of feature vectors `(prompts, width)`."""
        standardised, similarities, ood_scores = self.features(vectors)
        probability = self.ood_probability(ood_scores)
        regressors = np.concatenate([np.ones((len(vectors), 1)), standardised, similarities], axis=1)
        in_domain, out_of_domain = np.split(self._in_order(regressors, self._in_and_out_of_domain), 2, axis=1)
        skills = in_domain + probability[:, None] * (out_of_domain - in_domain)
        return SkillProjection(regressors, skills, probability, self._novelty(ood_scores))

    def compiled(self, length: Doubles, log_shares: Doubles) -> Any | None:
        """The arrays bound to the compiled kernel, with the weights `length` `(1 + width + landmarks,)` of an answer's
        length and the logarithms `(2, 2)` of the head's `uncertainty`; None where numpy is used.
        """
        parameters, skills = self.parameters, self.parameters.in_domain.shape[1]
        regressors, embedded = len(length), parameters.landmarks.shape[1]
        is_small = (
            embedded <= kernel.MOST_EMBEDDED
            and regressors <= kernel.MOST_REGRESSORS
            and skills <= kernel.MOST_TERMS
            and 2 * skills + 4 <= kernel.MOST_COLUMNS
            and len(parameters.directions) + 3 <= kernel.MOST_COLUMNS
        )
        if (extension := kernel.extension()) is None or not is_small or not skills or not len(parameters.landmarks):
            return None
        constants = np.array(
            [
                float(parameters.sharpness[0]),
                *self._ood_logit,
                *self._ood_score,
                self._other_precision,
                *np.asarray(log_shares, dtype=np.float64).ravel(),
            ]
        )
        return extension.Projection(
            *kernel.landmarks_of(
                parameters.landmarks, parameters.landmark_scale, parameters.topic_center, self._levels
            ),
            skills,
            *(
                kernel.contiguous(array, np.float32)
                for array in (
                    parameters.center,
                    parameters.scale,
                    parameters.similarity_center,
                    parameters.similarity_scale,
                )
            ),
            # They are stored as float32.
            kernel.in_lanes(self._in_and_out_of_domain, np.float32),
            kernel.contiguous(length, np.float64),
            kernel.in_lanes(self._directions, np.float32),
            kernel.in_lanes(self._extra_precision[None])[0],
            self._quantiles,
            QUANTILE_NOVELTIES,
            constants,
        )

    def features(self, vectors: Floats) -> tuple[Floats, Doubles, Doubles]:
        """Standardised features `(prompts, width)`, standardised similarity to each landmark `(prompts, landmarks)`,
        and OOD scores `(prompts,)`.
        """
        cosines = self.cosine(vectors)
        ood_scores = self.ood_score(self.distance(vectors), cosines.max(axis=1))
        return self.standardised(vectors), self.similarity(cosines), ood_scores

    def standardised(self, vectors: Floats) -> Floats:
        """The features in standard deviations from the training mean, clipped."""
        parameters = self.parameters
        standardised: Floats = np.minimum(np.maximum((vectors - parameters.center) / parameters.scale, -CLIP), CLIP)
        return standardised

    def cosine(self, vectors: Floats) -> Doubles:
        """The cosine of each prompt's topic and each landmark, float64 `(prompts, landmarks)`.

        Both are quantised to integers small enough that every sum of products is exact in single precision. So the
        result depends neither on the machine nor on the size of the batch.
        """
        integers, step = quantised(unit_rows(topics_of(vectors, self.parameters)), self._levels)
        scale = step.astype(np.float64) * self.parameters.landmark_scale
        cosines: Doubles = (integers @ self._landmarks) * scale
        return cosines

    def similarity(self, cosines: Doubles) -> Doubles:
        """The softmax of the cosines to all landmarks, standardised and clipped."""
        parameters = self.parameters
        if self._is_compiled and (extension := kernel.extension()) is not None:
            compiled = np.array(cosines, dtype=np.float64, order="C")
            arrays = (parameters.similarity_center, parameters.similarity_scale)
            center, scale = (np.array(np.broadcast_to(array, compiled.shape[1]), np.float32) for array in arrays)
            extension.similarities(compiled, len(compiled), float(parameters.sharpness[0]), center, scale)
            return compiled
        softmax = exp((cosines - cosines.max(axis=1, keepdims=True)) * float(parameters.sharpness[0]))
        softmax /= softmax.sum(axis=1, keepdims=True)
        softmax -= parameters.similarity_center
        softmax /= parameters.similarity_scale
        clipped: Doubles = np.minimum(np.maximum(softmax, -CLIP), CLIP, out=softmax)
        return clipped

    def distance(self, vectors: Floats) -> Doubles:
        """The squared Mahalanobis distance of each prompt's topic from the training mean, float64 `(prompts,)`."""
        topics = topics_of(vectors, self.parameters).astype(np.float64)
        along = np.square(self._in_order(topics, self._directions)) * self._extra_precision
        distance: Doubles = np.square(topics).sum(axis=1) * self._other_precision + along.sum(axis=1)
        return distance

    def _in_order(self, rows: Doubles, matrix: Doubles) -> Doubles:
        """`in_order` with a matrix of numbers that float32 can hold."""
        extension = kernel.extension() if self._is_compiled else None
        if extension is None or not matrix.size:
            return in_order(rows, matrix)
        in_lanes = kernel.in_lanes(matrix, np.float32)
        sums = np.empty((len(rows), in_lanes.shape[1]))
        extension.in_order(kernel.contiguous(rows, np.float64), *rows.shape, in_lanes, sums)
        return sums[:, : matrix.shape[1]]

    def ood_score(self, distances: Doubles, nearest_cosines: Doubles) -> Doubles:
        """The OOD score of prompts with these distances and these cosines to their nearest landmark."""
        intercept, of_distance, of_cosine = self._ood_score
        scores: Doubles = intercept + of_distance * distances + of_cosine * nearest_cosines
        return scores

    def ood_probability(self, ood_scores: Doubles) -> Doubles:
        """`t` for prompts with these OOD scores."""
        intercept, slope = self._ood_logit
        logit = intercept + slope * ood_scores
        probability: Doubles = 1.0 / (1.0 + exp(np.minimum(np.maximum(-logit, -30.0), 30.0)))
        return probability

    def _novelty(self, ood_scores: Doubles) -> Doubles:
        quantiles = self._quantiles
        ranked = interpolated(ood_scores, quantiles, QUANTILE_NOVELTIES)
        # Novelty keeps rising above the highest score of the training prompts.
        excess = np.maximum(ood_scores - quantiles[-1], 0.0)
        novelty: Doubles = ranked + (1.0 - QUANTILE_NOVELTIES[-1]) * (excess / (1.0 + excess))
        return novelty


def topics_of(vectors: Floats, parameters: SkillParameters) -> Floats:
    """The topics of prompts: their embeddings less the training mean, float32 `(prompts, embedded)`."""
    topics: Floats = vectors[:, : len(parameters.topic_center)] - parameters.topic_center
    return topics


def unit_rows(rows: Floats) -> Floats:
    """`rows` scaled to length one; rows of zeros stay zero."""
    length = np.sqrt(np.square(rows).sum(axis=1, keepdims=True))
    scaled: Floats = rows / np.maximum(length, 1e-12)
    return scaled


def row_by_row(rows: Doubles, matrix: Doubles) -> Doubles:
    """`rows @ matrix`, where each row of the product is the same, to the bit, whatever the other rows are."""
    # A stack of one-row matrices is multiplied one at a time; a single product would round differently by batch size.
    product: Doubles = (rows[:, None, :] @ matrix)[:, 0]
    return product


def levels(width: int) -> int:
    """The greatest integer such that the sum of `width` products of two integers of at most this size is exact in
    float32.
    """
    return max(1, min(127, int((_EXACT_IN_FLOAT32 / max(width, 1)) ** 0.5)))


def quantised(rows: Floats, greatest: int) -> tuple[Floats, Floats]:
    """`rows` as integers from `-greatest` to `greatest`, and the step `(rows, 1)` by which to multiply them."""
    step = np.maximum(np.abs(rows).max(axis=1, keepdims=True), 1e-12) / np.float32(greatest)
    return np.rint(rows / step).astype(np.float32, copy=False), step.astype(np.float32, copy=False)
