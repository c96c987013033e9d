"""Fitting the rating model to a table of models and facts by expectation-maximisation (Rubin and Thayer, 1982)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from router.cards.benchmarks import BENCHMARKS, FAMILIES
from router.perceive.ability.ability import NUMBERS
from router.perceive.ability.ratings import LATENTS, RatingModel
from router.types import Doubles

_ROUNDS = 150
_PRIOR_MODELS = 3.0
_PRIOR_SLOPE = {"rating": 1.0, "share": 0.7, "number": 0.2, "outcome": 0.6}
_PRIOR_NOISE = {"rating": 0.3**2, "share": 0.4**2, "number": 0.5**2, "outcome": 0.4**2}
_LEAST_SLOPE = 0.02
_LEAST_NOISE = {"rating": 0.15**2, "share": 0.15**2, "number": 0.15**2, "outcome": 0.25**2}
_ANCHOR, _ANCHOR_NOISE = "lmarena_text", 0.25**2
"""The column that fixes the scale: its center is zero, its slope one, its noise given."""

_PRIOR_VARIANCE, _PRIOR_VARIANCE_MODELS = 0.4**2, 20.0
_GENERAL_VARIANCE = 1.5**2
_MIN_FAMILY_MODELS = 3
_FAMILY_PRIOR_MODELS = 2.0


def fit_ratings(
    table: Doubles, memberships: Doubles, families: Sequence[str | None], names: Sequence[str]
) -> RatingModel:
    """The rating model of a table `(models, columns)`, NaN where unknown:
    `router.perceive.ability.ratings.measurements`, then outcomes, whose latent variables `memberships`
    `(columns, latents)` states. `families` are those of the models, and `names` the families for which an offset is
    learned.

    Slopes and noises of columns with few models are shrunk to common values, since a leaderboard of six models says
    little about its own scale.
    """
    known = np.isfinite(table)
    latents = memberships.shape[1]
    kinds = ["rating" if scale.rating else "share" for scale in BENCHMARKS.values()] + ["number"] * len(NUMBERS)
    kinds += ["outcome"] * (table.shape[1] - len(kinds))
    anchor = list(BENCHMARKS).index(_ANCHOR)
    filled = np.where(known, table, 0.0)
    prior_slope, prior_noise, least_noise = (
        np.array([values[kind] for kind in kinds]) for values in (_PRIOR_SLOPE, _PRIOR_NOISE, _LEAST_NOISE)
    )
    slope, noise = prior_slope.copy(), prior_noise.copy()
    count = np.maximum(known.sum(axis=0), 1)
    center = filled.sum(axis=0) / count
    prior_mean = float(center[anchor])
    center[anchor], noise[anchor] = 0.0, _ANCHOR_NOISE
    usual_variance = np.full(latents, _PRIOR_VARIANCE)
    usual_variance[0] = _GENERAL_VARIANCE
    prior_variance = usual_variance.copy()
    for _ in range(_ROUNDS):
        mean, second = _posterior(filled, known, memberships, center, slope, noise, prior_mean, prior_variance)
        prior_mean = float(mean[:, 0].mean())
        spread = second[:, range(latents), range(latents)].copy()
        spread[:, 0] += prior_mean**2 - 2 * prior_mean * mean[:, 0]
        prior_variance = (spread.sum(axis=0) + _PRIOR_VARIANCE_MODELS * usual_variance) / (
            len(table) + _PRIOR_VARIANCE_MODELS
        )
        for column in range(table.shape[1]):
            rows = known[:, column]
            if not rows.any() or column == anchor:
                continue
            direction = memberships[column]
            level = mean[rows] @ direction
            square = float(np.einsum("i,nij,j->", direction, second[rows], direction))
            values, models = table[rows, column], float(rows.sum())
            average, level_average = values.mean(), level.mean()
            # Regression of the fact on the rating, whose uncertainty is part of `square`, with a prior on the slope.
            variance = square - models * level_average**2
            covariance = float(level @ values) - models * level_average * average
            slope[column] = (covariance + _PRIOR_MODELS * prior_slope[column]) / (variance + _PRIOR_MODELS)
            slope[column] = max(slope[column], _LEAST_SLOPE)
            center[column] = average - slope[column] * level_average
            residual = np.square(values - center[column]).sum() + slope[column] ** 2 * square
            residual -= 2 * slope[column] * float((values - center[column]) @ level)
            shrunk = (residual + _PRIOR_MODELS * prior_noise[column]) / (models + _PRIOR_MODELS)
            noise[column] = max(shrunk, least_noise[column])
    model = RatingModel(center, slope, noise, np.array(prior_mean), prior_variance, np.zeros(0))
    return msgspec.structs.replace(model, family_offset=_family_offsets(model, table, memberships, families, names))


def _family_offsets(
    model: RatingModel, table: Doubles, memberships: Doubles, families: Sequence[str | None], names: Sequence[str]
) -> Doubles:
    """For each of the families `names` by how much the ratings of its models `(models,)` exceed what their size, date
    and price let expect, shrunk; 0 for a family with few models. `families` are those of the rows of `table`.
    """
    numbers = slice(len(BENCHMARKS), len(BENCHMARKS) + len(NUMBERS))
    offsets = np.zeros(len(names))
    for place, name in enumerate(names):
        rows = [row for row, family in enumerate(families) if family == name]
        if len(rows) < _MIN_FAMILY_MODELS:
            continue
        excess = []
        for row in rows:
            of_numbers = np.full(table.shape[1], np.nan)
            of_numbers[numbers] = table[row, numbers]
            full, expected = (model.posterior(facts, memberships).mean[0] for facts in (table[row], of_numbers))
            excess.append(full - expected)
        offsets[place] = np.sum(excess) / (len(excess) + _FAMILY_PRIOR_MODELS)
    return offsets


def column_memberships(outcome_families: Doubles, outcome_sets: Sequence[int], facts: Doubles) -> Doubles:
    """The latent variables of all columns: those of the `facts`, then those of outcomes with these mean shares of
    families `(outcome columns, families - 1)` on data sets with these numbers; each set adds a latent variable of its
    own.
    """
    sets = max(outcome_sets, default=-1) + 1
    table = np.zeros((len(facts) + len(outcome_families), LATENTS + sets))
    table[: len(facts), :LATENTS] = facts
    for row, (shares, number) in enumerate(zip(outcome_families, outcome_sets, strict=True), start=len(facts)):
        table[row, 0] = 1.0
        table[row, 1 : len(FAMILIES)] = shares
        table[row, LATENTS + number] = 1.0
    return table


def _posterior(
    filled: Doubles,
    known: np.ndarray,
    memberships: Doubles,
    center: Doubles,
    slope: Doubles,
    noise: Doubles,
    prior_mean: float,
    prior_variance: Doubles,
) -> tuple[Doubles, Doubles]:
    """The mean `(models, latents)` and the second moment `(models, latents, latents)` of the latent variables."""
    loadings = slope[:, None] * memberships
    weighted = loadings / noise[:, None]
    products = (weighted[:, :, None] * loadings[:, None, :]).reshape(len(slope), -1)
    size = memberships.shape[1]
    precision = np.diag(1.0 / prior_variance) + (known.astype(np.float64) @ products).reshape(-1, size, size)
    covariance = np.linalg.inv(precision)
    start = np.zeros(size)
    start[0] = prior_mean
    residual = np.where(known, filled - center - loadings @ start, 0.0)
    mean = start + np.einsum("nij,nj->ni", covariance, residual @ weighted)
    return mean, covariance + mean[:, :, None] * mean[:, None, :]
