"""Methods side by side on the same prompts: figures, bootstrap intervals, differences to ours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
from msgspec import Struct

from router.learn.evaluation.cost_quality import (
    CostAxis,
    aiq,
    cost_axis,
    cost_to_keep,
    curve,
    pair_figures,
    pair_sweep,
    sweep,
)
from router.learn.evaluation.metrics import Difference, Quality, Table, auc_within, figures, tally
from router.learn.progress import tracked
from router.types import Doubles, Indices

COMPARED = ("auc", "quality", "aiq", "brier")
"""The figures that a method's differences to ours are given for."""

_TAILS = (2.5, 97.5)
_SHIFTED = ("ece",)


class MethodScores(Struct, frozen=True, eq=False):
    """A method and what it would choose by: `values` float64 `(prompts, models)`, the larger the better.

    `forecasts`: whether the values are expected scores. `trained`: whether the method learns from prompts.
    `priced`: whether it can be swept against cost.
    """

    method: str
    values: Table
    forecasts: bool = True
    trained: bool = False
    priced: bool = True


def resamples(prompts: int, draws: int, random_state: int) -> Doubles:
    """How often each prompt counts in each bootstrap draw, float64 `(draws, prompts)`; every row sums to `prompts`."""
    rng = np.random.default_rng(random_state)
    weights = np.empty((draws, prompts))
    for draw in range(draws):
        weights[draw] = np.bincount(rng.integers(0, prompts, prompts), minlength=prompts)
    return weights


def compare(
    contenders: Sequence[MethodScores],
    scores: Table,
    cost_usd: Table | None = None,
    *,
    pair: tuple[int, int] | None = None,
    folds: Indices | None = None,
    draws: int = 500,
    random_state: int = 0,
) -> tuple[Quality, ...]:
    """A line a contender, the first of which is ours. Without draws there are no intervals.

    `pair` gives the columns of a strong and a weak model, `folds` the number of each prompt's fold. The same
    draws serve every contender, so that the differences are paired.
    """
    axis = cost_axis(scores, cost_usd)
    weights = np.vstack([np.ones((1, len(scores))), resamples(len(scores), draws, random_state)])
    lines: list[Quality] = []
    ours: dict[str, Doubles] | None = None
    for contender in tracked(contenders, "comparing", min_items=2):
        own = _draws(contender, scores, axis, pair, weights)
        if ours is None:
            ours = own
        line = _line(contender, own, ours if lines else None, scores, axis)
        if folds is not None and contender.forecasts:
            line = msgspec.structs.replace(line, auc_within=auc_within(scores, contender.values, folds))
        lines.append(line)
    return tuple(lines)


def assess(method: str, scores: Table, values: Table, cost_usd: Table | None, *, forecasts: bool = True) -> Quality:
    """All figures of one method, without intervals."""
    (line,) = compare([MethodScores(method, values, forecasts)], scores, cost_usd, draws=0)
    return line


def difference(ours: Doubles, theirs: Doubles) -> Difference | None:
    """Theirs minus ours from paired draws, of which the first is the figure itself; None where it is undefined."""
    # The last bits of a sum are no difference; nor is a negative nought.
    apart = np.round(theirs - ours, 12) + 0.0
    interval = _interval(apart)
    if np.isnan(apart[0]) or interval is None:
        return None
    return Difference(float(apart[0]), *interval)


def _draws(
    contender: MethodScores, scores: Table, axis: CostAxis | None, pair: tuple[int, int] | None, weights: Doubles
) -> dict[str, Doubles]:
    """Every figure that has draws, `(1 + draws,)`: the first is that of the prompts themselves."""
    own = figures(tally(scores, contender.values, forecasts=contender.forecasts), weights)
    if axis is not None and contender.priced:
        own["aiq"] = aiq(axis, sweep(axis, scores, contender.values), weights)
    if pair is not None:
        two = pair_sweep(scores, contender.values, *pair)
        own |= {} if two is None else pair_figures(two, weights)
    return own


def _line(
    contender: MethodScores,
    own: dict[str, Doubles],
    ours: dict[str, Doubles] | None,
    scores: Table,
    axis: CostAxis | None,
) -> Quality:
    values = {figure: float(draws[0]) for figure, draws in own.items() if not np.isnan(draws[0])}
    intervals = {}
    for figure, draws in own.items():
        # A resample is noisier than the prompts themselves, which moves an absolute gap up: its spread is kept.
        moved = np.maximum(draws - draws[1:].mean() + draws[0], 0.0) if figure in _SHIFTED and len(draws) > 1 else draws
        if (interval := _interval(moved)) is not None:
            intervals[figure] = interval
    differences: dict[str, Difference] = {}
    if ours is not None:
        for figure in COMPARED:
            if figure in own and figure in ours and (apart := difference(ours[figure], own[figure])) is not None:
                differences[figure] = apart
    kept: dict[str, float | None] = {}
    points: tuple[tuple[float, float], ...] = ()
    if axis is not None and contender.priced:
        swept = sweep(axis, scores, contender.values)
        kept = {f"cost_{share}": cost_to_keep(axis, swept, share / 100) for share in (95, 99, 100)}
        points = curve(axis, swept)
    return msgspec.convert(
        {"method": contender.method, "auc": None, "captured": None, "trained": contender.trained, "curve": points}
        | {"intervals": intervals, "minus_ours": differences}
        | values
        | kept,
        Quality,
    )


def _interval(draws: Doubles) -> tuple[float, float] | None:
    """The middle 95 % of the draws after the first; None where there are too few."""
    known = draws[1:][~np.isnan(draws[1:])]
    if len(known) < 20:
        return None
    low, high = np.percentile(known, _TAILS)
    return float(low), float(high)


def best_of(lines: Iterable[Quality], figure: str) -> Quality | None:
    """The line with the greatest `figure`; None where none has it."""
    having = [line for line in lines if getattr(line, figure) is not None]
    return max(having, key=lambda line: float(getattr(line, figure))) if having else None
