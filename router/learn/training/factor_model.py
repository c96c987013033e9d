"""A factor model of abilities and facts, fitted by expectation-maximisation to a table with missing values."""

from __future__ import annotations

import numpy as np

from router.perceive.ability.ability import FactsModel
from router.types import Doubles

_FACTORS = 4
_ROUNDS = 200
_PRIOR_MODELS = 3.0
"""Weight, in models, of the prior by which the noise of a column is shrunk to half of the column's variance."""


def fit_factors(abilities: Doubles, facts: Doubles) -> FactsModel:
    """The factor model of `abilities` `(models, 1 + skills)` and `facts` `(models, facts)`, NaN where unknown.

    Maximum likelihood of `row = mean + loadings · f + noise`, with `f` standard normal (Rubin and Thayer, 1982) and the
    noise of each column shrunk to its variance, since there are few models. The same table gives the same numbers.
    """
    table = np.concatenate([abilities, facts], axis=1).astype(np.float64)
    known = np.isfinite(table)
    count = known.sum(axis=0)
    filled = np.where(known, table, 0.0)
    mean = filled.sum(axis=0) / np.maximum(count, 1)
    deviations = np.where(known, table - mean, 0.0)
    variance = np.maximum(np.square(deviations).sum(axis=0) / np.maximum(count, 1), 1e-6)
    # A column with a single known value gets variance one, since zero would make it look exact.
    variance = np.where(count >= 2, variance, 1.0)
    scale = np.sqrt(variance)
    factors = max(1, min(_FACTORS, len(table) // 4))
    loadings, noise = _fit_standardised(deviations / scale, known, factors)
    return FactsModel(mean, loadings * scale[:, None], np.maximum(noise, 1e-4) * variance)


def _fit_standardised(rows: Doubles, known: np.ndarray, factors: int) -> tuple[Doubles, Doubles]:
    """Loadings `(columns, factors)` and noise `(columns,)` of standardised rows, zero where unknown."""
    _, sizes, directions = np.linalg.svd(rows, full_matrices=False)
    loadings = np.zeros((rows.shape[1], factors))
    count = min(factors, len(sizes))
    loadings[:, :count] = directions[:count].T * sizes[:count] / np.sqrt(len(rows))
    noise = np.full(rows.shape[1], 0.5)
    flags = known.astype(np.float64)
    for _ in range(_ROUNDS):
        # Rows have different known columns, so there is one small system per row.
        weighted = loadings / noise[:, None]
        precision = np.eye(factors) + np.einsum("ic,cf,cg->ifg", flags, weighted, loadings)
        covariance = np.linalg.inv(precision)
        means = np.einsum("ifg,ig->if", covariance, rows @ weighted)
        second = covariance + means[:, :, None] * means[:, None, :]
        # Loadings have a prior with mean zero and variance one, so that a column known in few rows does not overfit.
        products = np.einsum("ic,ifg->cfg", flags, second) + noise[:, None, None] * np.eye(factors)
        loadings = np.linalg.solve(products, (rows.T @ means)[:, :, None])[:, :, 0]
        residual = np.square(rows).sum(axis=0) - 2 * np.einsum("if,cf,ic->c", means, loadings, rows)
        residual += np.einsum("ic,ifg,cf,cg->c", flags, second, loadings, loadings)
        noise = np.maximum(
            (np.maximum(residual, 0.0) + _PRIOR_MODELS * 0.5) / (flags.sum(axis=0) + _PRIOR_MODELS), 1e-3
        )
    return loadings, noise
