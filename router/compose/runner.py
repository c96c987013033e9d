"""Run a plan: make its upstream calls and return the response for the client."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from router.cards.catalog import Catalog
from router.dispatch import Call, Dispatcher, UpstreamResponse
from router.errors import UpstreamError
from router.types import Attempt, Plan, SinglePlan


class PlanRunner:
    """Runs plans by a dispatcher. A further kind of plan is a further case of `run`."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    async def run(
        self,
        plan: Plan,
        catalog: Catalog,
        call: Call,
        attempts: list[Attempt],
        on_attempt: Callable[[], Mapping[str, str]] | None = None,
    ) -> UpstreamResponse:
        """The response to `call`, answered by the cards of `plan`, which are in `catalog`.

        Every attempt is added to `attempts`; `on_attempt` is called before each, and returns headers for it. Raises
        what `Dispatcher.send_first_healthy` raises.
        """
        match plan:
            case SinglePlan(card, fallbacks):
                cards = tuple(catalog.named(name) for name in (card, *fallbacks))
                try:
                    return await self._dispatcher.send_first_healthy(cards, call, attempts, on_attempt)
                except UpstreamError as error:
                    raise call.affinity.explained(error) from None
