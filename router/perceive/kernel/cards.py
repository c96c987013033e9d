"""The forecasts of all cards of a catalogue by the compiled kernel, which `Forecaster` specifies in numpy."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct

from router.cards.columns import Columns
from router.cards.machine.columns import Machines
from router.perceive import kernel
from router.types import Doubles, Features

_ROWS = 8
_PRICED = 2
_MACHINES = (
    *("active_parameters", "read_bytes", "prompt_bytes", "weight_bytes", "kv_bytes", "state_bytes"),
    *("attention_flops", "flops", "bytes_per_s", "offload_bytes_per_s", "memory_bytes"),
)


class Known(NamedTuple):
    """What is known of cards before a prompt, each `(cards,)`; see `Forecaster`."""

    length_offset: Doubles
    max_output_tokens: Doubles
    thinking_tokens: Doubles
    first: Doubles
    further: Doubles


class Forecasts(Struct, frozen=True, eq=False):
    """Those of `Forecast`, each `(cards,)`, and the novelty of the prompt."""

    quality: Doubles
    quality_std: Doubles
    independent_std: Doubles
    output_tokens: Doubles
    written_tokens: Doubles
    cost_usd: Doubles
    ttft_ms: Doubles
    latency_ms: Doubles
    novelty: float


class CompiledCards:
    """The cards of one catalogue, bound to the compiled kernel."""

    def __init__(
        self,
        extension: Any,
        projection: Any,
        strengths: tuple[Doubles, Doubles, Doubles],
        difficulty_variance: float,
        known: Known,
        columns: Columns,
        machines: Machines,
    ) -> None:
        """`strengths` are the means `(cards, families)`, their variances, and the interactions `(cards, skills)`."""
        self._columns, self._cards = columns, len(known.length_offset)
        self._padded = self._cards + -self._cards % 4
        of_cards = [
            known.length_offset,
            known.max_output_tokens,
            known.thinking_tokens,
            columns.ttft_ms,
            columns.tpot_ms,
            columns.input_price_usd_per_mtok / 1e6,
            columns.output_price_usd_per_mtok / 1e6,
            known.first,
            known.further,
            *(getattr(machines, name) for name in _MACHINES),
        ]
        # Those that fill up the last four are of no one.
        self._bound = extension.Cards(
            projection,
            difficulty_variance,
            *(kernel.in_fours(of_each.T) for of_each in strengths),
            kernel.in_fours(np.array(of_cards)),
        )
        # No tier applies to a prompt of at most so many tokens.
        self._untiered_tokens = columns.tier_tokens.min(initial=np.inf)

    def __call__(self, features: Features) -> Forecasts:
        """The forecasts for one prompt, without what examples and probes add."""
        out = np.empty((_ROWS, self._padded))
        limit = np.inf if features.output_limit is None else features.output_limit
        # No tier applies to most prompts.
        prices = None if features.input_tokens <= self._untiered_tokens else self._prices(features)
        novelty = self._bound.forecast(
            features.vector, features.input_tokens, limit, features.thinking_scale, prices, out
        )
        found = out if self._padded == self._cards else out[:, : self._cards]
        # An array that is iterated over ends with an exception, which costs as much as all of its rows.
        return Forecasts(found[0], found[1], found[2], found[3], found[4], found[5], found[6], found[7], novelty)

    def _prices(self, features: Features) -> Doubles:
        """The prices of input and output in USD a token for a prompt of this length."""
        padded = np.zeros((_PRICED, self._padded))
        padded[:, : self._cards] = self._columns.prices_usd_per_mtok(features.input_tokens)
        padded /= 1e6
        return padded
