"""A factor model of abilities and facts, fitted by expectation-maximisation on a table with holes."""

from __future__ import annotations

import numpy as np

from router.perceive.ability import FactsModel
from router.types import Doubles

_FACTORS = 4
_ROUNDS = 200
_PRIOR_MODELS = 3.0
"""How many models' worth of its own variance the noise of each column is drawn to."""


def fit_factors(abilities: Doubles, facts: Doubles) -> FactsModel:
    """What `abilities` `(models, 1 + skills)` and `facts` `(models, facts)`, NaN where unknown, have in common.

    Maximum likelihood of `row = mean + loadings · f + noise`, `f` standard normal (Rubin and Thayer, 1982), with the
    noise of each column drawn to its variance, since there are few models. The same table gives the same numbers.
    """
    table = np.concatenate([abilities, facts], axis=1).astype(np.float64)
    known = np.isfinite(table)
    count = known.sum(axis=0)
    filled = np.where(known, table, 0.0)
    mean = filled.sum(axis=0) / np.maximum(count, 1)
    away = np.where(known, table - mean, 0.0)
    variance = np.maximum(np.square(away).sum(axis=0) / np.maximum(count, 1), 1e-6)
    # Columns of few known values keep a variance that does not make them look exact.
    variance = np.where(count >= 2, variance, 1.0)
    scale = np.sqrt(variance)
    factors = max(1, min(_FACTORS, len(table) // 4))
    loadings, noise = _fitted(away / scale, known, factors)
    return FactsModel(mean, loadings * scale[:, None], np.maximum(noise, 1e-4) * variance)


def _fitted(rows: Doubles, known: np.ndarray, factors: int) -> tuple[Doubles, Doubles]:
    """Loadings `(columns, factors)` and noise `(columns,)` of standardised rows, zero where unknown."""
    _, sizes, directions = np.linalg.svd(rows, full_matrices=False)
    loadings = np.zeros((rows.shape[1], factors))
    found = min(factors, len(sizes))
    loadings[:, :found] = directions[:found].T * sizes[:found] / np.sqrt(len(rows))
    noise = np.full(rows.shape[1], 0.5)
    flags = known.astype(np.float64)
    for _ in range(_ROUNDS):
        # Each row sees its own columns: one small system a row.
        weighted = loadings / noise[:, None]
        precision = np.eye(factors) + np.einsum("ic,cf,cg->ifg", flags, weighted, loadings)
        shared = np.linalg.inv(precision)
        middles = np.einsum("ifg,ig->if", shared, rows @ weighted)
        second = shared + middles[:, :, None] * middles[:, None, :]
        # Loadings are drawn to zero with variance one, so that a column which few rows know does not follow those few.
        products = np.einsum("ic,ifg->cfg", flags, second) + noise[:, None, None] * np.eye(factors)
        loadings = np.linalg.solve(products, (rows.T @ middles)[:, :, None])[:, :, 0]
        left = np.square(rows).sum(axis=0) - 2 * np.einsum("if,cf,ic->c", middles, loadings, rows)
        left += np.einsum("ic,ifg,cf,cg->c", flags, second, loadings, loadings)
        noise = np.maximum((np.maximum(left, 0.0) + _PRIOR_MODELS * 0.5) / (flags.sum(axis=0) + _PRIOR_MODELS), 1e-3)
    return loadings, noise
