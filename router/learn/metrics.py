"""What an evaluation reports. Every formula is in the docstring; `docs/evaluation.md` explains how to read
them.

`scores` and `expected` are `(prompts, models)`; NaN in `scores` means that the model was not run on that
prompt, and then no method may choose it. Ties between forecasts go to the earlier column.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from router.types import Doubles, Indices

Table = NDArray[np.floating[Any]]
RIGHT = 0.5
"""A score of at least this counts as right where a metric needs right or wrong."""

_BINS = 15
_TRADE_OFFS = np.concatenate([[0.0], np.logspace(-4, 2, 61)])


class Quality(Struct, frozen=True):
    """One method's line in a report; None where a figure does not apply.

    `auc`: mean over models of the area under the ROC curve of "will this model get it right". `quality`: mean
    score of the chosen models. `selection_accuracy`: share of prompts whose chosen model scores as high as
    the best one there (ties count). `regret`: mean of best score minus chosen score. `captured`: (quality -
    best single) / (oracle - best single). `brier`: mean squared difference of forecast and score. `ece`:
    expected calibration error, 15 equal-width bins pooled over models. `cost_95`, `cost_99`: least mean cost,
    along the sweep of λ, at which 95 / 99 % of the best single model's quality is kept, as a share of that
    model's cost.
    """

    method: str
    auc: float | None
    quality: float
    selection_accuracy: float
    regret: float
    captured: float | None
    brier: float | None = None
    ece: float | None = None
    cost_95: float | None = None
    cost_99: float | None = None


def mean_auc(scores: Table, expected: Table) -> float | None:
    """Mean ROC AUC over the models with both right and wrong answers; None where there is no such model."""
    areas = []
    for model in range(scores.shape[1]):
        run = ~np.isnan(scores[:, model])
        right = scores[run, model] >= RIGHT
        if right.any() and not right.all():
            areas.append(float(roc_auc_score(right, expected[run, model])))
    return float(np.mean(areas)) if areas else None


def choices(scores: Table, expected: Table) -> Indices:
    """The column of greatest expectation among the models that were run, for each prompt."""
    columns: Indices = np.argmax(np.where(np.isnan(scores), -np.inf, expected), axis=1)
    return columns


def best_single(scores: Table) -> int:
    """The model of greatest mean score."""
    return int(np.nanargmax(np.nanmean(scores, axis=0)))


def brier(scores: Table, expected: Table) -> float:
    """Mean squared difference over all outcomes."""
    return float(np.nanmean(np.square(scores - expected)))


def calibration_error(scores: Table, expected: Table) -> float:
    """Expected calibration error: Σ_bins share · |mean forecast - mean score|."""
    run = ~np.isnan(scores)
    forecast, score = expected[run], scores[run]
    bins = np.minimum((np.clip(forecast, 0, 1) * _BINS).astype(int), _BINS - 1)
    count = np.bincount(bins, minlength=_BINS)
    gap = np.abs(np.bincount(bins, forecast, _BINS) - np.bincount(bins, score, _BINS))
    return float(gap[count > 0].sum() / count.sum())


def chosen_scores(scores: Table, chosen: Indices) -> Doubles:
    """The score of each prompt's chosen model."""
    return np.asarray(scores[np.arange(len(scores)), chosen], dtype=np.float64)


def assess(method: str, scores: Table, values: Table, cost_usd: Table | None, *, forecasts: bool = True) -> Quality:
    """All figures of a method that chooses by `values`; without AUC, Brier and ECE where these are no forecasts."""
    oracle = np.nanmax(scores, axis=1)
    got = chosen_scores(scores, choices(scores, values))
    single = float(np.nanmean(scores[:, best_single(scores)]))
    room = float(oracle.mean()) - single
    return Quality(
        method=method,
        auc=mean_auc(scores, values) if forecasts else None,
        quality=float(got.mean()),
        selection_accuracy=float((got >= oracle - 1e-9).mean()),
        regret=float((oracle - got).mean()),
        captured=(float(got.mean()) - single) / room if room > 1e-9 else None,
        brier=brier(scores, np.clip(values, 0, 1)) if forecasts else None,
        ece=calibration_error(scores, np.clip(values, 0, 1)) if forecasts else None,
        cost_95=None if cost_usd is None else cost_to_keep(scores, values, cost_usd, 0.95),
        cost_99=None if cost_usd is None else cost_to_keep(scores, values, cost_usd, 0.99),
    )


def cost_to_keep(scores: Table, expected: Table, cost_usd: Table, share: float) -> float | None:
    """See `Quality.cost_95`. Only models with known cost take part; None where the level is never reached.

    A prompt's model is `argmax expected - λ · mean cost / dearest mean cost`: a router knows a model's usual
    cost beforehand, not the bill of the call.
    """
    usual = np.nanmean(np.where(np.isnan(cost_usd), np.nan, cost_usd), axis=0) if len(cost_usd) else cost_usd
    priced = ~np.isnan(usual)
    if priced.sum() < 2:
        return None
    scores, expected, cost_usd, usual = (
        scores[:, priced],
        expected[:, priced],
        cost_usd[:, priced],
        usual[priced],
    )
    run = ~np.isnan(scores).all(axis=1)
    scores, expected, cost_usd = scores[run], expected[run], cost_usd[run]
    if not run.any() or not usual.max() > 0:
        return None
    single = best_single(scores)
    target = share * float(np.nanmean(scores[:, single]))
    # A call whose bill is missing counts with the model's usual cost.
    bills = np.where(np.isnan(cost_usd), usual, cost_usd)
    reached = []
    for trade_off in _TRADE_OFFS:
        chosen = choices(scores, expected - trade_off * usual / usual.max())
        if chosen_scores(scores, chosen).mean() >= target:
            reached.append(float(bills[np.arange(len(bills)), chosen].mean()))
    single_bill = float(bills[:, single].mean())
    return min(reached) / single_bill if reached and single_bill > 0 else None
