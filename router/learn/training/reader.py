"""Fitting the reader to graded prompts by ridge regression in its dual form: there are fewer prompts than n-grams."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.sparse import csr_array
from sklearn.isotonic import IsotonicRegression
from sklearn.model_selection import GroupKFold

from router.learn.data.everyday import GradedPrompts
from router.learn.training.landmarks import spherical_k_means
from router.perceive.ability.acceptance import probability
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
from router.types import Doubles, Floats, Indices, Mask

_FOLDS = 5
_ALPHAS = (0.8, 1.6, 3.2)
_EMBEDDING, _SURFACE, _NEAR = 1.0, 0.3, 2.0
"""Squared lengths of the parts of embedding, surface features and similarities, where that of the n-grams is one."""

_LANDMARKS = 512
_JITTER = 1e-2

_LEAST_PROMPTS_OF_GRAM = 2
_PAIR_WEIGHT, _WORDING_WEIGHT = 0.5, 2.0
_CURVE_POINTS, _LEAST_CURVE_SLOPE = 16, 0.05
_HARD_SHARE, _HARD_FROM = 2 / 3, -0.5
"""Differences of difficulty above the latter count so much: a square error weighs hard prompts most, but what is
trivial has to be distinguished from what is easy."""

_TRIVIAL_SHARE, _TRIVIAL_QUANTILE, _TRIVIAL_CHANCE = 0.9, 0.9, 0.87
"""A prompt is trivial where the weakest strength is expected to answer at least this share well. What reads as easy as
so many of these prompts is forecast that chance of the weakest strength at least: the most that its cards need for a
mean of 0.85."""

_CLIP = 5.0
_ROUNDS, _STEPS = 60, 3
_DIFFICULTY_PRECISION = 0.03
"""That of the prior of a difficulty, as a share of the information of one answer; it keeps the difficulties finite of
prompts that every model gets right."""


class OtherWordings(NamedTuple):
    """Graded prompts worded another way: `rows` `(wordings,)`, the numbers of the prompts; the human's turns, the
    feature vectors `(wordings, width)`, and what stands around the turns.
    """

    rows: Indices
    turns: Sequence[tuple[str, ...]]
    vectors: Floats
    contexts: Sequence[Context]


class FittedReader(NamedTuple):
    """`parameters`, the reader; `difficulty` `(prompts,)` the graded difficulties, and `out_of_fold` those that a
    reader gives that was fitted without the prompt and its look-alike; `strengths` `(strengths,)` the logit of a good
    answer of each strength on a prompt of difficulty zero.
    """

    parameters: ReaderParameters
    difficulty: Doubles
    out_of_fold: Doubles
    strengths: Doubles


def fit_reader(
    graded: GradedPrompts, vectors: Floats, embedded: int, others: OtherWordings | None = None
) -> FittedReader:
    """The reader of graded prompts with these feature vectors `(prompts, width)`, of which `embedded` are the
    embedding. What sets `others` apart from the prompts that they word another way shall not count.
    """
    strengths, difficulty = graded_difficulty(graded.outcomes.scores.astype(np.float64))
    targets = np.column_stack([_with_less_of_hard(difficulty), graded.families])
    center_targets = targets.mean(axis=0)
    count, rows = len(targets), np.arange(len(targets))
    turns, contexts = [prompt.turns for prompt in graded.outcomes.prompts], [*graded.contexts]
    origin = rows if others is None else np.concatenate([rows, others.rows])
    if others is not None:
        turns, contexts = [*turns, *others.turns], [*contexts, *others.contexts]
        vectors = np.concatenate([vectors, others.vectors])
    texts = [topic_texts(of_prompt) for of_prompt in turns]
    grams, gram_weights = _gram_features(texts, count)
    dense, center, scale, dense_weights = _dense_features(vectors, texts, contexts, embedded, count)
    landmarks, landmark_scale, near, near_weights = _landmark_features(vectors, center[:embedded], count)
    pairs = np.array(graded.pairs, dtype=np.intp).reshape(-1, 2)
    contrasts = _Contrasts(
        origin,
        np.concatenate([pairs, np.column_stack([np.arange(count, len(origin)), origin[count:]])]),
        np.repeat([_PAIR_WEIGHT, _WORDING_WEIGHT], [len(pairs), len(origin) - count]),
    )
    targets = targets[origin]
    kernel = (grams @ grams.T).toarray() + dense @ dense.T + near @ near.T
    groups = rows.copy()
    groups[pairs[:, 1]] = groups[pairs[:, 0]]
    best: tuple[float, float, Doubles] | None = None
    for alpha in _ALPHAS:
        forecast = np.zeros(count)
        for train, test in GroupKFold(min(_FOLDS, count)).split(rows, groups=groups):
            dual = _solve(kernel, targets - center_targets, train, contrasts, alpha)
            forecast[test] = center_targets[0] + kernel[test] @ dual[:, 0]
        error = float(np.square(forecast - targets[:count, 0]).mean())
        if best is None or error < best[0]:
            best = error, alpha, forecast
    assert best is not None
    _, alpha, read = best
    curve = saturated(_curve(read, difficulty), read, graded.outcomes.scores[:, 0] >= _TRIVIAL_SHARE, strengths[0])
    dual = _solve(kernel, targets - center_targets, rows, contrasts, alpha)
    parameters = ReaderParameters(
        grams=((grams.T @ dual) * gram_weights[:, None]).astype(np.float16),
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
    """The item-response fit of expected shares `(prompts, strengths)`: `logit share ≈ strength - difficulty`, by the
    greatest likelihood, where a share is so many good answers. The mean difficulty is zero.
    """
    mean = np.clip(shares.mean(axis=0), 1e-3, 1 - 1e-3)
    strengths, difficulty = np.log(mean / (1 - mean)), np.zeros(len(shares))
    for _ in range(_ROUNDS):
        # Newton's method for the prompts, then for the strengths.
        for _ in range(_STEPS):
            chance = probability(strengths - difficulty[:, None])
            slope = (chance - shares).sum(axis=1) - _DIFFICULTY_PRECISION * difficulty
            information = (chance * (1 - chance)).sum(axis=1) + _DIFFICULTY_PRECISION
            difficulty = difficulty + np.clip(slope / information, -1.0, 1.0)
        chance = probability(strengths - difficulty[:, None])
        information = (chance * (1 - chance)).sum(axis=0)
        strengths = strengths + np.clip((shares - chance).sum(axis=0) / information, -1.0, 1.0)
        strengths, difficulty = strengths - difficulty.mean(), difficulty - difficulty.mean()
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


def _with_less_of_hard(difficulty: Doubles) -> Doubles:
    """The scale on which difficulties are fitted; the curve leads back from it."""
    return difficulty - (1 - _HARD_SHARE) * np.maximum(difficulty - _HARD_FROM, 0.0)


def saturated(curve: Floats, read: Doubles, trivial: Mask, strength: float) -> Floats:
    """The curve with difficulties so low, for readings like those of trivial prompts, that the weakest strength is
    trusted with them. It is left as it is from where this strength fails half of the time.

    Few prompts of those that are read as trivial are harder, but in the graded prompts, which have every level and
    look-alikes on purpose, they are many more than in everyday traffic.
    """
    if not trivial.any():
        return curve
    points, values = curve.astype(np.float64)
    knee = float(np.quantile(read[trivial], _TRIVIAL_QUANTILE))
    greatest = strength - math.log(_TRIVIAL_CHANCE / (1 - _TRIVIAL_CHANCE))
    half = float(np.interp(strength, values, points))
    if not (points[0] < knee < half) or greatest >= strength:
        return curve
    kept = np.concatenate([points[(points < knee) | (points > half)], [knee, half]])
    kept.sort()
    low = np.interp(kept, points, values)
    below = kept <= knee
    low[below] = np.minimum(low[below], greatest + _LEAST_CURVE_SLOPE * (kept[below] - knee))
    return np.array([kept, low], dtype=np.float32)


class _Contrasts(NamedTuple):
    """Pairs of rows `(contrasts, 2)` whose difference counts, and their weights. `origin` `(rows,)` is the graded
    prompt of each row: the row itself, or what it words another way.
    """

    origin: Indices
    pairs: Indices
    weights: Doubles


def _solve(kernel: Doubles, targets: Doubles, train: Indices, contrasts: _Contrasts, alpha: float) -> Doubles:
    """Dual coefficients `(rows, outputs)`, zero outside `train` and what is worded like it.

    The difference of two prompts that look alike is a row of its own: what tells them apart is what makes one harder.
    So is the difference of two wordings of one prompt: what tells them apart changes nothing.
    """
    inside = np.zeros(len(kernel), dtype=np.bool_)
    inside[train] = True
    inside = inside[contrasts.origin]
    kept = inside[contrasts.pairs].all(axis=1)
    one, other = contrasts.pairs[kept].T
    weights = contrasts.weights[kept, None]

    def with_contrasts(rows: Doubles) -> Doubles:
        return np.concatenate([rows[train], weights * (rows[one] - rows[other])])

    product = with_contrasts(with_contrasts(kernel).T)
    coefficients = cho_solve(cho_factor(product + alpha * np.eye(len(product)), lower=True), with_contrasts(targets))
    dual = np.zeros_like(targets)
    dual[train] = coefficients[: len(train)]
    of_pairs = weights * coefficients[len(train) :]
    np.add.at(dual, one, of_pairs)
    np.add.at(dual, other, -of_pairs)
    return dual


def _gram_features(turns: Sequence[Sequence[str]], count: int) -> tuple[csr_array, Doubles]:
    """Weighted n-gram counts `(rows, 2 ** GRAM_BITS)`, and the weight of each n-gram: its inverse document frequency,
    scaled so that the mean squared length of a row is one. The first `count` rows give the weights.
    """
    hashed = [gram_hashes("\n".join(texts)) for texts in turns]
    indices, values, ends = [], [], [0]
    for hashes in hashed:
        unique, counts = np.unique(hashes, return_counts=True)
        indices.append(unique)
        values.append(counts / max(len(hashes), 1) ** 0.5)
        ends.append(ends[-1] + len(unique))
    counts = csr_array((np.concatenate(values), np.concatenate(indices), ends), shape=(len(hashed), 2**GRAM_BITS))
    prompts = np.bincount(counts.indices[: ends[count]], minlength=2**GRAM_BITS)
    frequent = prompts >= _LEAST_PROMPTS_OF_GRAM
    weight = np.where(frequent, np.log((1 + count) / (1 + prompts)) + 1, 0.0)
    counts.data = counts.data * weight[counts.indices]
    length = np.sqrt(np.square(counts.data[: ends[count]]).sum() / count)
    counts.data /= length
    return counts, weight / length


def _landmark_features(vectors: Floats, center: Doubles, count: int) -> tuple[Floats, Floats, Doubles, Doubles]:
    """Landmarks as integers `(landmarks, embedded)` with their scales, the prompts' features `(rows, landmarks)`, whose
    products approximate a Gaussian kernel of the embeddings (Nyström), and the matrix that maps weights of the features
    to weights of the similarities. The landmarks are cluster centres of the first `count` rows.
    """
    single = center.astype(np.float32)
    topics = unit_rows(vectors[:count, : len(center)] - single)
    wanted = min(_LANDMARKS, count)
    start = np.sort(np.random.default_rng(0).choice(count, wanted, replace=False))
    landmarks, step = quantised(spherical_k_means(topics, topics[start]), levels(len(center)))
    scale = step[:, 0]
    similarities = Landmarks(landmarks, scale, single)
    between = similarities(landmarks * step + single)
    lower = np.linalg.cholesky((between + between.T) / 2 + _JITTER * np.eye(wanted))
    inverse = solve_triangular(lower, np.eye(wanted), lower=True).T * _NEAR**0.5
    return landmarks, scale, similarities(vectors) @ inverse, inverse


def _dense_features(
    vectors: Floats, turns: Sequence[Sequence[str]], contexts: Sequence[Context], embedded: int, count: int
) -> tuple[Doubles, Doubles, Doubles, Doubles]:
    """Standardised, clipped and weighted features, their centers and scales, which are those of the first `count` rows,
    and their weights.
    """
    around = np.array([context_features(texts, context) for texts, context in zip(turns, contexts, strict=True)])
    features = np.concatenate([vectors, around], axis=1, dtype=np.float64)
    center, scale = features[:count].mean(axis=0), np.maximum(features[:count].std(axis=0), 1e-6)
    surface = features.shape[1] - embedded
    weights = np.concatenate(
        [np.full(embedded, (_EMBEDDING / embedded) ** 0.5), np.full(surface, (_SURFACE / surface) ** 0.5)]
    )
    return np.clip((features - center) / scale, -_CLIP, _CLIP) * weights, center, scale, weights
