"""The uncertainty of the stack's forecasts, estimated from its out-of-fold errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from router.learn.training.members import CrossValidation, OutOfFold
from router.learn.training.outcome_table import MIN_ROWS, OutcomeTable
from router.perceive.skills import SkillParameters, SkillProjector
from router.types import Doubles, Indices

LEAST_CELL = 20
"""Prompts that a cell needs for its mean error to count."""

_COVERED, _QUANTILE_80 = 0.8, 1.2816
_LEAST_SHARE, _DEFAULT_SHARE = 1e-4, 0.25


class Uncertainty(NamedTuple):
    """`residual_variance` `(models,)` of single outcomes, out of fold, and `shares` `(2, 2)` of it that are the
    variance of the expected score; rows: in domain and out of domain; columns: in total, and without the part that all
    models share, which does not matter when models are compared.
    """

    residual_variance: Doubles
    shares: Doubles


class _Cells(NamedTuple):
    """Cells are groups of prompts of one model. `(cells, models)`, NaN where there are too few prompts: the mean error,
    and its variance by chance; `(models,)` the residual variance.
    """

    mean_error: Doubles
    chance_variance: Doubles
    residual_variance: Doubles


def estimate_uncertainty(
    in_domain: OutOfFold,
    out_of_domain: OutOfFold,
    validation: CrossValidation,
    parameters: SkillParameters,
    weights: Doubles,
    out_of_domain_weight: float,
    domains: Any,
) -> Uncertainty:
    """The uncertainty of the stack whose members have these weights, from its out-of-fold forecasts."""
    table = validation.table
    common = np.broadcast_to(in_domain.common[..., None], in_domain.specific.shape)
    parts = np.concatenate([common, in_domain.specific])
    stacked = table.ability + np.einsum("jnm,mj->nm", parts, weights)
    topic = table.ability + in_domain.common[-1][:, None] + out_of_domain_weight * in_domain.specific[-1]
    probability = SkillProjector(parameters).ood_probability(in_domain.ood_score)[:, None]
    expected = stacked + probability * (topic - stacked)
    outcomes = table.known.sum(axis=0)
    error = np.square(np.where(table.known, table.scores - expected, 0.0)).sum(axis=0)
    # The variance of a model with few outcomes is shrunk to the mean of all models.
    mean = error.sum() / max(outcomes.sum(), 1) if outcomes.any() else 0.25
    variance = (error + MIN_ROWS * mean) / (outcomes + MIN_ROWS)
    groups = np.zeros(len(expected), np.intp) if domains is None else np.unique(domains, return_inverse=True)[1]
    cells = [_cells(expected, table, variance, group) for group in (_tenths(expected), groups[:, None])]
    tenths = _tenths(expected.mean(axis=1))
    shared_cells = [_cells(expected, table, variance, group[:, None]) for group in (tenths, groups)]
    shares = np.array([_least_share(cells), _least_share(shared_cells, independent=True)])
    if not len(out_of_domain.rows):
        return Uncertainty(variance, np.stack([shares, np.maximum(shares, _DEFAULT_SHARE)]))
    rows = out_of_domain.rows
    expected = table.ability + out_of_domain.common[0, rows, None]
    expected = expected + out_of_domain_weight * out_of_domain.specific[0, rows]
    groups = np.unique(validation.domains_or_topics(domains), return_inverse=True)[1]
    cells = [_cells(expected, table.rows(rows), variance, groups[rows, None])]
    outside = np.array([_least_share(cells), _least_share(cells, independent=True)])
    return Uncertainty(variance, np.stack([shares, np.maximum(shares, outside)]))


def _tenths(values: Doubles) -> Indices:
    """The decile, from 0 to 9, of each value in its column."""
    ranks = np.argsort(np.argsort(values, axis=0, kind="stable"), axis=0, kind="stable")
    return np.minimum(ranks * 10 // max(len(values), 1), 9)


def _cells(expected: Doubles, table: OutcomeTable, variance: Doubles, groups: Indices) -> _Cells:
    """The cells of groups `(prompts, models)`, or `(prompts, 1)` if they are the same for all models."""
    shape = int(groups.max(initial=0)) + 1, expected.shape[1]
    cell = (groups * shape[1] + np.arange(shape[1]))[table.known]
    chance = np.clip(expected, 0.02, 0.98)
    summands = np.ones_like(expected), table.scores - expected, chance * (1 - chance)
    count, error, scatter = (
        np.bincount(cell, values[table.known], minlength=shape[0] * shape[1]).reshape(shape) for values in summands
    )
    count = np.where(count >= LEAST_CELL, count, np.nan)
    return _Cells(error / count, scatter / np.square(count), variance)


def _least_share(cells: Sequence[_Cells], *, independent: bool = False) -> float:
    """The smallest share of the residual variance that makes the 80 % intervals of expected scores cover 80 % of the
    cells, if it is taken as the variance of the expected score. With `independent`, the mean error of all models in a
    cell is subtracted first.
    """
    needed = []
    for mean_error, chance_variance, residual_variance in cells:
        known = np.isfinite(mean_error)
        error = mean_error
        if independent:
            count = np.maximum(known.sum(axis=1, keepdims=True), 1)
            error = error - np.where(known, error, 0.0).sum(axis=1, keepdims=True) / count
        excess = np.square(error) / _QUANTILE_80**2 - chance_variance
        needed.append((excess / np.maximum(residual_variance, 1e-9))[known])
    rows = np.concatenate(needed)
    return float(np.clip(np.quantile(rows, _COVERED), _LEAST_SHARE, 1.0)) if len(rows) else _DEFAULT_SHARE
