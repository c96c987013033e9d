"""The part of the skill parameters that needs no outcomes: standardisation, landmarks and the OOD score; and the
features of the members that follow from it, of many prompts at once.

Served forecasts are the same to the bit on every machine, which takes sums in a fixed order. Training needs no such
sums: its features are those of `SkillProjector.features` up to rounding, in single precision.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegression

from router.learn.training.outcome_table import MIN_ROWS
from router.learn.training.ridge import Rows
from router.perceive.skills import CLIP, SkillParameters, SkillProjector, levels, quantised, topics_of, unit_rows
from router.types import Doubles, Floats, Indices

_FIT_ROWS = 20_000
_CLUSTER_ROUNDS = 4
_PROMPTS_PER_LANDMARK = 8
_COLUMNS_AT_A_TIME = 32
_ROWS_AT_A_TIME = 1024
"""So many that what is computed of them stays in the processor's cache."""

_MAX_DIRECTIONS = 64
_SHRINK_VARIANCE = 0.1
_ROUNDING = 1e-6
"""Shares of the variance below this one are rounding errors."""


def initial_parameters(
    vectors: Floats, embedded: int, landmarks: int, sharpness: float, rng: np.random.Generator
) -> SkillParameters:
    """Parameters with fitted standardisation, landmarks and topic statistics; the skills are still zero."""
    center = vectors.mean(axis=0, dtype=np.float64)
    # A few columns at a time: the deviations of all from their means would take twice the memory of the vectors.
    columns = np.array_split(vectors, -(-vectors.shape[1] // _COLUMNS_AT_A_TIME), axis=1)
    deviation = np.concatenate([some.std(axis=0, dtype=np.float64) for some in columns])
    topic_center = center[:embedded].astype(np.float32)
    count = max(1, min(landmarks, len(vectors) // _PROMPTS_PER_LANDMARK))
    rows = np.arange(len(vectors))
    if len(rows) > _FIT_ROWS:
        rows = np.sort(rng.choice(rows, _FIT_ROWS, replace=False))
    topics = unit_rows(vectors[rows, :embedded] - topic_center)
    centers = spherical_k_means(topics, topics[np.sort(rng.choice(len(topics), count, replace=False))])
    integers, step = quantised(centers, levels(embedded))
    no_skills = np.zeros((1 + vectors.shape[1] + count, 1))
    parameters = replace_arrays(
        SkillParameters(*[np.zeros(1, np.float32)] * len(SkillParameters.__struct_fields__)),
        center=center,
        scale=np.where(deviation > 1e-6, deviation, 1.0),
        topic_center=topic_center,
        landmark_scale=step[:, 0],
        sharpness=np.array([sharpness]),
        similarity_center=np.zeros(count),
        similarity_scale=np.ones(count),
        ood_logit=np.array([-30.0, 0.0]),
        in_domain=no_skills,
        out_of_domain=no_skills,
        directions=no_skills[:1, :0],
        precision=np.ones(1),
        ood_score=np.zeros(3),
        ood_score_quantiles=np.zeros(101),
        landmarks=integers,
    )
    return with_topic_statistics(parameters, vectors[rows], SkillProjector(parameters).cosine(vectors[rows]))


def with_topic_statistics(parameters: SkillParameters, vectors: Floats, cosines: Doubles) -> SkillParameters:
    """The parameters with statistics of prompts with these vectors and these cosines to the landmarks: the mean and
    deviation of the similarities, the principal axes of the topics, and the distribution of the OOD score.
    """
    plain = replace_arrays(parameters, similarity_center=np.zeros(1), similarity_scale=np.ones(1))
    similarities = SkillProjector(plain).similarity(cosines)
    topics = topics_of(vectors, parameters).astype(np.float64)
    parameters = replace_arrays(
        with_topic_axes(parameters, topics.T @ topics / len(topics)),
        similarity_center=similarities.mean(axis=0),
        similarity_scale=np.maximum(similarities.std(axis=0), 1e-6),
    )
    nearest, distance = cosines.max(axis=1), SkillProjector(parameters).distance(vectors)
    parameters = with_ood_score(parameters, distance, nearest)
    scores = SkillProjector(parameters).ood_score(distance, nearest)
    return replace_arrays(parameters, ood_score_quantiles=np.quantile(scores, np.linspace(0, 1, 101)))


def with_topic_axes(parameters: SkillParameters, second_moment: Doubles) -> SkillParameters:
    """The parameters with the principal axes of topics of which `second_moment` `(embedded, embedded)` is the mean of
    `t tᵀ`.
    """
    values, directions = np.linalg.eigh(second_moment)
    values, directions = np.maximum(values[::-1], 0.0), directions.T[::-1]
    precision = 1.0 / np.maximum(values + _SHRINK_VARIANCE * values.mean(), 1e-12)
    count = min(_MAX_DIRECTIONS, len(values) - 1)
    # Weighted by the variance along each direction, so that the mean distance of the training prompts is that of a sum
    # over all directions. Where they vary in none of the rest, this is the limit for small variances.
    along = values[count:] if values[count:].sum() > _ROUNDING * values.sum() else np.ones(len(values) - count)
    rest = np.average(precision[count:], weights=along)
    return replace_arrays(parameters, directions=directions[:count], precision=np.append(precision[:count], rest))


def with_ood_score(parameters: SkillParameters, distance: Doubles, nearest: Doubles) -> SkillParameters:
    """The parameters with an OOD score in which distances and nearest cosines like these count equally and whose mean
    is zero.
    """
    of_distance, of_cosine = (1.0 / max(float(values.std()), 1e-6) for values in (distance, nearest))
    intercept = nearest.mean() * of_cosine - distance.mean() * of_distance
    return replace_arrays(parameters, ood_score=np.array([intercept, of_distance, -of_cosine]))


def select_landmarks(parameters: SkillParameters, selected: Indices) -> SkillParameters:
    """The parameters with some of the landmarks only."""
    return replace_arrays(
        parameters,
        landmarks=parameters.landmarks[selected],
        landmark_scale=parameters.landmark_scale[selected],
        similarity_center=parameters.similarity_center[selected],
        similarity_scale=parameters.similarity_scale[selected],
    )


def with_ood_probability(
    parameters: SkillParameters, in_domain: Doubles, out_of_domain: Doubles, out_of_domain_share: float
) -> SkillParameters:
    """The parameters with the logistic regression of "out of domain" on the OOD score, from the scores of prompts of
    both kinds; prompts out of domain have the weight `out_of_domain_share`.
    """
    if len(out_of_domain) < MIN_ROWS or len(in_domain) < MIN_ROWS:
        return parameters
    scores = np.concatenate([in_domain, out_of_domain])
    middle, spread = scores.mean(), max(float(scores.std()), 1e-6)
    weight = np.concatenate([np.ones(len(in_domain)), np.full(len(out_of_domain), out_of_domain_share)])
    label = np.concatenate([np.zeros(len(in_domain)), np.ones(len(out_of_domain))])
    model = LogisticRegression(C=100.0).fit(((scores - middle) / spread)[:, None], label, sample_weight=weight)
    slope = float(model.coef_[0, 0]) / spread
    return replace_arrays(parameters, ood_logit=np.array([float(model.intercept_[0]) - slope * middle, slope]))


def replace_arrays(parameters: SkillParameters, landmarks: Any = None, **arrays: Any) -> SkillParameters:
    """The parameters with other arrays, converted to their types: int8 for the landmarks, float32 for all others."""
    fields = {name: getattr(parameters, name) for name in SkillParameters.__struct_fields__}
    fields |= {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in arrays.items()}
    if landmarks is not None:
        fields["landmarks"] = np.ascontiguousarray(landmarks, dtype=np.int8)
    return SkillParameters(**fields)


def spherical_k_means(rows: Floats, centers: Floats) -> Floats:
    """Cluster centres of unit rows after a few rounds from these initial centres."""
    for _ in range(_CLUSTER_ROUNDS):
        nearest = (rows @ centers.T).argmax(axis=1)
        ones = np.ones(len(rows), dtype=rows.dtype)
        sums = csr_array((ones, (nearest, np.arange(len(rows)))), shape=(len(centers), len(rows))) @ rows
        length = np.sqrt(np.square(sums).sum(axis=1, keepdims=True))
        centers = np.where(length > 1e-9, sums / np.maximum(length, 1e-9), centers)
    return centers


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


def softmax(cosines: Rows, parameters: SkillParameters) -> Floats:
    """The similarities to all landmarks, not yet standardised, float32 `(prompts, landmarks)`."""
    exponents: Floats = (cosines - cosines.max(axis=1, keepdims=True)).astype(np.float32, copy=False)
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
