"""Hard limits: which cards pass, and the reason why a card does not."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import numpy as np
from msgspec import Struct

from router.cards.catalog import Catalog
from router.decide.fields import CHANGING, NUMBERS, OF_A_REQUEST, DecisionInputs, once, once_bounded
from router.types import Forecast, Mask

COMPARE: Mapping[str, Callable[[Any, Any], Any]] = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "=": np.equal,
    "!=": np.not_equal,
}


class Limit(Struct, frozen=True):
    """`field op value`, such as `size<7B`.

    `value` is a number in the field's unit, or a word in lower case; `text` is the limit as it was written.
    """

    field: str
    op: str
    value: float | str
    text: str


class LimitResult(Struct, frozen=True, eq=False):
    """One limit evaluated on every card: which cards fail, and of which the field is unknown. Of shape `(cards,)`."""

    limit: Limit
    fails: Mask
    unknown: Mask


_FAILS: Mapping[str, Callable[[Any, Any], Any]] = {
    "<": np.greater_equal,
    "<=": np.greater,
    ">": np.less_equal,
    ">=": np.less,
}
"""The comparisons that are false where a number is unknown, as their opposites in COMPARE are."""


def evaluate(limit: Limit, inputs: DecisionInputs, *, unknown_passes: bool) -> LimitResult:
    """Evaluate `limit` on every card. A card whose field is unknown fails, unless `unknown_passes`.

    A limit on facts is evaluated once for a catalogue.
    """
    if limit.field in CHANGING:
        return _evaluated(limit, inputs, unknown_passes)
    return once_bounded(inputs.catalog, (limit, unknown_passes), lambda: _evaluated(limit, inputs, unknown_passes))


def _evaluated(limit: Limit, inputs: DecisionInputs, unknown_passes: bool) -> LimitResult:
    if isinstance(limit.value, str):
        facet = inputs.catalog.facets[limit.field]
        matches, unknown = facet.cards_with(limit.value), facet.unknown
        fails = ~matches if limit.op == "=" else matches
    else:
        values = NUMBERS[limit.field].values(inputs)
        if limit.field in OF_A_REQUEST or limit.field == "age":
            unknown = np.isnan(values)
        else:
            unknown = once(inputs.catalog, limit.field, lambda: np.isnan(values))
        if unknown_passes and limit.op in _FAILS:
            return LimitResult(limit, _FAILS[limit.op](values, limit.value), unknown)
        fails = ~COMPARE[limit.op](values, limit.value)
    return LimitResult(limit, (fails & ~unknown) if unknown_passes else (fails | unknown), unknown)


def among(catalog: Catalog, *failing: tuple[Limit, Collection[str]]) -> list[LimitResult]:
    """Limits, each with the ids of the cards that fail it; those without such cards are left out."""
    return [_failed_by(limit, catalog, ids) for limit, ids in failing if ids]


def _failed_by(limit: Limit, catalog: Catalog, ids: Collection[str]) -> LimitResult:
    positions = once(catalog, "positions", lambda: {name: position for position, name in enumerate(catalog.ids)})
    fails = np.zeros(len(catalog), dtype=np.bool_)
    fails[[positions[name] for name in ids if name in positions]] = True
    return LimitResult(limit, fails, np.zeros_like(fails))


def meets_facts(
    limits: Iterable[Limit], catalog: Catalog, card: int, today: datetime.date, *, unknown_passes: bool
) -> bool:
    """Whether the card at this position passes the limits on facts; those on forecasts are not evaluated."""
    inputs = DecisionInputs(catalog, _nothing_forecast(len(catalog)), today)
    facts = (limit for limit in limits if limit.field not in OF_A_REQUEST)
    return not any(evaluate(limit, inputs, unknown_passes=unknown_passes).fails[card] for limit in facts)


def _nothing_forecast(cards: int) -> Forecast:
    unknown = np.full(cards, np.nan)
    return Forecast(unknown, unknown, unknown, unknown, unknown, unknown, unknown, unknown, unknown)


def reason(result: LimitResult, card: int, inputs: DecisionInputs) -> str:
    """Why the card at this position fails: `size 70B > 7B`, `size unknown`, `does not have tag code`."""
    limit = result.limit
    if result.unknown[card]:
        return f"{limit.field} unknown"
    if isinstance(limit.value, str):
        has = "does not have" if limit.op == "=" else "has"
        return f"{has} {limit.field} {limit.value}"
    if (explain := NUMBERS[limit.field].explain) is not None:
        return explain(inputs, card)
    return number_reason(limit, float(NUMBERS[limit.field].values(inputs)[card]))


def number_reason(limit: Limit, actual: float) -> str:
    """Why this number fails a limit on a numeric field: `size 70B > 7B`."""
    assert not isinstance(limit.value, str)
    number = NUMBERS[limit.field]
    relation = ">" if actual > limit.value else "<" if actual < limit.value else f"is not {limit.op}"
    shown, bound = number.show(actual), number.show(limit.value)
    # Show as many digits as it takes to tell the two numbers apart.
    for digits in range(5, 18):
        if shown != bound or actual == limit.value:
            break
        shown, bound = number.show(actual, digits), number.show(limit.value, digits)
    return f"{limit.field} {shown} {relation} {bound}"


def gap(result: LimitResult, card: int, inputs: DecisionInputs) -> float:
    """How far the card is from passing, in [0, 1], relative to the limit; 1 where there is no number to compare."""
    limit = result.limit
    if isinstance(limit.value, str) or result.unknown[card]:
        return 1.0
    actual = float(NUMBERS[limit.field].values(inputs)[card])
    return min(1.0, abs(actual - limit.value) / max(abs(limit.value), abs(actual), 1e-12))
