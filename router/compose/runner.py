"""Run a plan: make its upstream calls and return the response for the client."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from router.cards.catalog import Catalog
from router.compose.gate import Gate
from router.compose.prior_gate import PriorGate
from router.compose.run import Brief, Ledger, compose
from router.compose.run.brief import unfit_reason
from router.dispatch import Call, Dispatcher, UpstreamResponse
from router.dispatch.bounds.admission import Running
from router.dispatch.bounds.body_memory import Reserved
from router.errors import UpstreamError
from router.types import Attempt, ComposedPlan, Plan


class PlanRunner:
    """Runs plans by a dispatcher. `gate` judges the answers of members, by default by their forecasts alone."""

    def __init__(self, dispatcher: Dispatcher, gate: Gate | None = None) -> None:
        self._dispatcher = dispatcher
        self._gate: Gate = PriorGate() if gate is None else gate

    async def run(
        self,
        plan: Plan,
        catalog: Catalog,
        call: Call,
        attempts: list[Attempt],
        on_attempt: Callable[[], Mapping[str, str]] | None = None,
        brief: Brief | None = None,
        ledger: Ledger | None = None,
        memory: Reserved | None = None,
        running: Running | None = None,
    ) -> UpstreamResponse:
        """The response to `call`, answered by the cards of `plan`, which are in `catalog`.

        Every attempt is added to `attempts`; `on_attempt` is called before each, and returns headers for it. A composed
        plan needs a `brief`, notes its calls in `ledger`, and counts the answers that it collects in `memory` and its
        calls in `running`. A
        request that no plan can answer is answered by the plan's card. Raises what `Dispatcher.send_first_healthy`
        raises.
        """
        if isinstance(plan, ComposedPlan) and brief is not None:
            ledger = Ledger() if ledger is None else ledger
            if not unfit_reason(brief.spec, call):
                if running is not None:
                    running.leave_card()
                return await compose(
                    self._dispatcher,
                    catalog,
                    plan,
                    call,
                    brief,
                    self._gate,
                    ledger,
                    attempts,
                    on_attempt,
                    memory,
                    running,
                )
            ledger.degrade("unfit")
        cards = tuple(catalog.named(name) for name in (plan.card, *plan.fallbacks))
        try:
            return await self._dispatcher.send_first_healthy(cards, call, attempts, on_attempt)
        except UpstreamError as error:
            raise call.affinity.explained(error) from None
