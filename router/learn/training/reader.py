"""Fitting the reader to graded prompts by ridge regression in its dual form: there are fewer prompts than n-grams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.sparse import csr_array
from sklearn.isotonic import IsotonicRegression
from sklearn.model_selection import GroupKFold

from router.learn.data.everyday import GradedPrompts
from router.learn.training.landmarks import spherical_k_means
from router.perceive.features import topic_texts
from router.perceive.reader import (
    GRAM_BITS,
    READINGS,
    Context,
    Landmarks,
    ReaderParameters,
    context_features,
    corrected,
    gram_hashes,
)
from router.perceive.skills import levels, quantised, unit_rows
from router.types import Doubles, Floats, Indices

_FOLDS = 5
_ALPHAS = (0.4, 0.8, 1.6)
_EMBEDDING, _SURFACE, _NEAR = 1.0, 0.3, 2.0
"""Squared lengths of the parts of embedding, surface features and similarities, where that of the n-grams is one."""

_LANDMARKS = 512
_JITTER = 1e-2

_LEAST_PROMPTS_OF_GRAM = 2
_PAIR_WEIGHT = 1.0
_CURVE_POINTS, _LEAST_CURVE_SLOPE = 16, 0.05
_CLIP = 5.0
_EDGE = 0.02
_ROUNDS = 20


class FittedReader(NamedTuple):
    """`parameters`, the reader; `difficulty` `(prompts,)` the graded difficulties, and `out_of_fold` those that a
    reader gives that was fitted without the prompt and its look-alike; `strengths` `(strengths,)` the logit of a good
    answer of each strength on a prompt of difficulty zero.
    """

    parameters: ReaderParameters
    difficulty: Doubles
    out_of_fold: Doubles
    strengths: Doubles


def fit_reader(graded: GradedPrompts, vectors: Floats, embedded: int) -> FittedReader:
    """The reader of graded prompts with these feature vectors `(prompts, width)`, of which `embedded` are the
    embedding.
    """
    strengths, difficulty = graded_difficulty(graded.outcomes.scores.astype(np.float64))
    targets = np.column_stack([difficulty, graded.families])
    center_targets = targets.mean(axis=0)
    turns = [topic_texts(prompt.turns) for prompt in graded.outcomes.prompts]
    grams, gram_weights = _gram_features(turns)
    dense, center, scale, dense_weights = _dense_features(vectors, turns, graded.contexts, embedded)
    landmarks, landmark_scale, near, near_weights = _landmark_features(vectors, center[:embedded])
    rows = np.arange(len(targets))
    pairs = np.array(graded.pairs, dtype=np.intp).reshape(-1, 2)
    kernel = (grams @ grams.T).toarray() + dense @ dense.T + near @ near.T
    groups = rows.copy()
    groups[pairs[:, 1]] = groups[pairs[:, 0]]
    best: tuple[float, float, Doubles] | None = None
    for alpha in _ALPHAS:
        forecast = np.zeros(len(targets))
        for train, test in GroupKFold(min(_FOLDS, len(rows))).split(rows, groups=groups):
            dual = _solve(kernel, targets - center_targets, train, pairs, alpha)
            forecast[test] = center_targets[0] + kernel[test] @ dual[:, 0]
        error = float(np.square(forecast - difficulty).mean())
        if best is None or error < best[0]:
            best = error, alpha, forecast
    assert best is not None
    _, alpha, read = best
    curve = _curve(read, difficulty)
    dual = _solve(kernel, targets - center_targets, rows, pairs, alpha)
    parameters = ReaderParameters(
        grams=((grams.T @ dual) * gram_weights[:, None]).astype(np.float32),
        center=center.astype(np.float32),
        scale=scale.astype(np.float32),
        weights=((dense.T @ dual) * dense_weights[:, None]).astype(np.float32),
        intercept=center_targets.astype(np.float32),
        landmarks=landmarks.astype(np.int8),
        landmark_scale=landmark_scale,
        landmark_weights=(near_weights @ (near.T @ dual)).astype(np.float32),
        curve=curve,
    )
    assert parameters.grams.shape == (2**GRAM_BITS, READINGS)
    return FittedReader(parameters, difficulty, corrected(read, curve), strengths)


def graded_difficulty(shares: Doubles) -> tuple[Doubles, Doubles]:
    """The item-response fit of expected shares `(prompts, strengths)`: `logit share ≈ strength - difficulty`.

    Shares near 0 and 1 are clipped by whoever grades, so they count little: the weight of a share is that of its logit,
    `p (1 - p)`. The mean difficulty is zero.
    """
    clipped = np.clip(shares, _EDGE, 1 - _EDGE)
    logits, weights = np.log(clipped / (1 - clipped)), clipped * (1 - clipped)
    strengths = logits.mean(axis=0)
    for _ in range(_ROUNDS):
        difficulty = ((strengths - logits) * weights).sum(axis=1) / weights.sum(axis=1)
        difficulty -= difficulty.mean()
        strengths = ((logits + difficulty[:, None]) * weights).sum(axis=0) / weights.sum(axis=0)
    return strengths, difficulty


def _curve(read: Doubles, difficulty: Doubles) -> Floats:
    """The curve, float32 `(2, points)`, from difficulties read out of fold to the true ones: by isotonic regression, at
    the means of equal parts of the prompts.
    """
    order = np.argsort(read, kind="stable")
    isotonic = IsotonicRegression().fit_transform(read, difficulty)
    parts = np.array_split(order, min(_CURVE_POINTS, len(order)))
    points, values = (np.array([numbers[part].mean() for part in parts]) for numbers in (read, isotonic))
    # Different readings stay different, so that of two prompts the harder is read as harder.
    values += _LEAST_CURVE_SLOPE * (points - points.mean())
    kept = np.concatenate([[True], np.diff(points) > 1e-3])
    return np.array([points[kept], values[kept]], dtype=np.float32)


def _solve(kernel: Doubles, targets: Doubles, train: Indices, pairs: Indices, alpha: float) -> Doubles:
    """Dual coefficients `(rows, outputs)`, zero outside `train`.

    The difference of two prompts that look alike is a row of its own: what tells them apart is what makes one harder.
    """
    inside = np.zeros(len(kernel), dtype=np.bool_)
    inside[train] = True
    kept = pairs[inside[pairs].all(axis=1)] if len(pairs) else pairs
    one, other = kept.T

    def with_contrasts(rows: Doubles) -> Doubles:
        return np.concatenate([rows[train], _PAIR_WEIGHT * (rows[one] - rows[other])])

    product = with_contrasts(with_contrasts(kernel).T)
    coefficients = cho_solve(cho_factor(product + alpha * np.eye(len(product)), lower=True), with_contrasts(targets))
    dual = np.zeros_like(targets)
    dual[train] = coefficients[: len(train)]
    of_pairs = _PAIR_WEIGHT * coefficients[len(train) :]
    np.add.at(dual, one, of_pairs)
    np.add.at(dual, other, -of_pairs)
    return dual


def _gram_features(turns: Sequence[Sequence[str]]) -> tuple[csr_array, Doubles]:
    """Weighted n-gram counts `(prompts, 2 ** GRAM_BITS)`, and the weight of each n-gram: its inverse document
    frequency, scaled so that the mean squared length of a row is one.
    """
    hashed = [gram_hashes("\n".join(texts)) for texts in turns]
    indices, values, ends = [], [], [0]
    for hashes in hashed:
        unique, counts = np.unique(hashes, return_counts=True)
        indices.append(unique)
        values.append(counts / max(len(hashes), 1) ** 0.5)
        ends.append(ends[-1] + len(unique))
    counts = csr_array((np.concatenate(values), np.concatenate(indices), ends), shape=(len(hashed), 2**GRAM_BITS))
    prompts = np.bincount(counts.indices, minlength=2**GRAM_BITS)
    frequent = prompts >= _LEAST_PROMPTS_OF_GRAM
    weight = np.where(frequent, np.log((1 + len(hashed)) / (1 + prompts)) + 1, 0.0)
    counts.data = counts.data * weight[counts.indices]
    length = np.sqrt(np.square(counts.data).sum() / len(hashed))
    counts.data /= length
    return counts, weight / length


def _landmark_features(vectors: Floats, center: Doubles) -> tuple[Floats, Floats, Doubles, Doubles]:
    """Landmarks as integers `(landmarks, embedded)` with their scales, the prompts' features `(prompts, landmarks)`,
    whose products approximate a Gaussian kernel of the embeddings (Nyström), and the matrix that maps weights of the
    features to weights of the similarities.
    """
    single = center.astype(np.float32)
    topics = unit_rows(vectors[:, : len(center)] - single)
    count = min(_LANDMARKS, len(topics))
    start = np.sort(np.random.default_rng(0).choice(len(topics), count, replace=False))
    landmarks, step = quantised(spherical_k_means(topics, topics[start]), levels(len(center)))
    scale = step[:, 0]
    similarities = Landmarks(landmarks, scale, single)
    between = similarities(landmarks * step + single)
    lower = np.linalg.cholesky((between + between.T) / 2 + _JITTER * np.eye(count))
    inverse = solve_triangular(lower, np.eye(count), lower=True).T * _NEAR**0.5
    return landmarks, scale, similarities(vectors) @ inverse, inverse


def _dense_features(
    vectors: Floats, turns: Sequence[Sequence[str]], contexts: Sequence[Context], embedded: int
) -> tuple[Doubles, Doubles, Doubles, Doubles]:
    """Standardised, clipped and weighted features, their centers and scales, and their weights."""
    around = np.array([context_features(texts, context) for texts, context in zip(turns, contexts, strict=True)])
    features = np.concatenate([vectors, around], axis=1, dtype=np.float64)
    center, scale = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-6)
    surface = features.shape[1] - embedded
    weights = np.concatenate(
        [np.full(embedded, (_EMBEDDING / embedded) ** 0.5), np.full(surface, (_SURFACE / surface) ** 0.5)]
    )
    return np.clip((features - center) / scale, -_CLIP, _CLIP) * weights, center, scale, weights
