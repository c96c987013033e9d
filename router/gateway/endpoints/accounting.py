"""The money of one request: reserved before the call, settled by what the call has cost."""

from __future__ import annotations

import contextlib

from router.dispatch.costs import cost_of
from router.formats.json import json_bytes
from router.gateway.config.keys import Key
from router.gateway.routing.selection import Selection
from router.store.state.protocol import Reservation, StateError, StateStore
from router.types import Usage

# What a call is assumed to use where nothing is forecast.
_ASSUMED_OUTPUT_TOKENS = 500
_CHARACTERS_PER_TOKEN = 4


class Accounting:
    """Reserves and settles the cost of one request where its key has a budget."""

    def __init__(self, state: StateStore) -> None:
        self._state = state
        self._reservation: Reservation | None = None

    async def reserve(self, key: Key | None, selection: Selection, now_s: float) -> None:
        """Set aside the expected cost of the request. Raises BudgetError where the key's budget does not allow it."""
        if key is not None and key.budget_usd_per_day is not None:
            expected_usd = _expected_cost_usd(selection)
            self._reservation = await self._state.reserve(key.id, key.budget_usd_per_day, expected_usd, now_s)

    async def settle(self, cost: float | None, *, served: bool) -> None:
        """Replace what was reserved by the cost of the request.

        Where the cost is not known, a request that was `served` costs what was expected, any other nothing.
        """
        if self._reservation is None:
            return
        if cost is None:
            cost = self._reservation.cost_nano / 1e9 if served else 0.0
        with contextlib.suppress(StateError):
            await self._state.settle(self._reservation, cost)


def _expected_cost_usd(selection: Selection) -> float:
    """The forecast cost, else that of an assumed answer; 0 where no price is known."""
    expected = selection.expected(selection.card.id)
    if expected is not None and expected.cost_usd is not None:
        return expected.cost_usd
    input_tokens = len(json_bytes(selection.body)) // _CHARACTERS_PER_TOKEN
    return cost_of(selection.card, Usage(input_tokens, _ASSUMED_OUTPUT_TOKENS)) or 0.0
