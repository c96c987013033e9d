"""Quality against cost: the sweep of λ, its hull, AIQ, the cost to keep a quality, and RouteLLM's figures for a pair.

A prompt's model is `argmax expected - λ · usual cost / dearest usual cost`, where *usual* is a model's mean cost: a
router knows that beforehand, not the bill of the call.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from router.learn.evaluation.metrics import Table, choices, chosen_scores, mean_scores
from router.types import Doubles, Indices

_TRADE_OFFS = np.concatenate([[0.0], np.logspace(-4, 2, 61)])
_STEPS = 10
_ONE = 1.0 - 1e-9

Points = tuple[tuple[float, float], ...]


class CostAxis(Struct, frozen=True, eq=False):
    """Which models and prompts have costs, and what they are.

    `models` and `rows` index the columns and rows of the score table that take part; `bills` `(rows, models)`
    is each call's cost in USD (a missing bill is the model's usual one), `usual` `(models,)` the means.
    `single_quality` and `single_cost_usd` are means of the best single model (of the next best where it was not
    run); `cheapest` and `dearest` the mean bills of the cheapest and the dearest one: 0 and 1 of the axis.
    """

    models: Indices
    rows: Indices
    bills: Doubles
    usual: Doubles
    single_quality: float
    single_cost_usd: float
    cheapest: float
    dearest: float


class Sweep(Struct, frozen=True, eq=False):
    """What a method gets and pays at each λ: both float64 `(rows of the axis, λ)`."""

    got: Doubles
    paid: Doubles


class PairSweep(Struct, frozen=True, eq=False):
    """What a method does with two models: `rows` where both were run, `strong` and `weak` `(rows,)` their scores,
    `sent` bool `(rows, steps)`: which prompts go to the strong one, from all of them to none.
    """

    rows: Indices
    strong: Doubles
    weak: Doubles
    sent: Doubles


def cost_axis(scores: Table, cost_usd: Table | None) -> CostAxis | None:
    """The axis of a score table; None with fewer than two priced models, or where all of them are free."""
    if cost_usd is None or not len(cost_usd):
        return None
    usual = mean_scores(cost_usd)
    models = np.flatnonzero(~np.isnan(usual) & ~np.isnan(scores).all(axis=0))
    rows = np.flatnonzero(~np.isnan(scores[:, models]).all(axis=1))
    if len(models) < 2 or not len(rows):
        return None
    usual = usual[models]
    own = cost_usd[np.ix_(rows, models)]
    bills = np.where(np.isnan(own), usual, own).astype(np.float64)
    means = bills.mean(axis=0)
    if not usual.max() > 0 or not means.max() > means.min():
        return None
    priced = scores[np.ix_(rows, models)]
    single = choices(priced, np.broadcast_to(mean_scores(priced), priced.shape))
    quality, cost = chosen_scores(priced, single).mean(), bills[np.arange(len(rows)), single].mean()
    return CostAxis(models, rows, bills, usual, float(quality), float(cost), float(means.min()), float(means.max()))


def sweep(axis: CostAxis, scores: Table, expected: Table) -> Sweep:
    """A method's choices along λ."""
    scores, expected = scores[np.ix_(axis.rows, axis.models)], expected[np.ix_(axis.rows, axis.models)]
    got = np.empty((len(axis.rows), len(_TRADE_OFFS)))
    paid = np.empty_like(got)
    every = np.arange(len(axis.rows))
    for step, trade_off in enumerate(_TRADE_OFFS):
        chosen = choices(scores, expected - trade_off * axis.usual / axis.usual.max())
        got[:, step] = chosen_scores(scores, chosen)
        paid[:, step] = axis.bills[every, chosen]
    return Sweep(got, paid)


def hull(axis: CostAxis, cost_usd: Doubles, quality: Doubles) -> Doubles:
    """The non-decreasing convex hull of points, float64 `(points, 2)` on the axis from 0 to 1.

    A point on the line between two others is reached by tossing a coin between them (RouterBench's linear
    interpolation); beyond the best point, more money buys no less (its `non-decreasing`).
    """
    x = np.clip((cost_usd - axis.cheapest) / (axis.dearest - axis.cheapest), 0.0, 1.0)
    top: list[tuple[float, float]] = []
    highest = -np.inf
    for at in np.lexsort((-quality, x)):
        point = (float(x[at]), float(quality[at]))
        if point[1] <= highest:
            continue
        highest = point[1]
        while len(top) > 1 and _below(top[-2], top[-1], point):
            top.pop()
        top.append(point)
    return np.array([*top, (1.0, top[-1][1])])


def curve(axis: CostAxis, each: Sweep) -> Points:
    """The hull of a method's sweep over all prompts."""
    points = hull(axis, each.paid.mean(axis=0), each.got.mean(axis=0))
    return tuple((float(x), float(y)) for x, y in points)


def aiq(axis: CostAxis, each: Sweep, weights: Doubles) -> Doubles:
    """Average improvement in quality (RouterBench, Hu et al. 2024): area under the hull, `(draws,)`.

    `weights` `(draws, prompts)` says how often each prompt of the score table counts.
    """
    own = weights[:, axis.rows]
    total = own.sum(axis=1)
    quality, cost = own @ each.got / total[:, None], own @ each.paid / total[:, None]
    areas = np.empty(len(weights))
    for draw in range(len(weights)):
        points = hull(axis, cost[draw], quality[draw])
        areas[draw] = np.trapezoid(points[:, 1], points[:, 0])
    return areas


def cost_to_keep(axis: CostAxis, each: Sweep, share: float) -> float | None:
    """Least mean cost along the sweep that keeps `share` of the best single model's quality, as a share of that model's
    cost; None where the level is never reached.
    """
    reached = each.paid.mean(axis=0)[each.got.mean(axis=0) >= share * axis.single_quality * _ONE]
    return float(reached.min()) / axis.single_cost_usd if len(reached) and axis.single_cost_usd > 0 else None


def pair_sweep(scores: Table, values: Table, strong: int, weak: int) -> PairSweep | None:
    """Calls to the strong model at eleven thresholds, the deciles of `values[strong] - values[weak]` and one above all
    (RouteLLM's `evaluate`, ten results); None where the two were never run on the same prompt.
    """
    rows = np.flatnonzero(~np.isnan(scores[:, strong]) & ~np.isnan(scores[:, weak]))
    if not len(rows):
        return None
    lead = values[rows, strong] - values[rows, weak]
    deciles = np.unique(np.quantile(lead, np.linspace(0, 1, _STEPS + 1)))
    thresholds = np.array([-np.inf, *deciles[1:-1], np.inf])
    sent = (lead[:, None] >= thresholds).astype(np.float64)
    return PairSweep(
        rows,
        np.asarray(scores[rows, strong], dtype=np.float64),
        np.asarray(scores[rows, weak], dtype=np.float64),
        sent,
    )


def pair_figures(each: PairSweep, weights: Doubles) -> dict[str, Doubles]:
    """`apgr`, `cpt_50`, `cpt_80`, each `(draws,)`; NaN where the strong model is no better than the weak.

    PGR = (quality - weak) / (strong - weak). APGR is its area over the share of calls to the strong model, by
    the trapezoid rule; CPT(x) the least share at which PGR reaches x, linear between thresholds.
    """
    own = weights[:, each.rows]
    total = own.sum(axis=1)
    weak, strong = own @ each.weak / total, own @ each.strong / total
    gain = own @ (each.sent * (each.strong - each.weak)[:, None]) / total[:, None]
    share = own @ each.sent / total[:, None]
    gap = np.where(strong > weak, strong - weak, np.nan)
    # Thresholds rise, so shares fall: turned round, they begin at no call at all.
    recovered, share = (gain / gap[:, None])[:, ::-1], share[:, ::-1]
    return {
        "apgr": np.trapezoid(recovered, share, axis=1),
        "cpt_50": _first_crossing(share, recovered, 0.5),
        "cpt_80": _first_crossing(share, recovered, 0.8),
    }


def _first_crossing(share: Doubles, recovered: Doubles, level: float) -> Doubles:
    reached = np.full(len(share), np.nan)
    for draw, (x, y) in enumerate(zip(share, recovered, strict=True)):
        above = np.flatnonzero(y >= level * _ONE)
        if not len(above):
            continue
        at = int(above[0])
        rise = y[at] - y[at - 1]
        reached[draw] = x[at] if at == 0 else x[at - 1] + (level - y[at - 1]) / rise * (x[at] - x[at - 1])
    return reached


def _below(first: tuple[float, float], middle: tuple[float, float], last: tuple[float, float]) -> bool:
    """Whether `middle` lies on or below the line from `first` to `last`."""
    rise, run = last[1] - first[1], last[0] - first[0]
    return (middle[1] - first[1]) * run <= rise * (middle[0] - first[0])
