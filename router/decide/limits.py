"""Hard limits: which cards pass, and why each other does not, with both numbers where there are two."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from msgspec import Struct

from router.decide.fields import NUMBERS, DecisionInputs
from router.types import Mask

COMPARE: Mapping[str, Callable[[Any, Any], Any]] = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "=": np.equal,
    "!=": np.not_equal,
}


class Limit(Struct, frozen=True):
    """`field op value`; `value` is a plain number or a lower-case word, `text` how it was written."""

    field: str
    op: str
    value: float | str
    text: str


class LimitResult(Struct, frozen=True, eq=False):
    """One limit looked at on every card: which fail it, and for which of those the fact is unknown."""

    limit: Limit
    fails: Mask
    unknown: Mask


def evaluate(limit: Limit, sight: DecisionInputs, *, unknown_passes: bool) -> LimitResult:
    """Which cards fail `limit`. A card whose fact is unknown fails it, unless `unknown_passes`."""
    if isinstance(limit.value, str):
        facet = sight.catalog.facets[limit.field]
        holds, unknown = facet.holding(limit.value), facet.unknown
        fails = ~holds if limit.op == "=" else holds
    else:
        values = NUMBERS[limit.field].values(sight)
        unknown = np.isnan(values)
        fails = ~COMPARE[limit.op](values, limit.value)
    return LimitResult(limit, (fails & ~unknown) if unknown_passes else (fails | unknown), unknown)


def reason(verdict: LimitResult, card: int, sight: DecisionInputs) -> str:
    """Why the card at this position fails: `size 70B > 7B`, `size unknown`, `has not tag code`."""
    limit = verdict.limit
    if verdict.unknown[card]:
        return f"{limit.field} unknown"
    if isinstance(limit.value, str):
        has = "has not" if limit.op == "=" else "has"
        return f"{has} {limit.field} {limit.value}"
    number = NUMBERS[limit.field]
    actual = float(number.values(sight)[card])
    relation = ">" if actual > limit.value else "<" if actual < limit.value else f"is not {limit.op}"
    shown, bound = number.show(actual), number.show(limit.value)
    for digits in range(5, 18):
        if shown != bound or actual == limit.value:
            break
        # Rounded they look the same.
        shown, bound = number.show(actual, digits), number.show(limit.value, digits)
    return f"{limit.field} {shown} {relation} {bound}"


def gap(verdict: LimitResult, card: int, sight: DecisionInputs) -> float:
    """How far the card is from passing, as a share of the limit; 1 where there is no number to compare."""
    limit = verdict.limit
    if isinstance(limit.value, str) or verdict.unknown[card]:
        return 1.0
    actual = float(NUMBERS[limit.field].values(sight)[card])
    return min(1.0, abs(actual - limit.value) / max(abs(limit.value), abs(actual), 1e-12))
