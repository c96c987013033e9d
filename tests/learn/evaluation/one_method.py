"""Figures of a single method, for tests."""

from __future__ import annotations

import numpy as np

from router.learn.evaluation.bootstrap import MethodScores, compare
from router.learn.evaluation.metrics import Quality, Table, contributions, metrics


def assess(method: str, scores: Table, values: Table, cost_usd: Table | None, *, forecasts: bool = True) -> Quality:
    """All figures of one method, without intervals."""
    (line,) = compare([MethodScores(method, values, forecasts)], scores, cost_usd, draws=0)
    return line


def calibration_error(scores: Table, expected: Table) -> float:
    """Expected calibration error: Σ_bins share · |mean forecast - mean score|."""
    return float(metrics(contributions(scores, expected), np.ones((1, len(scores))))["ece"][0])
