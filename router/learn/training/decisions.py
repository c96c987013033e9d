"""How far choices may follow what is particular to a model, chosen on out-of-fold decisions.

A model's forecast is its usual score, the ease of the prompt, and what is particular to the model on this prompt. The
greatest of many noisy forecasts is too good to be true, so a choice by the forecasts alone may be worse than always
taking the best model. Choices therefore count the particular part with a factor in [0, 1]; with zero, the best model on
average is chosen.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from router.learn.training.members import Blended
from router.perceive.linear import factor_of
from router.types import Doubles, Floats, Indices

_FACTORS = np.linspace(0.0, 1.0, 11)
_LIMITS = (1.0, 0.5, 0.3, 0.2, 0.1, 0.05)
_MIN_GROUPS = 3
_ROWS_AT_A_TIME = 1024
"""So many that their values stay in the processor's cache."""


def particular_factors(in_domain: Blended, out_of_domain: Blended, groups: Indices) -> Doubles:
    """The factor in domain, that out of domain, and the OOD probability from which on the latter holds, float64 `(3,)`.

    `groups` are the domains of the rows out of domain. The factor in domain must not lose where domains are left out;
    the best such factor must gain a standard error over the best model, and then the least one is taken that is not
    worse by a standard error. The factor out of domain is chosen in the same way.
    """
    if not len(in_domain.expected):
        # Too few prompts to leave some out: the best model on average is chosen.
        return np.array([0.0, 0.0, 1.0])
    inside, outside = _Choices.of(in_domain), _Choices.of(out_of_domain)
    rows_out = np.arange(len(outside.best))
    choices = [(0.0, 1.0)]
    for limit in _LIMITS:
        for factor in _FACTORS[1:]:
            lost = -outside.gains(np.array([factor, 0.0, limit]))
            if not len(lost) or lost.mean() <= _standard_error(lost, rows_out):
                choices.append((float(factor), limit))
    tables = [np.array([factor, 0.0, limit]) for factor, limit in choices]
    # From the choice that follows the forecasts least to the one that follows them most.
    followed = [float(factor_of(table, in_domain.ood_probability).mean()) for table in tables]
    tables = [tables[i] for i in np.argsort(followed, kind="stable")]
    gains = np.array([inside.gains(table) for table in tables])
    near, _, limit = tables[_confirmed(gains, np.arange(gains.shape[1]))]
    far = 0.0
    if len(np.unique(groups)) >= _MIN_GROUPS:
        gains = np.array([outside.gains(np.array([near, factor, limit])) for factor in _FACTORS])
        far = float(_FACTORS[_confirmed(gains - gains[0], groups)])
    return np.array([near, far, limit])


class _Choices(NamedTuple):
    """What choices among the models that were run on each prompt need: `ability` `(rows, models)`, minus infinity where
    a model was not run; `particular` `(rows, models)`, what is particular to a model; `scores` `(rows, models)`, zero
    where unknown; `best` `(rows,)`, the score of the best model on average; `ood_probability` `(rows,)`.
    """

    ability: Doubles
    particular: Doubles
    scores: Floats
    best: Doubles
    ood_probability: Doubles

    @classmethod
    def of(cls, blended: Blended) -> _Choices:
        """Of these forecasts."""
        table = blended.table
        measured = table.known.any(axis=0)
        particular = blended.expected - table.ability
        # Without outcomes, every choice scores zero.
        particular -= particular[:, measured].mean(axis=1, keepdims=True) if measured.any() else 0.0
        ability = np.where(table.known, table.ability, -np.inf)
        scores = np.nan_to_num(table.scores)
        best = scores[np.arange(len(scores)), ability.argmax(axis=1)].astype(np.float64)
        return cls(ability, particular, scores, best, blended.ood_probability)

    def gains(self, factors: Doubles) -> Doubles:
        """The score `(rows,)` of the model that is chosen with these factors, less that of the best on average."""
        gains = -self.best
        factor = factor_of(factors, self.ood_probability)[:, None]
        for start in range(0, len(gains), _ROWS_AT_A_TIME):
            rows = slice(start, start + _ROWS_AT_A_TIME)
            compared = factor[rows] * self.particular[rows]
            compared += self.ability[rows]
            chosen = compared.argmax(axis=1)
            gains[rows] += self.scores[rows][np.arange(len(chosen)), chosen]
        return gains


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
