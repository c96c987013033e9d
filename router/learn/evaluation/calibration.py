"""Calibration of forecasts: reliability by bin, and how often an interval covers the truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from router.learn.evaluation.metrics import BINS, Table
from router.learn.training.uncertainty import LEAST_CELL
from router.types import Indices

_STDS_OF_80_PERCENT = 1.2815515655446004
"""Half width of the middle 80 % of a normal distribution, in standard deviations."""


class Reliability(Struct, frozen=True):
    """One bin of the forecasts, pooled over models."""

    forecast: float
    score: float
    outcomes: int


class Coverage(Struct, frozen=True):
    """The share of cells of at least twenty prompts whose mean score is inside the 80 % interval of the forecast.

    A cell is a model on the prompts of one bin of its forecasts (`by_bin`) or of one domain (`by_domain`). Its
    interval is mean forecast ± 1.2816 · sqrt(mean std² + φ · mean p(1 - p) / n): the uncertainty of the expectation,
    which the prompts of a cell share and which does not average out, and the randomness of single answers, which
    does. `φ` is the model's dispersion, Σ (y - p)² / Σ p(1 - p), at most 1: scores that are not only right or wrong
    vary less. Shares are None where no cell is large enough.
    """

    by_bin: float | None
    by_domain: float | None
    bin_cells: int
    domain_cells: int
    mean_std: float


def reliability(scores: Table, expected: Table) -> tuple[Reliability, ...]:
    """Mean forecast and mean score in each of 15 equal-width bins, without empty bins."""
    known = ~np.isnan(scores)
    forecast, score = np.clip(expected[known], 0, 1), scores[known]
    bins = _bins(forecast, BINS)
    return tuple(
        Reliability(float(forecast[inside].mean()), float(score[inside].mean()), int(inside.sum()))
        for inside in (bins == number for number in np.unique(bins))
    )


def coverage(scores: Table, expected: Table, std: Table, domains: Sequence[str]) -> Coverage:
    """Coverage of the 80 % intervals of `expected` with `std`, all `(prompts, models)`."""
    _, numbers = np.unique(np.array(domains), return_inverse=True)
    by_bin: list[bool] = []
    by_domain: list[bool] = []
    for model in range(scores.shape[1]):
        known = ~np.isnan(scores[:, model])
        forecast, uncertainty = np.clip(expected[known, model], 0, 1), std[known, model]
        score, variance = scores[known, model], forecast * (1 - forecast)
        variance = variance * min(1.0, float(np.square(score - forecast).sum() / max(variance.sum(), 1e-9)))
        by_bin += _covered(score, forecast, uncertainty, variance, _bins(forecast, BINS))
        by_domain += _covered(score, forecast, uncertainty, variance, numbers[known])
    return Coverage(
        by_bin=float(np.mean(by_bin)) if by_bin else None,
        by_domain=float(np.mean(by_domain)) if by_domain else None,
        bin_cells=len(by_bin),
        domain_cells=len(by_domain),
        mean_std=float(std.mean()),
    )


def _covered(scores: Table, forecast: Table, std: Table, variance: Table, cells: Indices) -> list[bool]:
    """For each large enough cell, whether its mean score is inside the interval; `variance` is that of an answer."""
    covered = []
    for cell in np.unique(cells):
        inside = cells == cell
        count = int(inside.sum())
        if count < LEAST_CELL:
            continue
        half_width = _STDS_OF_80_PERCENT * np.sqrt(np.square(std[inside]).mean() + variance[inside].mean() / count)
        covered.append(bool(abs(scores[inside].mean() - forecast[inside].mean()) <= half_width))
    return covered


def _bins(forecast: Table, count: int) -> Indices:
    return np.minimum((forecast * count).astype(np.intp), count - 1)
