"""The fields a flag can name: how each reads its value, shows a number, and finds it on the cards."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping

import numpy as np
from msgspec import Struct

from router.cards.catalog import Catalog
from router.cards.facets import FACETS
from router.formats import units
from router.types import Doubles, Forecast


class DecisionInputs(Struct, frozen=True, eq=False):
    """All that a limit or goal may look at: the cards, this prompt's forecast, and the day of the request."""

    catalog: Catalog
    forecast: Forecast
    today: datetime.date | None = None


class Number(Struct, frozen=True):
    """A field whose cards have a number: `values` finds them, `read` takes a flag's value, `show` prints one.

    `show` takes the number of significant digits as its second argument, where it rounds at all.
    """

    read: Callable[[str], float]
    show: Callable[..., str]
    values: Callable[[DecisionInputs], Doubles]
    what: str


def _day(text: str) -> float:
    return float(units.date(text).toordinal())


def _show_day(day: float) -> str:
    return datetime.date.fromordinal(int(day)).isoformat()


def _age_days(sight: DecisionInputs) -> Doubles:
    released = sight.catalog.columns.released_day
    if sight.today is None:
        return np.full_like(released, np.nan)
    return sight.today.toordinal() - released


NUMBERS: Mapping[str, Number] = {
    "size": Number(
        units.parameters,
        units.show_parameters,
        lambda sight: sight.catalog.columns.size_parameters,
        "number of parameters: 7B",
    ),
    "active": Number(
        units.parameters,
        units.show_parameters,
        lambda sight: sight.catalog.columns.active_parameters,
        "parameters used for one token: 13B",
    ),
    "context": Number(
        units.tokens,
        units.show_tokens,
        lambda sight: sight.catalog.columns.context_tokens,
        "context window in tokens: 128k",
    ),
    "max_output": Number(
        units.tokens,
        units.show_tokens,
        lambda sight: sight.catalog.columns.max_output_tokens,
        "longest answer in tokens: 8k",
    ),
    "cost": Number(
        units.usd,
        units.show_usd,
        lambda sight: sight.forecast.cost_usd,
        "forecast cost of this request: 0.002$",
    ),
    "price": Number(
        units.usd,
        units.show_usd,
        lambda sight: sight.catalog.columns.price_usd_per_mtok,
        "USD per million tokens, the dearer of input and output: 1$",
    ),
    "latency": Number(
        units.milliseconds,
        units.show_milliseconds,
        lambda sight: sight.forecast.latency_ms,
        "forecast time to the last token: 2s",
    ),
    "ttft": Number(
        units.milliseconds,
        units.show_milliseconds,
        lambda sight: sight.forecast.ttft_ms,
        "forecast time to the first token: 800ms",
    ),
    "released": Number(
        _day,
        _show_day,
        lambda sight: sight.catalog.columns.released_day,
        "release date: 2025-06",
    ),
    "age": Number(units.days, units.show_days, _age_days, "days since the release: 180d"),
    "quality": Number(
        units.fraction,
        units.show_fraction,
        lambda sight: sight.forecast.quality,
        "forecast quality of the answer: 0.8",
    ),
}
WORDS = tuple(FACETS)
"""Fields whose cards have words; they take `=` and `!=`."""

FIELD_NAMES = (*NUMBERS, *WORDS)
