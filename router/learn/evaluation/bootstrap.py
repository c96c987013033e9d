"""Comparison of methods on the same prompts: figures, bootstrap intervals, paired differences to ours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
from msgspec import Struct

from router.learn.evaluation.cost_quality import (
    CostAxis,
    Sweep,
    aiq,
    cost_axis,
    cost_to_keep,
    curve,
    pair_metrics,
    pair_sweep,
    sweep,
)
from router.learn.evaluation.metrics import Difference, Quality, Table, auc_within, contributions, metrics
from router.learn.progress import tracked
from router.types import Doubles, Indices

COMPARED = ("auc", "quality", "aiq", "brier")
"""The figures for which a report has the difference of every method to ours."""

_PERCENTILES = (2.5, 97.5)
_BIASED_UP = ("ece",)
_MIN_DRAWS = 20


class MethodScores(Struct, frozen=True, eq=False):
    """A method and its value of each model for each prompt, float64 `(prompts, models)`; it chooses the greatest.

    `forecasts` is whether the values are expected scores, `trained` whether the method learns from prompts, `priced`
    whether it can be swept against cost. `compared` are the values by which the method chooses, where these are others.
    """

    method: str
    values: Table
    forecasts: bool = True
    trained: bool = False
    priced: bool = True
    compared: Table | None = None

    @property
    def choice_values(self) -> Table:
        """The values by which the method chooses."""
        return self.values if self.compared is None else self.compared


def resamples(prompts: int, draws: int, random_state: int) -> Doubles:
    """How often each prompt counts in each bootstrap draw, float64 `(draws, prompts)`; every row sums to `prompts`."""
    rng = np.random.default_rng(random_state)
    weights = np.empty((draws, prompts))
    for draw in range(draws):
        weights[draw] = np.bincount(rng.integers(0, prompts, prompts), minlength=prompts)
    return weights


def compare(
    methods: Sequence[MethodScores],
    scores: Table,
    cost_usd: Table | None = None,
    *,
    pair: tuple[int, int] | None = None,
    folds: Indices | None = None,
    draws: int = 500,
    random_state: int = 0,
) -> tuple[Quality, ...]:
    """One line for each method, the first of which is ours. Without draws there are no intervals.

    `pair` is the columns of a strong and a weak model, `folds` the fold of each prompt. All methods share the draws,
    so that the differences are paired.
    """
    axis = cost_axis(scores, cost_usd)
    weights = np.vstack([np.ones((1, len(scores))), resamples(len(scores), draws, random_state)])
    lines: list[Quality] = []
    ours: dict[str, Doubles] | None = None
    for method in tracked(methods, "comparing", min_items=2, noun="method"):
        swept = None if axis is None or not method.priced else sweep(axis, scores, method.choice_values)
        draws_of = _draws(method, scores, axis, swept, pair, weights)
        if ours is None:
            ours = draws_of
        line = _line(method, draws_of, ours if lines else None, axis, swept)
        if folds is not None and method.forecasts:
            line = msgspec.structs.replace(line, auc_within=auc_within(scores, method.values, folds))
        lines.append(line)
    return tuple(lines)


def difference(ours: Doubles, theirs: Doubles) -> Difference | None:
    """Theirs minus ours from paired draws, of which the first is the figure itself; None where it is undefined."""
    # Rounding errors of a sum are no difference, and adding 0.0 turns -0.0 into 0.0.
    differences = np.round(theirs - ours, 12) + 0.0
    interval = _interval(differences)
    if np.isnan(differences[0]) or interval is None:
        return None
    return Difference(float(differences[0]), *interval)


def _draws(
    method: MethodScores,
    scores: Table,
    axis: CostAxis | None,
    swept: Sweep | None,
    pair: tuple[int, int] | None,
    weights: Doubles,
) -> dict[str, Doubles]:
    """Every figure that has draws, `(1 + draws,)`: the first is that of the prompts themselves."""
    draws_of = metrics(contributions(scores, method.values, method.choice_values, forecasts=method.forecasts), weights)
    if axis is not None and swept is not None:
        draws_of["aiq"] = aiq(axis, swept, weights)
    if pair is not None:
        of_pair = pair_sweep(scores, method.choice_values, *pair)
        draws_of |= {} if of_pair is None else pair_metrics(of_pair, weights)
    return draws_of


def _line(
    method: MethodScores,
    draws_of: dict[str, Doubles],
    ours: dict[str, Doubles] | None,
    axis: CostAxis | None,
    swept: Sweep | None,
) -> Quality:
    values = {figure: float(draws[0]) for figure, draws in draws_of.items() if not np.isnan(draws[0])}
    intervals = {}
    for figure, draws in draws_of.items():
        # A resample is noisier than the prompts, which increases an absolute gap: move the draws, keep their spread.
        biased = figure in _BIASED_UP and len(draws) > 1
        centred = np.maximum(draws - draws[1:].mean() + draws[0], 0.0) if biased else draws
        if (interval := _interval(centred)) is not None:
            intervals[figure] = interval
    differences: dict[str, Difference] = {}
    for figure in COMPARED if ours is not None else ():
        assert ours is not None
        if figure in draws_of and figure in ours:
            minus_ours = difference(ours[figure], draws_of[figure])
            if minus_ours is not None:
                differences[figure] = minus_ours
    costs: dict[str, float | None] = {}
    points: tuple[tuple[float, float], ...] = ()
    if axis is not None and swept is not None:
        costs = {f"cost_{share}": cost_to_keep(axis, swept, share / 100) for share in (95, 99, 100)}
        points = curve(axis, swept)
    return msgspec.convert(
        {"method": method.method, "auc": None, "captured": None, "trained": method.trained, "curve": points}
        | {"intervals": intervals, "minus_ours": differences}
        | values
        | costs,
        Quality,
    )


def _interval(draws: Doubles) -> tuple[float, float] | None:
    """The middle 95 % of the draws after the first; None where there are too few."""
    known = draws[1:][~np.isnan(draws[1:])]
    if len(known) < _MIN_DRAWS:
        return None
    low, high = np.percentile(known, _PERCENTILES)
    return float(low), float(high)


def best_of(lines: Iterable[Quality], figure: str) -> Quality | None:
    """The line with the greatest `figure`; None where no line has it."""
    candidates = [line for line in lines if getattr(line, figure) is not None]
    return max(candidates, key=lambda line: float(getattr(line, figure))) if candidates else None
