"""The densities of points of one task and of any task, in coordinates in which both covariances are diagonal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from router.perceive.skills import row_by_row
from router.types import Doubles

_EDGE = 1e-6
MOST_COUNTED = 8
"""More prompts of a task than these make its mean no surer: the examples of a card are not quite the prompts of users,
and a card with many of them would lose prompts to those with few, whose means may be anywhere."""


class TaskMean(NamedTuple):
    """The mean `(numbers,)` of the points of prompts of one task, and how many they are."""

    mean: Doubles
    prompts: int

    def with_points(self, points: Doubles) -> TaskMean:
        """The mean of these and of further points `(prompts, numbers)`."""
        total = self.prompts + len(points)
        if not self.prompts or not len(points):
            return TaskMean(points.mean(axis=0), total) if len(points) else self
        return TaskMean(self.mean * (self.prompts / total) + points.mean(axis=0) * (len(points) / total), total)


class Density(NamedTuple):
    """One pair of covariances, diagonalised: `axes` `(numbers, numbers)` maps vectors to coordinates in which the
    within-covariance is one and the between-covariance has the diagonal `spread` `(numbers,)`.
    """

    axes: Doubles
    spread: Doubles

    @classmethod
    def of(cls, within: Doubles, between: Doubles) -> Density:
        """The densities with these covariances `(numbers, numbers)` within and between tasks."""
        inverse = np.linalg.inv(np.linalg.cholesky(within))
        spread, axes = np.linalg.eigh(inverse @ between @ inverse.T)
        return cls(np.ascontiguousarray(inverse.T @ axes), np.maximum(spread, _EDGE))

    def tasks(self, means: Doubles, counts: Sequence[int]) -> tuple[Doubles, Doubles]:
        """The rows `(cards, numbers)` and constants `(cards,)` of cards with these means and numbers of prompts."""
        # Row by row, since a product of all at once would round a card's row differently beside others.
        shrunk = row_by_row(means, self.axes)
        number = np.array(counts, dtype=np.float64)[:, None]
        shrunk *= number * self.spread / (number * self.spread + 1.0)
        rows = shrunk / (1.0 + self.spread / (number * self.spread + 1.0))
        return rows, -0.5 * (shrunk * rows).sum(axis=1)

    def shared(self, counts: Sequence[int]) -> tuple[Doubles, Doubles]:
        """Of numbers of prompts, what multiplies the squared coordinates `(counts, numbers)`, and a constant."""
        number = np.array(counts, dtype=np.float64).reshape(-1, 1)
        variances = 1.0 + self.spread / (number * self.spread + 1.0)
        total = 1.0 + self.spread
        return -0.5 * (1.0 / variances - 1.0 / total), -0.5 * (np.log(variances) - np.log(total)).sum(axis=1)
