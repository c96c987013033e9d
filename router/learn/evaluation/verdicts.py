"""Verdicts: ours against the best trained baseline, the best single model, and the shuffled-label control."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from router.learn.evaluation.bootstrap import best_of
from router.learn.evaluation.methods import HINDSIGHT, SHUFFLED
from router.learn.evaluation.metrics import Quality
from router.learn.evaluation.report import Verdict


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
