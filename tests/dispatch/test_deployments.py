from __future__ import annotations

import asyncio

import msgspec
import pytest

from router.cards import Card
from router.cards.schema import Place, RateLimits
from router.dispatch import Cooldown, Queue
from router.dispatch.deployments import DeploymentPool
from router.errors import BusyError
from tests.gateway.servers import make_card

ONE_AT_A_TIME = RateLimits(concurrency=1)


def fleet(**queue: float) -> DeploymentPool:
    return DeploymentPool(Cooldown(failures=1), Queue(**queue) if queue else Queue())


def card(name: str, servers: int = 1, limits: RateLimits | None = None) -> Card:
    places = tuple(Place(f"http://127.0.0.1:{number + 1}/v1", rate_limits=limits) for number in range(servers))
    return msgspec.structs.replace(make_card(name, "http://127.0.0.1:1"), base_url=None, deployments=places)


def chosen(fleet: DeploymentPool, *cards: Card, tried: set[str] | None = None) -> str | None:
    deployment = asyncio.run(fleet.next(cards, tried or set()))
    return None if deployment is None else deployment.name


def test_the_least_busy_server_of_the_first_card_is_called() -> None:
    calls, twice = fleet(), card("a", servers=2)
    calls.begin(calls.deployments_of(twice)[0])
    assert chosen(calls, twice, card("b")) == "a#2"


def test_a_full_server_is_passed_over() -> None:
    calls, small = fleet(), card("a", limits=ONE_AT_A_TIME)
    calls.begin(calls.deployments_of(small)[0])
    assert chosen(calls, small, card("b")) == "b#1"


def test_a_card_that_rests_is_left_out_of_decisions_until_it_is_well() -> None:
    calls, bad = fleet(), card("a")
    deployment = calls.deployments_of(bad)[0]
    assert calls.resting() == {}
    calls.failed(deployment)
    assert set(calls.resting()) == {"a"}
    calls.well(deployment)
    assert calls.resting() == {}


def test_a_card_rests_only_where_all_its_servers_do() -> None:
    calls, twice = fleet(), card("a", servers=2)
    calls.failed(calls.deployments_of(twice)[0])
    assert calls.resting() == {}
    assert chosen(calls, twice) == "a#2"


def test_where_all_rest_a_request_that_tried_nothing_calls_one_all_the_same() -> None:
    calls, bad = fleet(), card("a")
    calls.failed(calls.deployments_of(bad)[0])
    assert chosen(calls, bad) == "a#1"
    assert chosen(calls, bad, card("b"), tried={"b#1"}) is None


def test_what_asked_to_be_left_alone_is_left_alone() -> None:
    calls, limited = fleet(), card("a")
    calls.failed(calls.deployments_of(limited)[0], leave_alone_s=20)
    with pytest.raises(BusyError) as caught:
        chosen(calls, limited)
    assert caught.value.status == 429
    assert 19 < caught.value.retry_after_s <= 20


def test_a_call_waits_until_a_full_server_has_room() -> None:
    async def main() -> str:
        calls, small = fleet(size=1, wait_s=5), card("a", limits=ONE_AT_A_TIME)
        deployment = calls.deployments_of(small)[0]
        calls.begin(deployment)
        waiting = asyncio.create_task(calls.next([small], set()))
        await asyncio.sleep(0.01)
        assert calls.waiting == 1
        calls.end(deployment)
        found = await waiting
        assert found is not None
        return found.name

    assert asyncio.run(main()) == "a#1"


@pytest.mark.parametrize("queue", [{"size": 0, "wait_s": 5}, {"size": 5, "wait_s": 0.01}])
def test_a_queue_that_is_full_or_too_slow_sends_the_call_away(queue: dict[str, float]) -> None:
    calls, small = fleet(**queue), card("a", limits=ONE_AT_A_TIME)
    calls.begin(calls.deployments_of(small)[0])
    with pytest.raises(BusyError) as caught:
        chosen(calls, small)
    assert caught.value.status == 503
