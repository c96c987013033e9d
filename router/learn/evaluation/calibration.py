"""Whether forecasts mean what they say: reliability by bin, and how often an interval covers the truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from router.learn.evaluation.metrics import BINS, Table
from router.types import Doubles, Indices

LEAST_CELL = 20
"""Prompts that a cell needs before its coverage is counted."""

_EIGHTY = 1.2815515655446004
"""Half width of the middle 80 % of a normal distribution, in standard deviations."""


class Reliability(Struct, frozen=True):
    """One bin of the forecasts, pooled over models."""

    forecast: float
    score: float
    outcomes: int


class Coverage(Struct, frozen=True):
    """How many cells of at least twenty prompts have their mean score inside the 80 % interval of the forecast.

    A cell is a model on the prompts of one bin of its forecasts (`by_bin`) or of one domain (`by_domain`). Its
    interval is mean forecast ± 1.2816 · sqrt(mean std² + mean p(1 - p) / n): doubt about the expectation, which
    is shared by the cell's prompts and does not average out, and the chance of single answers, which does.
    Shares are None where no cell is large enough.
    """

    by_bin: float | None
    by_domain: float | None
    bin_cells: int
    domain_cells: int
    mean_std: float


def reliability(scores: Table, expected: Table) -> tuple[Reliability, ...]:
    """Mean forecast and mean score in each of 15 equal-width bins that has outcomes."""
    known = ~np.isnan(scores)
    forecast, score = np.clip(expected[known], 0, 1), scores[known]
    bins = _bins(forecast, BINS)
    return tuple(
        Reliability(float(forecast[bins == each].mean()), float(score[bins == each].mean()), int((bins == each).sum()))
        for each in np.unique(bins)
    )


def coverage(scores: Table, expected: Table, std: Table, domains: Sequence[str]) -> Coverage:
    """Coverage of the 80 % intervals of `expected` with `std`, all `(prompts, models)`."""
    _, numbers = np.unique(np.array(domains), return_inverse=True)
    binned: list[bool] = []
    by_domain: list[bool] = []
    for model in range(scores.shape[1]):
        known = ~np.isnan(scores[:, model])
        forecast, doubt = np.clip(expected[known, model], 0, 1), std[known, model]
        binned += _covered(scores[known, model], forecast, doubt, _bins(forecast, BINS))
        by_domain += _covered(scores[known, model], forecast, doubt, numbers[known])
    return Coverage(
        by_bin=float(np.mean(binned)) if binned else None,
        by_domain=float(np.mean(by_domain)) if by_domain else None,
        bin_cells=len(binned),
        domain_cells=len(by_domain),
        mean_std=float(std.mean()),
    )


def _covered(scores: Table, forecast: Table, std: Table, cells: Indices) -> list[bool]:
    covered = []
    for cell in np.unique(cells):
        own = cells == cell
        count = int(own.sum())
        if count < LEAST_CELL:
            continue
        chance: Doubles = forecast[own] * (1 - forecast[own])
        half = _EIGHTY * np.sqrt(np.square(std[own]).mean() + chance.mean() / count)
        covered.append(bool(abs(scores[own].mean() - forecast[own].mean()) <= half))
    return covered


def _bins(forecast: Table, count: int) -> Indices:
    return np.minimum((forecast * count).astype(np.intp), count - 1)
