"""The dollars a day that the operator spends beside the requests of clients, shared by workers and gateways."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

from router.errors import BudgetError
from router.store.state.protocol import Claim, StateError, StateStore


class Charge:
    """What one call costs. It is charged at the most that was possible until its cost is known."""

    def __init__(self, worst_usd: float) -> None:
        self.cost_usd = worst_usd


class DailyDollars:
    """Reserves what a call may cost at most, of what `name` may spend on one UTC day.

    The name must be that of no client's key.
    """

    def __init__(self, state: StateStore, clock: Callable[[], float] = time.time) -> None:
        self._state, self._clock = state, clock

    @contextlib.asynccontextmanager
    async def reserved(self, name: str, usd_per_day: float, worst_usd: float) -> AsyncIterator[Charge]:
        """Spend within the block, which sets the cost of the charge. Raises BudgetError and StateError before it."""
        claim = Claim(name, usd_per_day, worst_usd, worst_usd, worst_usd)
        reserving = asyncio.ensure_future(self._state.reserve(claim, self._clock()))
        try:
            reservation = await asyncio.shield(reserving)
        except asyncio.CancelledError:
            # Nothing was spent: what was reserved meanwhile is given back.
            with contextlib.suppress(BudgetError, StateError):
                await self._state.settle(await reserving, 0.0)
            raise
        charge = Charge(worst_usd)
        try:
            yield charge
        finally:
            # Without the state, the reservation expires there, and counts as spent.
            with contextlib.suppress(StateError):
                await asyncio.shield(asyncio.ensure_future(self._state.settle(reservation, charge.cost_usd)))
