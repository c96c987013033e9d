"""The uncertainty of the stack's forecasts, estimated from its out-of-fold errors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from router.learn.training.members import MIN_DOMAINS, Blended
from router.learn.training.outcome_table import MIN_ROWS
from router.perceive.profile import share_between
from router.types import Doubles, Indices

LEAST_CELL = 20
"""Prompts that a cell needs for its mean error to count."""

_COVERED, _QUANTILE_80 = 0.8, 1.2816
_DEFAULT_SHARE_IN_DOMAIN, _DEFAULT_SHARE = 0.1, 0.25
_SHARES = np.geomspace(1e-4, 1.0, 41)
_BINS = 20


class Uncertainty(NamedTuple):
    """`residual_variance` `(models,)` of single outcomes, out of fold, and `shares` `(2, 2)` of it that are the
    variance of the expected score; rows: in domain and out of domain; columns: in total, and without the part that all
    models share, which does not matter when models are compared.
    """

    residual_variance: Doubles
    shares: Doubles


class _Cells(NamedTuple):
    """Cells are groups of prompts of one model, each of enough prompts; `(cells,)`: the squared mean error, its
    variance by chance, and the model's residual variance. `probabilities` `(cells, bins)` are the shares of the cell's
    prompts by their OOD probability.
    """

    squared_error: Doubles
    chance_variance: Doubles
    residual_variance: Doubles
    probabilities: Doubles

    def covered(self, shares: Doubles) -> Doubles:
        """The share of cells inside their 80 % intervals, for shares of the residual variance `(bins, choices)`."""
        variance = self.chance_variance[:, None] + self.residual_variance[:, None] * (self.probabilities @ shares)
        inside: Doubles = (self.squared_error[:, None] <= _QUANTILE_80**2 * variance).mean(axis=0)
        return inside


def estimate_uncertainty(
    in_domain: Blended, out_of_domain: Blended, groups: Indices, domains: int | None = None
) -> Uncertainty:
    """The uncertainty of forecasts that are made like these, which are out of fold and with domains left out; `groups`
    are the domains of the latter's rows, or topics where there are too few `domains`, the number of known ones.
    """
    table = in_domain.table
    outcomes = table.known.sum(axis=0)
    error = np.square(np.where(table.known, table.scores - in_domain.expected, 0.0)).sum(axis=0)
    # The variance of a model with few outcomes is shrunk to the mean of all models.
    mean = error.sum() / max(outcomes.sum(), 1) if outcomes.any() else 0.25
    variance = (error + MIN_ROWS * mean) / (outcomes + MIN_ROWS)
    widening = 1.0 if domains is None or domains >= MIN_DOMAINS else _of_few(domains)
    shares = []
    for independent in (False, True):
        # In domain, the forecasts were fitted to the mean scores of the domains, so that these show no errors.
        of_tenths = _cells(in_domain, variance, _tenths(in_domain, independent), independent)
        left_out = [
            _cells(out_of_domain, variance, of_cells, independent)
            for of_cells in (_tenths(out_of_domain, independent), groups[:, None])
        ]
        inside, outside = _best_shares(of_tenths, *left_out)
        shares.append(np.array([inside, max(outside, min(outside * widening, _DEFAULT_SHARE))]))
    total, independent_part = np.array(shares)
    return Uncertainty(variance, np.column_stack([total, np.minimum(total, independent_part)]))


def _of_few(domains: int) -> float:
    """By how much a variance is greater than topics that stand in for so few domains show it: Student's quantile in
    place of the normal one. It widens no further than to the share that is assumed where nothing is known.
    """
    return float((stdtrit(max(domains - 1, 1), (1 + _COVERED) / 2) / _QUANTILE_80) ** 2)


def _tenths(blended: Blended, independent: bool) -> Indices:
    """The decile, from 0 to 9, of each forecast of a model, or of each prompt's mean forecast."""
    values = blended.expected.mean(axis=1, keepdims=True) if independent else blended.expected
    # Columns as rows, whose numbers lie beside each other, which takes half the time to sort.
    order = np.argsort(np.ascontiguousarray(values.T), axis=1, kind="stable")
    tenths = np.empty_like(order)
    np.put_along_axis(tenths, order, np.arange(len(values))[None] * 10 // max(len(values), 1), axis=1)
    return tenths.T


def _cells(blended: Blended, variance: Doubles, groups: Indices, independent: bool) -> _Cells:
    """The cells of groups `(prompts, models)`, or `(prompts, 1)` if they are the same for all models.

    With `independent`, the mean error of all models in a cell is subtracted first.
    """
    table, expected = blended.table, blended.expected
    shape = int(groups.max(initial=0)) + 1, expected.shape[1]
    cell = (groups * shape[1] + np.arange(shape[1]))[table.known]
    chance = np.clip(expected, 0.02, 0.98)
    chance = chance * (1 - chance)
    # Scores that are not only right or wrong vary less by chance.
    spread = np.where(table.known, chance, 0.0).sum(axis=0) / np.maximum(table.known.sum(axis=0), 1)
    chance = chance * np.minimum(variance / np.maximum(spread, 1e-9), 1.0)
    summands = np.ones_like(expected), table.scores - expected, chance
    count, error, scatter = (
        np.bincount(cell, values[table.known], minlength=shape[0] * shape[1]).reshape(shape) for values in summands
    )
    enough = count >= LEAST_CELL
    mean_error = np.where(enough, error / np.maximum(count, 1), 0.0)
    if independent:
        mean_error = mean_error - mean_error.sum(axis=1, keepdims=True) / np.maximum(
            enough.sum(axis=1, keepdims=True), 1
        )
    bins = np.broadcast_to(_bins(blended.ood_probability)[:, None], expected.shape)[table.known]
    probabilities = np.bincount(cell * _BINS + bins, minlength=enough.size * _BINS).reshape(*shape, _BINS)
    return _Cells(
        np.square(mean_error)[enough],
        (scatter / np.square(np.maximum(count, 1)))[enough],
        np.broadcast_to(np.maximum(variance, 1e-9), shape)[enough],
        probabilities[enough] / count[enough][:, None],
    )


def _bins(probability: Doubles) -> Indices:
    return np.minimum((probability * _BINS).astype(np.intp), _BINS - 1)


def _best_shares(in_domain: _Cells, *out_of_domain: _Cells) -> Doubles:
    """The shares in and out of domain with which the intervals cover nearest to 80 % of the cells in and out of domain.

    Both are chosen together, because most prompts have an OOD probability between zero and one.
    """
    left_out = [cells for cells in out_of_domain if len(cells.squared_error)]
    pairs = np.array([(inside, outside) for inside in _SHARES for outside in _SHARES if inside <= outside])
    if not left_out:
        pairs = np.column_stack([_SHARES, np.maximum(_SHARES, _DEFAULT_SHARE)])
    if not len(in_domain.squared_error):
        return np.array([_DEFAULT_SHARE_IN_DOMAIN, _DEFAULT_SHARE])
    middles = (np.arange(_BINS) + 0.5) / _BINS
    shares = share_between(pairs[:, 0], pairs[:, 1], middles[:, None])
    misses = np.square(in_domain.covered(shares) - _COVERED)
    for cells in left_out:
        misses += np.square(cells.covered(shares) - _COVERED) / len(left_out)
    best: Doubles = pairs[int(np.argmin(misses))]
    return best
