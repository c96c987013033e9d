"""Rank correlation, and intervals by bootstrap that are the same in every run."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from msgspec import Struct

from router.types import Doubles, Indices

DRAWS = 1_000


class Interval(Struct, frozen=True):
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def ranks(values: Doubles) -> Doubles:
    """Ranks from 1; the mean rank where values are equal."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    by_value: Doubles = np.cumsum(counts) - (counts - 1) / 2
    return by_value[inverse]


def spearman(left: Doubles, right: Doubles) -> float:
    """The rank correlation; 0 where one side is constant."""
    if len(np.unique(left)) < 2 or len(np.unique(right)) < 2:
        return 0.0
    return float(np.corrcoef(ranks(left), ranks(right))[0, 1])


def bootstrap(rows: int, statistic: Callable[[Indices], float], draws: int = DRAWS) -> Interval:
    """A statistic of row numbers, and its interval over samples of the rows with replacement."""
    samples = np.random.default_rng(0).integers(rows, size=(draws, rows))
    low, high = np.percentile([statistic(sample) for sample in samples], (2.5, 97.5))
    return Interval(statistic(np.arange(rows)), float(low), float(high))
