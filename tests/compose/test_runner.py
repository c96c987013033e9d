"""Plans, carried out by real calls to a scripted upstream."""

from __future__ import annotations

import asyncio
import json

import msgspec

from router.cards import Catalog
from router.compose.runner import PlanRunner
from router.dispatch import Call, Dispatcher
from router.types import Attempt, Plan, SinglePlan
from tests.gateway.servers import Upstream, make_card

CALL = Call("chat", {"model": "auto", "messages": [{"role": "user", "content": "hi"}]})


def run(plan: Plan, catalog: Catalog) -> tuple[str, list[Attempt]]:
    """The card that answered, and the attempts."""

    async def main() -> tuple[str, list[Attempt]]:
        dispatcher, attempts = Dispatcher(), list[Attempt]()
        try:
            response = await PlanRunner(dispatcher).run(plan, catalog, CALL, attempts)
            return response.card.id, attempts
        finally:
            await dispatcher.aclose()

    return asyncio.run(main())


def test_a_single_plan_calls_its_card(upstream: Upstream) -> None:
    catalog = Catalog([make_card("a", upstream.url), make_card("b", upstream.url)])
    card, attempts = run(SinglePlan("b"), catalog)
    assert (card, [attempt.card for attempt in attempts]) == ("b", ["b"])


def test_a_single_plan_falls_back_in_order(upstream: Upstream) -> None:
    catalog = Catalog([make_card("a", upstream.url, "status-500"), make_card("b", upstream.url)])
    card, attempts = run(SinglePlan("a", ("b",)), catalog)
    assert (card, [attempt.card for attempt in attempts]) == ("b", ["a", "b"])


def test_a_plan_states_its_kind_in_json() -> None:
    plan = json.loads(msgspec.json.encode(SinglePlan("a", ("b",))))
    assert plan == {"kind": "single", "card": "a", "fallbacks": ["b"]}
