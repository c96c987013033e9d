"""How busy the servers of cards are."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec

from router.cards import Card, Catalog
from router.cards.servers import Place, RateLimits
from router.dispatch import Cooldown, QueueLimits
from router.dispatch.pool.load import USUAL_CONCURRENCY
from router.dispatch.pool.pool import DeploymentPool
from router.errors import BusyError
from tests.gateway.servers import make_card


def pool() -> DeploymentPool:
    return DeploymentPool(Cooldown(), QueueLimits())


def with_limit(concurrency: int | None, id_: str = "a", servers: int = 1, **facts: object) -> Card:
    limits = None if concurrency is None else RateLimits(concurrency=concurrency)
    places = tuple(Place(f"http://127.0.0.1:{number + 1}/v1", rate_limits=limits) for number in range(servers))
    plain = msgspec.structs.replace(make_card(id_, "http://127.0.0.1:1"), base_url=None, price=None)
    return msgspec.structs.replace(plain, deployments=places, **facts)


def test_idle_servers_are_not_named() -> None:
    calls, cards = pool(), Catalog([with_limit(4)])
    slot = calls.begin(calls.deployments_of(cards[0])[0])
    assert calls.load(cards) == {"a": 0.25}
    calls.end(slot)
    assert calls.load(cards) == {}


def test_the_least_busy_deployment_counts() -> None:
    calls, cards = pool(), Catalog([with_limit(4, servers=2)])
    first, second = calls.deployments_of(cards[0])
    for _ in range(3):
        calls.begin(first)
    assert calls.load(cards) == {}
    calls.begin(second)
    assert calls.load(cards) == {"a": 0.25}


def test_a_server_without_a_limit_counts_as_one_of_the_usual_size() -> None:
    calls, cards = pool(), Catalog([with_limit(None)])
    for _ in range(8):
        calls.begin(calls.deployments_of(cards[0])[0])
    assert calls.load(cards) == {"a": 8 / USUAL_CONCURRENCY}


def test_calls_that_wait_count_and_no_load_is_above_one() -> None:
    async def main() -> list[float]:
        calls, cards = pool(), Catalog([with_limit(2)])
        begun = [await calls.acquire([cards[0]], ()) for _ in range(2)]
        loads = [calls.load(cards)["a"]]
        waiting = [asyncio.create_task(calls.acquire([cards[0]], ())) for _ in range(3)]
        await asyncio.sleep(0)
        calls.end(begun[0]) if begun[0] is not None else None
        loads.append(calls.load(cards)["a"])
        for each in waiting:
            each.cancel()
            with contextlib.suppress(asyncio.CancelledError, BusyError):
                await each
        loads.append(calls.load(cards)["a"])
        return loads

    assert asyncio.run(main()) == [1.0, 1.0, 0.5]


def test_the_calls_of_all_adapters_of_a_server_count() -> None:
    base = with_limit(4, "base")
    adapters = [Card(id=name, provider="openai", model=name, kind="adapter", base="base") for name in ("sql", "poems")]
    calls, cards = pool(), Catalog([base, *adapters])
    for name in ("sql", "poems"):
        calls.begin(calls.deployments_of(cards.named(name))[0])
    assert calls.load(cards) == {"base": 0.5}
