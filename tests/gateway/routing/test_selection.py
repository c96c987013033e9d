"""What the selector keeps between requests."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Mapping

from router.gateway.config.gateway_yaml import GatewayConfig
from router.gateway.config.keys import Key, Keys
from router.gateway.config.reload import ActiveConfig
from router.gateway.http.surfaces import CHAT
from router.gateway.routing.refusals import UnavailableCards
from router.gateway.routing.selection import GatewayRequest
from router.pipeline import Router
from router.store.records.snapshots import catalogue_snapshot
from tests.gateway.servers import make_card, make_gateway, make_router

ANN, BOB = Key(id="ann", hash="a"), Key(id="bob", hash="b")


def a_configuration(number: int = 1) -> ActiveConfig:
    router = make_router(make_card("a", "http://127.0.0.1:1"))
    snapshot = catalogue_snapshot(router.catalog, {})
    keys = Keys([ANN, BOB], router.catalog.ids)
    return ActiveConfig(router, snapshot, GatewayConfig(), keys, number, "fixed", 0.0)


def test_a_configuration_that_is_used_no_more_is_not_kept_for_keys_that_ask_no_more() -> None:
    selector = make_gateway(make_router(make_card("a", "http://127.0.0.1:1"))).services.selector
    body = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}

    async def ask(active: ActiveConfig, key: Key) -> weakref.ref[Router]:
        await selector.select(GatewayRequest(CHAT, active, key, {}, body))
        return weakref.ref(active.router)

    async def main() -> weakref.ref[Router]:
        before = await ask(a_configuration(1), ANN)
        await ask(a_configuration(2), BOB)
        return before

    before = asyncio.run(main())
    gc.collect()
    assert before() is None


def test_reasons_are_kept_for_a_key_until_very_many_others_have_asked() -> None:
    cards, active = UnavailableCards(), a_configuration()
    unavailable: Mapping[str, str] = {}

    def reasons(key: Key) -> Mapping[str, str]:
        return cards.of(active, key, "chat", unavailable, {}, native=False)

    first = reasons(ANN)
    assert reasons(ANN) is first
    for number in range(5000):
        reasons(Key(id=f"key-{number}", hash=""))
    assert reasons(ANN) is not first
