"""The fields that a limit can name: how a field's value is read, shown and looked up on the cards."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

import numpy as np
from msgspec import Struct

from router.cards.catalog import Catalog
from router.cards.facets import FACETS
from router.formats import units
from router.perceive.roofline import memory_bytes
from router.types import Doubles, Forecast

T = TypeVar("T")


class DecisionInputs(Struct, frozen=True, eq=False):
    """What limits and goals are evaluated on: cards, the prompt's forecast and length, the date of the request, and how
    busy servers are, by the ids of `Catalog.hosts`.
    """

    catalog: Catalog
    forecast: Forecast
    today: datetime.date | None = None
    input_tokens: int = 0
    load: Mapping[str, float] = {}


_MOST_KEPT = 512


def once(catalog: Catalog, key: Hashable, make: Callable[[], T]) -> T:
    """What `make` returns, computed once for a catalogue: it must not depend on a request, and nobody may change it."""
    return _kept(catalog.derived, key, make)


def once_bounded(catalog: Catalog, key: Hashable, make: Callable[[], T]) -> T:
    """As `once`, for keys that clients choose, such as limits: a bounded number is kept."""
    kept = catalog.derived_by_clients
    if len(kept) >= _MOST_KEPT:
        kept.clear()
    return _kept(kept, key, make)


def _kept(kept: dict[Hashable, Any], key: Hashable, make: Callable[[], T]) -> T:
    try:
        found: T = kept[key]
    except KeyError:
        found = kept[key] = make()
    return found


class Number(Struct, frozen=True):
    """A numeric field.

    `read` converts the text of a flag to a number, and raises ValueError. `show` formats a number for people; where it
    rounds, its second argument is the number of significant digits. `values` gives the number of every card, NaN where
    it is unknown. `meaning` describes the field, with an example.
    """

    read: Callable[[str], float]
    show: Callable[..., str]
    values: Callable[[DecisionInputs], Doubles]
    meaning: str
    explain: Callable[[DecisionInputs, int], str] | None = None


def _calls(text: str) -> float:
    if not text.isascii() or not text.isdecimal() or len(text) > 3:
        raise ValueError(f'expected a number of calls such as 3, got "{text}"')
    return float(text)


def _day(text: str) -> float:
    return float(units.date(text).toordinal())


def _show_day(day: float) -> str:
    return datetime.date.fromordinal(int(day)).isoformat()


def _age_days(inputs: DecisionInputs) -> Doubles:
    released = inputs.catalog.columns.released_day
    if inputs.today is None:
        return np.full_like(released, np.nan)
    return inputs.today.toordinal() - released


def _context_tokens(inputs: DecisionInputs) -> Doubles:
    """Prompt and forecast answer, `(cards,)`."""
    tokens: Doubles = inputs.input_tokens + np.nan_to_num(inputs.forecast.written_tokens)
    return tokens


def _fits(inputs: DecisionInputs) -> Doubles:
    """1 where model and context fit into the memory of the card's hardware, 0 where they do not.

    Without the shape of the model, its weights alone can show that they do not, but not that they do.
    """
    machines = inputs.catalog.machines
    fits = memory_bytes(machines, _context_tokens(inputs)) <= machines.memory_bytes
    unknown = np.isnan(machines.memory_bytes) | np.isnan(machines.weight_bytes) | (fits & ~machines.has_shape)
    return np.where(unknown, np.nan, fits)


def _explain_fit(inputs: DecisionInputs, card: int) -> str:
    machines, tokens = inputs.catalog.machines, _context_tokens(inputs)
    needed, show = float(memory_bytes(machines, tokens)[card]), units.show_bytes
    parts = f"{show(float(machines.weight_bytes[card]))} of weights, {tokens[card]:,.0f} tokens of context"
    return f"needs {show(needed)} of memory ({parts}), its hardware has {show(float(machines.memory_bytes[card]))}"


OF_A_REQUEST = frozenset({"cost", "latency", "ttft", "quality", "fits"})
"""Fields that are forecast for a request. The others are facts on cards."""

CHANGING = OF_A_REQUEST | {"age", "context", "max_output"}
"""Fields that are forecast, change by the day, or are mostly compared with the length of a request: the limits on the
others can be evaluated once.
"""

NUMBERS: Mapping[str, Number] = {
    "size": Number(
        units.parameters,
        units.show_parameters,
        lambda inputs: inputs.catalog.columns.size_parameters,
        "number of parameters: 7B",
    ),
    "active": Number(
        units.parameters,
        units.show_parameters,
        lambda inputs: inputs.catalog.columns.active_parameters,
        "parameters used for one token: 13B",
    ),
    "context": Number(
        units.tokens,
        units.show_tokens,
        lambda inputs: inputs.catalog.columns.context_tokens,
        "context window in tokens: 128k",
    ),
    "max_output": Number(
        units.tokens,
        units.show_tokens,
        lambda inputs: inputs.catalog.columns.max_output_tokens,
        "maximum length of an answer in tokens: 8k",
    ),
    "cost": Number(
        units.usd,
        units.show_usd,
        lambda inputs: inputs.forecast.cost_usd,
        "forecast cost of this request: 0.002$",
    ),
    "price": Number(
        units.usd,
        units.show_usd,
        lambda inputs: inputs.catalog.columns.price_usd_per_mtok,
        "USD per million tokens, the higher of input and output: 1$",
    ),
    "latency": Number(
        units.milliseconds,
        units.show_milliseconds,
        lambda inputs: inputs.forecast.latency_ms,
        "forecast time to the last token: 2s",
    ),
    "ttft": Number(
        units.milliseconds,
        units.show_milliseconds,
        lambda inputs: inputs.forecast.ttft_ms,
        "forecast time to the first token: 800ms",
    ),
    "released": Number(
        _day,
        _show_day,
        lambda inputs: inputs.catalog.columns.released_day,
        "release date: 2025-06",
    ),
    "age": Number(units.days, units.show_days, _age_days, "days since the release: 180d"),
    "quality": Number(
        units.fraction,
        units.show_fraction,
        lambda inputs: inputs.forecast.quality,
        "forecast quality of the answer: 0.8",
    ),
    "fits": Number(
        units.yes_or_no,
        units.show_yes_or_no,
        _fits,
        "model and context fit into the memory of the card's hardware: yes",
        _explain_fit,
    ),
    "calls": Number(
        _calls,
        lambda count, digits=0: f"{count:g}",
        lambda inputs: np.ones(len(inputs.catalog)),
        "upstream calls that a plan may make; a card makes one: 3",
    ),
}
WORDS = tuple(FACETS)
"""The fields whose values are words; they take only `=` and `!=`."""

FIELD_NAMES = (*NUMBERS, *WORDS)
