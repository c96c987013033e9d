"""The figures that an evaluation reports of one method. Every formula is in a docstring; `docs/evaluation.md` explains
how to read them.

`scores` and `expected` are `(prompts, models)`; NaN in `scores` means that the model was not run on that
prompt, and then no method may choose it. Ties between forecasts go to the earlier column.

Every figure is a function of the prompts' weights. With weights of one it is the figure itself; with the weights of
a bootstrap draw (`router.learn.evaluation.bootstrap.resamples`) it is the same figure on resampled prompts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from router.types import Doubles, Indices

Table = NDArray[np.floating[Any]]
RIGHT = 0.5
"""A score of at least this counts as right where a figure needs right or wrong answers."""

BINS = 15
_TIE = 1e-9
_UNKNOWN_SCORE = 0.5


class Difference(Struct, frozen=True):
    """The figure of a method minus ours on the same prompts, with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


class Quality(Struct, frozen=True):
    """The figures of one method in a report; None where a figure does not apply.

    `auc`: mean over models of the area under the ROC curve of "will this model get it right"; `auc_within`: the
    same inside each fold, averaged over prompts. `quality`: mean score of the chosen models.
    `selection_accuracy`: share of prompts whose chosen model scores as high as the best one there (ties count);
    `selection_strict`: the same, but a choice among `k` tied best models counts `1/k`. `regret`: mean of best
    score minus chosen score. `captured`: (quality - best single) / (oracle - best single). `brier`: mean
    squared difference of forecast and score. `ece`: expected calibration error, 15 equal-width bins pooled over
    models. `cost_95`, `cost_99`, `cost_100`: least mean cost, along the sweep of λ, at which 95 / 99 / 100 % of
    the best single model's quality is kept, as a share of that model's cost. `aiq`: area under the cost-quality
    curve. `apgr`, `cpt_50`, `cpt_80`: for a pair of models, as in RouteLLM. `curve`: points (cost on the axis
    of `aiq`, quality) of the curve's hull. `intervals`: 95 % bootstrap intervals by figure; `minus_ours`:
    paired differences by figure.
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
    cost_100: float | None = None
    aiq: float | None = None
    selection_strict: float | None = None
    auc_within: float | None = None
    apgr: float | None = None
    cpt_50: float | None = None
    cpt_80: float | None = None
    trained: bool = False
    curve: tuple[tuple[float, float], ...] = ()
    intervals: dict[str, tuple[float, float]] = {}
    minus_ours: dict[str, Difference] = {}


class ForecastContributions(Struct, frozen=True, eq=False):
    """What each prompt contributes to the figures of a method that forecasts scores.

    `placements` `(prompts, models)`: for a right answer the share of the model's wrong ones with a lower forecast, for
    a wrong answer the share of right ones with a higher one (ties count half); NaN for models without both. `right`
    bool of the same shape. `squared_errors`, `outcomes` `(prompts,)`: sum of squared differences, number of outcomes.
    `gaps` `(prompts, 15)`: sum of forecast minus score, by bin of the forecast.
    """

    placements: Doubles
    right: NDArray[np.bool_]
    squared_errors: Doubles
    outcomes: Doubles
    gaps: Doubles


class Contributions(Struct, frozen=True, eq=False):
    """What each prompt contributes to the figures of one method; arrays `(prompts,)`.

    `quality`: score of the chosen model. `best`: the best score. `credit`: `1/k` where the choice is one of `k` tied
    best models. `single`: score of the model of greatest mean, or of the next where it was not run. `forecast` is None
    where the method forecasts nothing.
    """

    quality: Doubles
    best: Doubles
    credit: Doubles
    single: Doubles
    forecast: ForecastContributions | None = None


def contributions(
    scores: Table, values: Table, compared: Table | None = None, *, forecasts: bool = True
) -> Contributions:
    """The contributions to the figures of a method that chooses the greatest of `compared`, which are its `values`
    where nothing else is given.

    With `forecasts`, the values are expected scores; they are clipped to [0, 1] where they must be probabilities.
    """
    known = ~np.isnan(scores)
    best = np.nanmax(scores, axis=1)
    quality = chosen_scores(scores, choices(scores, values if compared is None else compared))
    ties = (known & (np.where(known, scores, -np.inf) >= best[:, None] - _TIE)).sum(axis=1)
    return Contributions(
        quality=quality,
        best=np.asarray(best, dtype=np.float64),
        credit=np.where(quality >= best - _TIE, 1.0 / ties, 0.0),
        single=single_scores(scores),
        forecast=_forecast_contributions(scores, values) if forecasts else None,
    )


def _forecast_contributions(scores: Table, values: Table) -> ForecastContributions:
    known = ~np.isnan(scores)
    placements, right = _placements(scores, values)
    clipped = np.clip(values, 0, 1)
    gap = np.where(known, clipped - scores, 0.0)
    bins = np.minimum((np.nan_to_num(clipped) * BINS).astype(np.intp), BINS - 1)
    cells = (np.arange(len(scores))[:, None] * BINS + bins)[known]
    return ForecastContributions(
        placements=placements,
        right=right,
        squared_errors=np.square(gap).sum(axis=1),
        outcomes=known.sum(axis=1).astype(np.float64),
        gaps=np.bincount(cells, gap[known], len(scores) * BINS).astype(np.float64).reshape(len(scores), BINS),
    )


def metrics(parts: Contributions, weights: Doubles) -> dict[str, Doubles]:
    """Every figure that needs no cost, float64 `(draws,)`, for weights `(draws, prompts)`; NaN where undefined."""
    total = weights.sum(axis=1)
    quality, best = weights @ parts.quality / total, weights @ parts.best / total
    single = weights @ parts.single / total
    possible_gain = best - single
    has_gain = possible_gain > _TIE
    captured = np.where(has_gain, (quality - single) / np.where(has_gain, possible_gain, 1.0), np.nan)
    result = {
        "quality": quality,
        "selection_accuracy": weights @ (parts.credit > 0).astype(np.float64) / total,
        "selection_strict": weights @ parts.credit / total,
        "regret": best - quality,
        "captured": captured,
    }
    forecast = parts.forecast
    if forecast is None:
        return result
    outcomes = weights @ forecast.outcomes
    return result | {
        "auc": _areas(forecast.placements, forecast.right, weights),
        "brier": weights @ forecast.squared_errors / outcomes,
        "ece": np.abs(weights @ forecast.gaps).sum(axis=1) / outcomes,
    }


def mean_auc(scores: Table, expected: Table) -> float | None:
    """Mean ROC AUC over the models with both right and wrong answers; None where there is no such model."""
    placements, right = _placements(scores, expected)
    area = float(_areas(placements, right, np.ones((1, len(scores))))[0])
    return None if np.isnan(area) else area


def auc_within(scores: Table, expected: Table, folds: Indices) -> float | None:
    """`mean_auc` inside each fold, averaged with the sizes of the folds as weights; None where no fold has one.

    Forecasts of different folds are from different fits, which this figure never compares with each other.
    """
    areas, sizes = [], []
    for fold in np.unique(folds):
        inside = folds == fold
        if (area := mean_auc(scores[inside], expected[inside])) is not None:
            areas.append(area)
            sizes.append(int(inside.sum()))
    return float(np.average(areas, weights=sizes)) if areas else None


def choices(scores: Table, expected: Table) -> Indices:
    """For each prompt, the column of the greatest expected score among the models that were run."""
    columns: Indices = np.argmax(np.where(np.isnan(scores), -np.inf, expected), axis=1)
    return columns


def mean_scores(scores: Table) -> Doubles:
    """Mean score of each model over the prompts it was run on, `(models,)`; NaN for a model that was never run."""
    known = ~np.isnan(scores)
    count = known.sum(axis=0)
    total = np.where(known, scores, 0.0).sum(axis=0, dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def filled_means(y: Table) -> Doubles:
    """Mean outcome of each model; the overall mean for a model that was never run."""
    known = ~np.isnan(y)
    count = known.sum(axis=0)
    total = np.where(known, y, 0.0).sum(axis=0, dtype=np.float64)
    overall = total.sum() / count.sum() if count.any() else _UNKNOWN_SCORE
    return np.where(count > 0, total / np.maximum(count, 1), overall)


def best_single(scores: Table) -> int:
    """The column of the greatest mean score."""
    return int(np.nanargmax(mean_scores(scores)))


def single_scores(scores: Table) -> Doubles:
    """The score of the best single model on each prompt; of the next best where it was not run."""
    means = np.broadcast_to(np.nan_to_num(mean_scores(scores), nan=-1.0), scores.shape)
    return chosen_scores(scores, choices(scores, means))


def brier(scores: Table, expected: Table) -> float:
    """Mean squared difference over all outcomes."""
    return float(np.nanmean(np.square(scores - expected)))


def chosen_scores(scores: Table, chosen: Indices) -> Doubles:
    """The score of each prompt's chosen model."""
    return np.asarray(scores[np.arange(len(scores)), chosen], dtype=np.float64)


def _placements(scores: Table, expected: Table) -> tuple[Doubles, NDArray[np.bool_]]:
    right = np.nan_to_num(scores, nan=0.0) >= RIGHT
    placements = np.full(scores.shape, np.nan)
    for model in range(scores.shape[1]):
        known = ~np.isnan(scores[:, model])
        positive, negative = known & right[:, model], known & ~right[:, model]
        if not positive.any() or not negative.any():
            continue
        high, low = np.sort(expected[positive, model]), np.sort(expected[negative, model])
        placements[positive, model] = _share_below(low, expected[positive, model])
        placements[negative, model] = 1.0 - _share_below(high, expected[negative, model])
    return placements, right


def _share_below(ordered: Table, values: Table) -> Doubles:
    """The share of `ordered` below each of `values`; ties count half."""
    twice = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    return np.asarray(twice / (2 * len(ordered)), dtype=np.float64)


def _areas(placements: Doubles, right: NDArray[np.bool_], weights: Doubles) -> Doubles:
    """Mean AUC over models for each row of weights.

    Exact for equal weights. Otherwise the first-order expansion in the placements (DeLong, DeLong and
    Clarke-Pearson 1988): mean placement of the right answers + that of the wrong ones - AUC.
    """
    defined = ~np.isnan(placements).all(axis=0)
    if not defined.any():
        return np.full(len(weights), np.nan)
    has_placement = ~np.isnan(placements[:, defined])
    filled = np.nan_to_num(placements[:, defined])
    positive = has_placement & right[:, defined]
    negative = has_placement & ~right[:, defined]
    area = (filled * positive).sum(axis=0) / positive.sum(axis=0)
    with np.errstate(invalid="ignore"):
        ups = weights @ (filled * positive) / (weights @ positive)
        downs = weights @ (filled * negative) / (weights @ negative)
        areas = ups + downs - area
    # A small resample may contain no right answer of a model; then the mean is over the others.
    undefined = np.isnan(areas)
    count = (~undefined).sum(axis=1)
    return np.where(count > 0, np.where(undefined, 0.0, areas).sum(axis=1) / np.maximum(count, 1), np.nan)
