"""Forecasts for each fold by models that are fitted on the other folds."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from router.perceive.ability.acceptance import probability
from router.types import Doubles, Indices, Mask

_STEPS = 6
_FOLD_STEPS = 3
_LEAST_WEIGHT = 1e-6


def standardised(features: Doubles) -> Doubles:
    """`features` `(rows, columns)` with mean 0 and deviation 1; a constant column is 0."""
    deviation = features.std(axis=0)
    return np.asarray((features - features.mean(axis=0)) / np.where(deviation > 1e-9, deviation, 1.0))


class LinearOutOfFold:
    """Ridge regression on `features` `(rows, columns)` for any number of targets, which share one decomposition."""

    def __init__(self, features: Doubles, folds: Indices, penalty: float) -> None:
        """`folds` `(rows,)` is the fold of each row; `penalty` does not apply to the constant."""
        rows = _with_constant(standardised(features))
        penalties = np.full(rows.shape[1], penalty)
        penalties[-1] = 0.0
        self._parts = []
        for test in _tests(folds):
            train = rows[~test]
            solved = np.linalg.solve(train.T @ train + np.diag(penalties), train.T)
            self._parts.append((test, rows[test], solved))

    def __call__(self, targets: Doubles) -> Doubles:
        """The forecasts of `targets` `(rows, targets)`, of the same shape."""
        forecasts = np.empty(targets.shape)
        for test, rows, solved in self._parts:
            forecasts[test] = rows @ (solved @ targets[~test])
        return forecasts


def logistic_out_of_fold(features: Doubles, target: Doubles, folds: Indices, penalty: float = 1.0) -> Doubles:
    """The probability that `target` `(rows,)`, in [0, 1], is 1: logistic regression by Newton's method.

    Each fold's fit starts from that of all rows, from which Newton's method needs few steps.
    """
    rows = _with_constant(features)
    start = fit_logistic(rows, target, penalty, np.zeros(rows.shape[1]), _STEPS)
    forecasts = np.empty(len(target))
    for test in _tests(folds):
        weights = fit_logistic(rows[~test], target[~test], penalty, start, _FOLD_STEPS)
        forecasts[test] = probability(rows[test] @ weights)
    return forecasts


def fit_logistic(
    rows: Doubles, target: Doubles, penalty: float, start: Doubles, steps: int, *, near: bool = False
) -> Doubles:
    """The weights `(columns,)` of a logistic regression with an L2 penalty, by `steps` from `start`.

    The penalty is on the weights; with `near`, on their distance from `start`.
    """
    weights, middle = start, start if near else np.zeros(len(start))
    for _ in range(steps):
        forecast = probability(rows @ weights)
        curvature = forecast * (1 - forecast) + _LEAST_WEIGHT
        hessian = (rows * curvature[:, None]).T @ rows + penalty * np.eye(len(weights))
        slope = rows.T @ (target - forecast) - penalty * (weights - middle)
        weights = weights + np.linalg.solve(hessian, slope)
    return weights


def logit(probabilities: Doubles, least: float = 0.02) -> Doubles:
    """The inverse of `probability`, of probabilities clipped to [least, 1 - least]."""
    clipped = np.clip(probabilities, least, 1.0 - least)
    return np.asarray(np.log(clipped / (1.0 - clipped)))


def _with_constant(features: Doubles) -> Doubles:
    return np.concatenate([features, np.ones((len(features), 1))], axis=1)


def _tests(folds: Indices) -> Iterator[Mask]:
    for fold in np.unique(folds):
        yield folds == fold
