"""Verdicts: ours against the best trained baseline, the best single model, and the shuffled-label control.

The bottom line compares ours with the best single model in money and quality.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np

from router.learn.evaluation.bootstrap import best_of
from router.learn.evaluation.cost_quality import CostAxis, cost_axis, sweep
from router.learn.evaluation.methods import HINDSIGHT, SHUFFLED
from router.learn.evaluation.metrics import (
    Quality,
    Table,
    best_single,
    choices,
    chosen_scores,
    single_scores,
)
from router.learn.evaluation.report import BottomLine, DomainComparison, Verdict
from router.types import Doubles, Indices

_TWO_SIDED_95, _ONE_SIDED_95 = 1.96, 1.645
_MIN_DOMAIN_PROMPTS = 20
_ALMOST_ONE = 1.0 - 1e-9


def verdicts(lines: Sequence[Quality]) -> tuple[Verdict, ...]:
    """Compare the first line, ours, with the others.

    The best baseline is chosen in hindsight, by the same figure that is compared, which favours the baseline.
    """
    ours, *others = lines
    made: list[Verdict | None] = []
    trained = [line for line in others if line.trained]
    for figure in ("auc", "quality", "aiq"):
        best = best_of(trained, figure)
        made.append(None if best is None else _compared(ours, best, figure))
    for line in others:
        if line.method == HINDSIGHT:
            made.append(_compared(ours, line, "quality"))
        if line.method == SHUFFLED:
            made.append(_of_control(line))
    return tuple(verdict for verdict in made if verdict is not None)


def _compared(ours: Quality, theirs: Quality, figure: str) -> Verdict | None:
    minus_ours = theirs.minus_ours.get(figure)
    if minus_ours is None:
        return None
    result: Literal["better", "level", "worse"] = "level"
    if minus_ours.high < 0:
        result = "better"
    elif minus_ours.low > 0:
        result = "worse"
    our_value, their_value = float(getattr(ours, figure)), float(getattr(theirs, figure))
    difference, low, high = (0.0 - value for value in (minus_ours.value, minus_ours.high, minus_ours.low))
    return Verdict(figure, theirs.method, our_value, their_value, difference, low, high, result)


def _of_control(control: Quality) -> Verdict | None:
    if control.captured is None or "captured" not in control.intervals:
        return None
    low, high = control.intervals["captured"]
    result: Literal["gains", "gains nothing"] = "gains" if low > 0 else "gains nothing"
    return Verdict("captured", SHUFFLED, control.captured, 0.0, control.captured, low, high, result)


def bottom_line(
    scores: Table,
    expected: Table,
    cost_usd: Table | None,
    folds: Indices,
    models: Sequence[str],
    domains: Sequence[str],
) -> BottomLine:
    """Our choices by `expected` against the best single model; tables are `(prompts, models)`, `folds` `(prompts,)`."""
    axis = cost_axis(scores, cost_usd)
    if axis is None:
        routed, single = chosen_scores(scores, choices(scores, expected)), single_scores(scores)
        return _bottom_line(routed, single, models[best_single(scores)], domains)
    priced = scores[np.ix_(axis.rows, axis.models)]
    single = single_scores(priced)
    routed, routed_usd, in_hindsight = _cheapest_as_good(axis, scores, expected, single, folds[axis.rows])
    line = _bottom_line(
        routed, single, models[int(axis.models[best_single(priced)])], [domains[row] for row in axis.rows]
    )
    return msgspec.structs.replace(
        line,
        single_usd_per_1000=1000 * axis.single_cost_usd,
        routed_usd_per_1000=1000 * float(routed_usd.mean()),
        in_hindsight=in_hindsight,
    )


def _cheapest_as_good(
    axis: CostAxis, scores: Table, expected: Table, single: Doubles, folds: Indices
) -> tuple[Doubles, Doubles, bool]:
    """The score and the cost of our choice on each row of the axis, and whether λ is chosen in hindsight.

    In each fold, λ is the one that keeps the single model's quality at the least cost on the other folds; where none
    keeps it, the one of the highest quality.
    """
    swept = sweep(axis, scores, expected)
    routed, cost_usd = np.empty(len(single)), np.empty(len(single))
    names = np.unique(folds)
    for fold in names:
        inside = folds == fold
        others = ~inside if len(names) > 1 else inside
        quality, cost = swept.quality[others].mean(axis=0), swept.cost_usd[others].mean(axis=0)
        keeps = quality >= single[others].mean() * _ALMOST_ONE
        step = int(np.where(keeps, cost, np.inf).argmin()) if keeps.any() else int(quality.argmax())
        routed[inside], cost_usd[inside] = swept.quality[inside, step], swept.cost_usd[inside, step]
    return routed, cost_usd, len(names) == 1


def _bottom_line(routed: Doubles, single: Doubles, model: str, domains: Sequence[str]) -> BottomLine:
    names, difference = np.array(domains), routed - single
    margin = _TWO_SIDED_95 * _standard_error(difference)
    worse = []
    for name in np.unique(names):
        inside = names == name
        of_domain = difference[inside]
        if len(of_domain) < _MIN_DOMAIN_PROMPTS or len(set(domains)) == 1:
            continue
        if of_domain.mean() + _ONE_SIDED_95 * _standard_error(of_domain) < 0:
            means = float(routed[inside].mean()), float(single[inside].mean())
            worse.append(DomainComparison(str(name), len(of_domain), *means))
    return BottomLine(
        single=model,
        prompts=len(routed),
        single_quality=float(single.mean()),
        routed_quality=float(routed.mean()),
        low=float(difference.mean() - margin),
        high=float(difference.mean() + margin),
        worse_in=tuple(sorted(worse, key=lambda line: (line.routed - line.single, line.name))),
    )


def _standard_error(values: Doubles) -> float:
    return float(values.std() / max(len(values), 1) ** 0.5)
