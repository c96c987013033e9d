"""Quality over cost: the sweep of λ, its hull, AIQ, the cost to keep a quality, and RouteLLM's figures for a pair.

A prompt's model is `argmax expected - λ · mean cost / greatest mean cost`, with the mean cost of each model: a router
knows that beforehand, unlike the cost of the call.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from router.learn.evaluation.metrics import Table, choices, chosen_scores, mean_scores
from router.types import Doubles, Indices

_LAMBDAS = np.concatenate([[0.0], np.logspace(-4, 2, 61)])
_DECILES = 10
_ALMOST_ONE = 1.0 - 1e-9

Points = tuple[tuple[float, float], ...]


class CostAxis(Struct, frozen=True, eq=False):
    """The models and prompts that have costs, and these costs.

    `models` and `rows` index the columns and rows of the score table that take part; `call_costs_usd` `(rows, models)`
    is the cost of each call (the model's mean where it is unknown), `mean_costs_usd` `(models,)` the mean known cost.
    `single_quality` and `single_cost_usd` are means of the best single model (of the next best where it was not
    run); `cheapest_usd` and `dearest_usd` the mean call costs of the cheapest and the most expensive model: 0 and 1 of
    the axis.
    """

    models: Indices
    rows: Indices
    call_costs_usd: Doubles
    mean_costs_usd: Doubles
    single_quality: float
    single_cost_usd: float
    cheapest_usd: float
    dearest_usd: float


class Sweep(Struct, frozen=True, eq=False):
    """The quality and the cost of a method's choices at each λ, float64 `(rows of the axis, λ)`."""

    quality: Doubles
    cost_usd: Doubles


class PairSweep(Struct, frozen=True, eq=False):
    """The choices of a method between two models: `rows` where both were run, `strong` and `weak` `(rows,)` their
    scores, `to_strong` 0 or 1 `(rows, thresholds)`: which prompts go to the strong model, from all of them to none.
    """

    rows: Indices
    strong: Doubles
    weak: Doubles
    to_strong: Doubles


def cost_axis(scores: Table, cost_usd: Table | None) -> CostAxis | None:
    """The axis of a score table; None with fewer than two priced models, or where all costs are equal or 0."""
    if cost_usd is None or not len(cost_usd):
        return None
    mean_costs = mean_scores(cost_usd)
    models = np.flatnonzero(~np.isnan(mean_costs) & ~np.isnan(scores).all(axis=0))
    rows = np.flatnonzero(~np.isnan(scores[:, models]).all(axis=1))
    if len(models) < 2 or not len(rows):
        return None
    mean_costs = mean_costs[models]
    recorded = cost_usd[np.ix_(rows, models)]
    call_costs = np.where(np.isnan(recorded), mean_costs, recorded).astype(np.float64)
    means = call_costs.mean(axis=0)
    if not mean_costs.max() > 0 or not means.max() > means.min():
        return None
    priced = scores[np.ix_(rows, models)]
    single = choices(priced, np.broadcast_to(mean_scores(priced), priced.shape))
    return CostAxis(
        models=models,
        rows=rows,
        call_costs_usd=call_costs,
        mean_costs_usd=mean_costs,
        single_quality=float(chosen_scores(priced, single).mean()),
        single_cost_usd=float(call_costs[np.arange(len(rows)), single].mean()),
        cheapest_usd=float(means.min()),
        dearest_usd=float(means.max()),
    )


def sweep(axis: CostAxis, scores: Table, expected: Table) -> Sweep:
    """The choices of a method at every λ."""
    scores, expected = scores[np.ix_(axis.rows, axis.models)], expected[np.ix_(axis.rows, axis.models)]
    quality = np.empty((len(axis.rows), len(_LAMBDAS)))
    cost_usd = np.empty_like(quality)
    every_row = np.arange(len(axis.rows))
    for step, weight in enumerate(_LAMBDAS):
        chosen = choices(scores, expected - weight * axis.mean_costs_usd / axis.mean_costs_usd.max())
        quality[:, step] = chosen_scores(scores, chosen)
        cost_usd[:, step] = axis.call_costs_usd[every_row, chosen]
    return Sweep(quality, cost_usd)


def hull(axis: CostAxis, cost_usd: Doubles, quality: Doubles) -> Doubles:
    """The non-decreasing convex hull of points, float64 `(points, 2)` on the axis from 0 to 1.

    A point on the line between two others is reached by a random choice between them (RouterBench's linear
    interpolation); beyond the best point the hull is level (its `non-decreasing`).
    """
    x = np.clip((cost_usd - axis.cheapest_usd) / (axis.dearest_usd - axis.cheapest_usd), 0.0, 1.0)
    top: list[tuple[float, float]] = []
    highest = -np.inf
    for index in np.lexsort((-quality, x)):
        point = (float(x[index]), float(quality[index]))
        if point[1] <= highest:
            continue
        highest = point[1]
        while len(top) > 1 and _below(top[-2], top[-1], point):
            top.pop()
        top.append(point)
    return np.array([*top, (1.0, top[-1][1])])


def curve(axis: CostAxis, swept: Sweep) -> Points:
    """The hull of a sweep over all prompts."""
    points = hull(axis, swept.cost_usd.mean(axis=0), swept.quality.mean(axis=0))
    return tuple((float(x), float(y)) for x, y in points)


def aiq(axis: CostAxis, swept: Sweep, weights: Doubles) -> Doubles:
    """Average improvement in quality (RouterBench, Hu et al. 2024): area under the hull, `(draws,)`.

    `weights` `(draws, prompts)` are the weights of the prompts of the score table.
    """
    weights = weights[:, axis.rows]
    total = weights.sum(axis=1)
    quality, cost = weights @ swept.quality / total[:, None], weights @ swept.cost_usd / total[:, None]
    areas = np.empty(len(weights))
    for draw in range(len(weights)):
        points = hull(axis, cost[draw], quality[draw])
        areas[draw] = np.trapezoid(points[:, 1], points[:, 0])
    return areas


def cost_to_keep(axis: CostAxis, swept: Sweep, share: float) -> float | None:
    """The least mean cost along the sweep at which `share` of the best single model's quality is kept, as a share of
    that model's cost; None where no λ reaches this quality.
    """
    sufficient = swept.quality.mean(axis=0) >= share * axis.single_quality * _ALMOST_ONE
    reached = swept.cost_usd.mean(axis=0)[sufficient]
    return float(reached.min()) / axis.single_cost_usd if len(reached) and axis.single_cost_usd > 0 else None


def pair_sweep(scores: Table, values: Table, strong: int, weak: int) -> PairSweep | None:
    """Calls to the strong model at eleven thresholds, the deciles of `values[strong] - values[weak]` and one above all
    (RouteLLM's `evaluate`, ten results); None where the two were never run on the same prompt.
    """
    rows = np.flatnonzero(~np.isnan(scores[:, strong]) & ~np.isnan(scores[:, weak]))
    if not len(rows):
        return None
    lead = values[rows, strong] - values[rows, weak]
    deciles = np.unique(np.quantile(lead, np.linspace(0, 1, _DECILES + 1)))
    thresholds = np.array([-np.inf, *deciles[1:-1], np.inf])
    to_strong = (lead[:, None] >= thresholds).astype(np.float64)
    return PairSweep(
        rows,
        np.asarray(scores[rows, strong], dtype=np.float64),
        np.asarray(scores[rows, weak], dtype=np.float64),
        to_strong,
    )


def pair_metrics(swept: PairSweep, weights: Doubles) -> dict[str, Doubles]:
    """`apgr`, `cpt_50` and `cpt_80`, all `(draws,)`; NaN where the strong model is no better than the weak one.

    PGR = (quality - weak) / (strong - weak). APGR is its area over the share of calls to the strong model, by
    the trapezoid rule; CPT(x) the least share at which PGR reaches x, linear between thresholds.
    """
    weights = weights[:, swept.rows]
    total = weights.sum(axis=1)
    weak, strong = weights @ swept.weak / total, weights @ swept.strong / total
    gain = weights @ (swept.to_strong * (swept.strong - swept.weak)[:, None]) / total[:, None]
    share = weights @ swept.to_strong / total[:, None]
    gap = np.where(strong > weak, strong - weak, np.nan)
    # Thresholds rise, so shares fall; in reverse order they begin at no calls.
    recovered, share = (gain / gap[:, None])[:, ::-1], share[:, ::-1]
    return {
        "apgr": np.trapezoid(recovered, share, axis=1),
        "cpt_50": _first_crossing(share, recovered, 0.5),
        "cpt_80": _first_crossing(share, recovered, 0.8),
    }


def _first_crossing(share: Doubles, recovered: Doubles, level: float) -> Doubles:
    """For each draw, the least share at which `recovered` reaches `level`; NaN where it never does."""
    crossing = np.full(len(share), np.nan)
    for draw, (x, y) in enumerate(zip(share, recovered, strict=True)):
        above = np.flatnonzero(y >= level * _ALMOST_ONE)
        if not len(above):
            continue
        first = int(above[0])
        rise = y[first] - y[first - 1]
        step = x[first] - x[first - 1]
        crossing[draw] = x[first] if first == 0 else x[first - 1] + (level - y[first - 1]) / rise * step
    return crossing


def _below(first: tuple[float, float], middle: tuple[float, float], last: tuple[float, float]) -> bool:
    """Whether `middle` is on or below the line from `first` to `last`."""
    rise, run = last[1] - first[1], last[0] - first[0]
    return (middle[1] - first[1]) * run <= rise * (middle[0] - first[0])
