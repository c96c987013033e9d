"""How far choices may follow what is particular to a model, chosen on out-of-fold decisions.

A model's forecast is its usual score, the ease of the prompt, and what is particular to the model on this prompt. The
greatest of many noisy forecasts is too good to be true, so a choice by the forecasts alone may be worse than always
taking the best model. Choices therefore count the particular part with a factor in [0, 1]; with zero, the best model on
average is chosen.
"""

from __future__ import annotations

import numpy as np

from router.learn.training.members import Blended
from router.perceive.linear import factor_of
from router.types import Doubles, Indices

_FACTORS = np.linspace(0.0, 1.0, 11)
_LIMITS = (1.0, 0.5, 0.3, 0.2, 0.1, 0.05)
_MIN_GROUPS = 3


def particular_factors(in_domain: Blended, out_of_domain: Blended, groups: Indices) -> Doubles:
    """The factor in domain, that out of domain, and the OOD probability from which on the latter holds, float64 `(3,)`.

    `groups` are the domains of the rows out of domain. The factor in domain must not lose where domains are left out;
    the best such factor must gain a standard error over the best model, and then the least one is taken that is not
    worse by a standard error. The factor out of domain is chosen in the same way.
    """
    if not len(in_domain.expected):
        # Too few prompts to leave some out: the best model on average is chosen.
        return np.array([0.0, 0.0, 1.0])
    rows_out = np.arange(len(out_of_domain.expected))
    choices = [(0.0, 1.0)]
    for limit in _LIMITS:
        for factor in _FACTORS[1:]:
            lost = -_gains(out_of_domain, np.array([factor, 0.0, limit]))
            if not len(lost) or lost.mean() <= _standard_error(lost, rows_out):
                choices.append((float(factor), limit))
    tables = [np.array([factor, 0.0, limit]) for factor, limit in choices]
    # From the choice that follows the forecasts least to the one that follows them most.
    followed = [float(factor_of(table, in_domain.ood_probability).mean()) for table in tables]
    tables = [tables[i] for i in np.argsort(followed, kind="stable")]
    inside = np.array([_gains(in_domain, table) for table in tables])
    near, _, limit = tables[_confirmed(inside, np.arange(inside.shape[1]))]
    far = 0.0
    if len(np.unique(groups)) >= _MIN_GROUPS:
        outside = np.array([_gains(out_of_domain, np.array([near, factor, limit])) for factor in _FACTORS])
        baseline = outside - outside[0]
        far = float(_FACTORS[_confirmed(baseline, groups)])
    return np.array([near, far, limit])


def _gains(blended: Blended, factors: Doubles) -> Doubles:
    """The score `(rows,)` of the model that is chosen with these factors, less that of the best model on average."""
    table = blended.table
    measured = table.known.any(axis=0)
    if not measured.any():
        return np.zeros(len(blended.expected))
    above = blended.expected - table.ability
    particular = above - above[:, measured].mean(axis=1, keepdims=True)
    compared = table.ability + factor_of(factors, blended.ood_probability)[:, None] * particular
    return _scores(blended, compared) - _scores(blended, np.broadcast_to(table.ability, compared.shape))


def _scores(blended: Blended, compared: Doubles) -> Doubles:
    """The score of the model of the greatest value among those that were run, `(rows,)`; zero where none was."""
    table = blended.table
    chosen = np.where(table.known, compared, -np.inf).argmax(axis=1)
    return np.asarray(np.nan_to_num(table.scores[np.arange(len(chosen)), chosen]), dtype=np.float64)


def _confirmed(gains: Doubles, groups: Indices) -> int:
    """The index of the choice whose gains `(choices, rows)` are confirmed; the first choice is the best model."""
    if not gains.shape[1]:
        return 0
    best = int(gains.mean(axis=1).argmax())
    if gains[best].mean() <= _standard_error(gains[best], groups):
        return 0
    losses = gains[best] - gains
    return next(i for i, loss in enumerate(losses) if loss.mean() <= _standard_error(loss, groups))


def _standard_error(values: Doubles, groups: Indices) -> float:
    """The standard error of the mean, where the values of a group vary together."""
    numbers = np.unique(groups, return_inverse=True)[1]
    sums = np.bincount(numbers, values - values.mean())
    return float(np.sqrt(np.square(sums).sum() * len(sums) / max(len(sums) - 1, 1)) / len(values))
