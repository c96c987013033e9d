"""Ridge regression from sums: one pass over the rows serves every penalty, every fold and every subset of features.

The sums over some rows are those over all rows less those over the rest, so cross-validation costs only one
decomposition per fold, and a million rows need no more memory than one block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from router.types import Doubles, Indices

ALPHAS = (10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5, 1e6)
BLOCK = 16_384
"""Rows in memory at a time."""

Rows = NDArray[np.floating[Any]]


class Moments(NamedTuple):
    """Sums over rows of features `x` `(p,)` and targets `y` `(q,)`: `rows`, `x`, `y`, `xx` `(p, p)`, `xy` `(p, q)`,
    `yy` `(q,)`.
    """

    rows: int
    x: Doubles
    y: Doubles
    xx: Doubles
    xy: Doubles
    yy: Doubles

    @classmethod
    def of(cls, features: Rows, targets: Rows) -> Moments:
        """The sums over one block of rows."""
        return cls(
            len(features),
            features.sum(axis=0, dtype=np.float64),
            targets.sum(axis=0, dtype=np.float64),
            # A product with its own transpose takes half the work of another one.
            (features.T @ features).astype(np.float64),
            (features.T @ targets).astype(np.float64),
            np.square(targets, dtype=np.float64).sum(axis=0),
        )

    @classmethod
    def zero(cls, features: int, targets: int) -> Moments:
        """The sums over no rows."""
        x, y = np.zeros(features), np.zeros(targets)
        return cls(0, x, y, np.zeros((features, features)), np.zeros((features, targets)), y)

    def plus(self, other: Moments) -> Moments:
        """The sums over both."""
        return self._combined(np.add, other)

    def minus(self, other: Moments) -> Moments:
        """The sums without those rows."""
        return self._combined(np.subtract, other)

    def _combined(self, operation: Callable[[Any, Any], Any], other: Moments) -> Moments:
        return Moments(*map(operation, self, other))

    def select(self, features: Indices, targets: Indices) -> Moments:
        """The sums over some features and targets only."""
        return Moments(
            self.rows,
            self.x[features],
            self.y[targets],
            self.xx[np.ix_(features, features)],
            self.xy[np.ix_(features, targets)],
            self.yy[targets],
        )

    def of_targets(self, targets: Sequence[int]) -> Moments:
        """The sums over some targets only."""
        return self._replace(y=self.y[targets], xy=self.xy[:, targets], yy=self.yy[targets])

    def about_mean(self) -> Moments:
        """The sums of the deviations from the means; `x` and `y` become the means."""
        x, y = self.x / self.rows, self.y / self.rows
        return Moments(
            self.rows,
            x,
            y,
            self.xx - self.rows * np.outer(x, x),
            self.xy - self.rows * np.outer(x, y),
            np.maximum(self.yy - self.rows * np.square(y), 0.0),
        )

    def without(self, weights: Doubles) -> Moments:
        """For sums about the mean: the sums after subtracting the linear part `x · weights` from every target."""
        along = self.xx @ weights
        return self._replace(
            y=self.y - self.x @ weights,
            xy=self.xy - along[:, None],
            yy=np.maximum(self.yy - 2 * weights @ self.xy + weights @ along, 0.0),
        )


def chosen_alphas(moments: Moments, alphas: Sequence[float] = ALPHAS) -> Doubles:
    """The ridge penalty of each target with the least generalised cross-validation error, `(RSS / n) / (1 - df / n)²`
    (Golub, Heath and Wahba, 1979), from sums about the mean; float64 `(q,)`.
    """
    values, vectors = np.linalg.eigh(moments.xx)
    values = np.maximum(values, 0.0)[:, None]
    along = np.square(vectors.T @ moments.xy)
    errors = []
    for alpha in alphas:
        freedom = 1 + float((values / (values + alpha)).sum())
        residual = moments.yy - (along * (values + 2 * alpha) / np.square(values + alpha)).sum(axis=0)
        errors.append(np.maximum(residual, 0.0) / max(1 - freedom / moments.rows, 0.05) ** 2)
    chosen: Doubles = np.array(alphas)[np.argmin(errors, axis=0)]
    return chosen


def ridge(moments: Moments, alphas: Doubles) -> Doubles:
    """Weights `(p, q)` of ridge regression with these penalties `(q,)`, from sums about the mean."""
    weights = np.zeros_like(moments.xy)
    for alpha in np.unique(alphas):
        targets = alphas == alpha
        factor = cho_factor(moments.xx + alpha * np.eye(len(moments.xx)), lower=True)
        weights[:, targets] = cho_solve(factor, moments.xy[:, targets])
    return weights
