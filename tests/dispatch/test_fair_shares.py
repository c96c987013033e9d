"""Which tenant's calls get a deployment while both wait for it."""

from __future__ import annotations

import asyncio
from collections import Counter

import msgspec
import pytest

from router.cards.servers import RateLimits
from router.dispatch import Call, Cooldown, Dispatcher, DispatchSettings, QueueLimits
from router.dispatch.pool.pool import DeploymentPool
from tests.dispatch.calls import BODY
from tests.gateway.servers import Upstream, make_card

ONE_AT_A_TIME = RateLimits(concurrency=1)
LONG = {**BODY, "messages": [{"role": "user", "content": "word " * 2000}], "stream": True}
SHORT = {**BODY, "stream": True}


def grants(tokens: dict[str, int | None], calls_of_each: int, first: int) -> Counter[str]:
    """Which tenants the first calls are of, where each call uses its tenant's number of tokens."""

    async def main() -> list[str]:
        pool, order = DeploymentPool(Cooldown(), QueueLimits()), list[str]()
        card = msgspec.structs.replace(make_card("a", "http://127.0.0.1:1"), rate_limits=ONE_AT_A_TIME)
        held = await pool.acquire([card], ())

        async def client(tenant: str) -> None:
            slot = await pool.acquire([card], (), tenant=tenant)
            assert slot is not None
            order.append(tenant)
            await asyncio.sleep(0)
            pool.end(slot, tokens[tenant])

        clients = [asyncio.create_task(client(tenant)) for tenant in tokens for _ in range(calls_of_each)]
        await asyncio.sleep(0)
        assert held is not None
        pool.end(held)
        await asyncio.gather(*clients)
        return order

    return Counter(asyncio.run(main())[:first])


def test_a_tenant_whose_calls_use_ten_times_the_tokens_gets_a_tenth_of_the_calls() -> None:
    served = grants({"greedy": 1000, "modest": 100}, calls_of_each=40, first=33)
    assert served["modest"] == pytest.approx(10 * served["greedy"], abs=10)


def test_tenants_whose_calls_use_the_same_get_the_same_number_of_calls() -> None:
    assert grants({"a": 100, "b": 100}, calls_of_each=20, first=20) == {"a": 10, "b": 10}


def test_a_tenant_whose_calls_fail_or_that_leaves_them_is_charged_what_calls_usually_use() -> None:
    served = grants({"honest": 100, "fails": None}, calls_of_each=30, first=30)
    assert 13 <= served["fails"] <= 17


def test_a_stream_that_its_client_leaves_is_charged(upstream: Upstream) -> None:
    async def main() -> list[str]:
        dispatcher, order = Dispatcher(DispatchSettings(retries=0)), list[str]()
        card = msgspec.structs.replace(make_card("a", upstream.url, "slow"), rate_limits=ONE_AT_A_TIME)

        async def client(tenant: str) -> None:
            body = LONG if tenant == "greedy" else SHORT
            response = await dispatcher.send_first_healthy([card], Call("chat", body, True, {}, tenant=tenant))
            order.append(tenant)
            assert not isinstance(response.body, bytes)
            await response.body.aclose()

        try:
            clients = [asyncio.create_task(client(tenant)) for tenant in ("greedy", "modest") for _ in range(8)]
            await asyncio.gather(*clients)
        finally:
            await dispatcher.aclose()
        return order

    assert Counter(asyncio.run(main())[:10])["modest"] >= 7


def test_a_tenant_whose_requests_are_refused_does_not_go_before_the_others(upstream: Upstream) -> None:
    async def main() -> list[str]:
        dispatcher, order = Dispatcher(DispatchSettings(retries=0)), list[str]()
        card = msgspec.structs.replace(make_card("a", upstream.url), rate_limits=ONE_AT_A_TIME)
        bad = msgspec.structs.replace(card, model="status-400")

        async def client(tenant: str) -> None:
            order_of = bad if tenant == "refused" else card
            await dispatcher.send_first_healthy([order_of], Call("chat", BODY, False, {}, tenant=tenant))
            order.append(tenant)

        try:
            clients = [asyncio.create_task(client(tenant)) for tenant in ("refused", "honest") for _ in range(12)]
            await asyncio.gather(*clients)
        finally:
            await dispatcher.aclose()
        return order

    assert Counter(asyncio.run(main())[:14])["honest"] >= 6
