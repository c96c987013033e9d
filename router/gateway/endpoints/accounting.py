"""The money of one request: reserved before the call, settled by what the call has cost."""

from __future__ import annotations

import asyncio
import contextlib

from router.compose.run.brief import limits_of
from router.decide.plans.spec import Segments
from router.dispatch.costs import Bounds, bounds_of, no_answer
from router.errors import CallerError
from router.gateway.config.keys import Key
from router.gateway.http.body import runner
from router.gateway.routing.bill import Unfinished
from router.gateway.routing.budget_line import BudgetLines
from router.gateway.routing.composed import bounds_of_call, bounds_of_plan, calls_of_plan, expected_of
from router.gateway.routing.selection import GatewayRequest, Selection
from router.store.state.limits import NANO
from router.store.state.protocol import Claim, Reservation, StateError, StateStore
from router.types import ComposedPlan, Features, Forecast
from router.wire import read_request
from router.wire.usage import output_limit

_NOTHING = Bounds(0.0, 0.0, 0.0)


class Accounting:
    """Reserves and settles the cost of one request where its key has a budget; settles what exploration reserved."""

    def __init__(self, state: StateStore, lines: BudgetLines) -> None:
        self._state, self._lines = state, lines
        self._reservation: Reservation | None = None
        self._bounds = _NOTHING
        self._explored: Reservation | None = None
        self._explored_usd = 0.0

    @property
    def is_charged(self) -> bool:
        """Whether the request costs its key anything, so that what it costs is worth knowing."""
        return self._reservation is not None and self._bounds.worst_usd > 0

    @property
    def has_reserved(self) -> bool:
        """Whether anything is reserved for the request, which must be settled."""
        return self._reservation is not None or self._explored is not None

    async def reserve(
        self, request: GatewayRequest, selection: Selection, now_s: float, *, is_text: bool = True
    ) -> None:
        """Set aside what the request may cost, and wait meanwhile where its key can send only one at a time.

        Raises BudgetError where the key's budget does not allow it. `is_text`: the answer is written by a model.
        """
        key, self._explored = request.key, selection.reserved
        if key is None or key.budget_usd_per_day is None:
            return
        self._bounds = await _bounds(request, selection, is_text=is_text)
        config = request.active.config
        # Those that wait hold the memory of their bodies, which other keys need, too.
        most_waiting = min(config.budgets.waiting, max(config.max_concurrency // 4, 1))
        self._reservation = await self._lines.reserve(
            key.id, lambda: self._reserved(key, now_s), most_waiting, config.budgets.wait_s
        )

    def charge_usd(self, cost_usd: float | None, *, served: bool, unfinished: Unfinished = "nothing") -> float | None:
        """What the request is charged where its answers so far have this cost; None where nothing is known.

        Where the cost is not known, a request that was `served` costs what was reserved.
        """
        if self._explored is not None:
            is_known = unfinished == "nothing" and not (cost_usd is None and served)
            self._explored_usd = (cost_usd or 0.0) if is_known else self._explored.cost_nano / NANO
        if self._reservation is None:
            return cost_usd
        likely, reserved, _ = self._bounds
        if cost_usd is None and served:
            cost_usd = reserved
        if unfinished == "nothing":
            return cost_usd
        known_usd = cost_usd or 0.0
        return {"rest": max(known_usd, reserved), "whole": known_usd + reserved, "stream": known_usd + likely}[
            unfinished
        ]

    async def settle(self, cost_usd: float) -> None:
        """Replace what was reserved by what the request is charged, once."""
        explored, self._explored = self._explored, None
        if explored is not None:
            with contextlib.suppress(StateError):
                await self._state.settle(explored, self._explored_usd)
        reservation, self._reservation = self._reservation, None
        if reservation is None:
            return
        try:
            with contextlib.suppress(StateError):
                await self._state.settle(reservation, cost_usd)
        finally:
            self._lines.freed(reservation.key_id)

    async def _reserved(self, key: Key, now_s: float) -> Reservation:
        assert key.budget_usd_per_day is not None
        likely, reserved, worst = self._bounds
        claim = Claim(key.id, key.budget_usd_per_day, reserved, likely, worst)
        reserving = asyncio.ensure_future(self._state.reserve(claim, now_s))
        try:
            return await asyncio.shield(reserving)
        except asyncio.CancelledError:
            # What was reserved for a client that has left meanwhile must not stay reserved.
            reserving.add_done_callback(self._release)
            raise

    def _release(self, reserving: asyncio.Future[Reservation]) -> None:
        if not reserving.cancelled() and reserving.exception() is None:
            self._reservation = reserving.result()
            _RELEASING.add(task := asyncio.ensure_future(self.settle(0.0)))
            task.add_done_callback(_RELEASING.discard)


# The event loop keeps no references to its tasks.
_RELEASING: set[asyncio.Future[None]] = set()


async def _bounds(request: GatewayRequest, selection: Selection, *, is_text: bool) -> Bounds:
    """What the dearest card of the plan may cost, or all its members together; the likely cost is that of the first."""
    api, body, plan = request.surface.api, selection.body, selection.plan
    if isinstance(plan, ComposedPlan) and selection.spec is not None:
        forecast = await _forecast(request, selection)
        # Splitting a long prompt takes a while.
        calls = await runner(request.is_large or isinstance(selection.spec, Segments))(
            calls_of_plan, plan, selection.spec, body
        )
        caps = limits_of(selection.spec, request.active.config.plans)
        return bounds_of_plan(
            plan, selection.spec, caps, calls, lambda call: bounds_of_call(call, api, selection, forecast)
        )
    cards = [selection.catalog.named(name) for name in (plan.card, *plan.fallbacks)]
    if api == "embeddings":
        each = [no_answer(body, card) for card in cards]
    elif not is_text:
        each = [bounds_of(card, api, body, None) for card in cards]
    else:
        forecast = await _forecast(request, selection)
        each = [bounds_of(card, api, body, expected_of(selection, card, forecast)) for card in cards]
    return Bounds(
        each[0].likely_usd, max(bounds.reserved_usd for bounds in each), max(bounds.worst_usd for bounds in each)
    )


async def _forecast(request: GatewayRequest, selection: Selection) -> tuple[Features, Forecast] | None:
    """The forecast of the decision; for a named card one is made where the client sets no limit."""
    if selection.routed is not None:
        return selection.routed.features, selection.routed.forecast
    if output_limit(request.surface.api, selection.body) is not None:
        return None

    def forecast() -> tuple[Features, Forecast] | None:
        try:
            chat = read_request(request.surface.api, selection.body)
            return request.active.router.forecast(chat, selection.policy)
        except CallerError:
            # The upstream may accept what cannot be read here.
            return None

    return await runner(request.is_large)(forecast)
