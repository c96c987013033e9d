from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from router.cards import Card, Catalog
from router.cards.schema import Effort, Efforts
from router.cards.servers import Place, RateLimits
from router.dispatch import Affinity, Cooldown, QueueLimits
from router.dispatch.deployments import DeploymentPool, deployments_of, server_of
from router.errors import BusyError
from tests.gateway.servers import make_card

ONE_AT_A_TIME = RateLimits(concurrency=1)


def pool(**queue: float) -> DeploymentPool:
    return DeploymentPool(Cooldown(failures=1), QueueLimits(**queue) if queue else QueueLimits())


def card(name: str, servers: int = 1, limits: RateLimits | None = None) -> Card:
    places = tuple(Place(f"http://127.0.0.1:{number + 1}/v1", rate_limits=limits) for number in range(servers))
    return msgspec.structs.replace(make_card(name, "http://127.0.0.1:1"), base_url=None, deployments=places)


def chosen(calls: DeploymentPool, *cards: Card, tried: set[str] | None = None) -> str | None:
    deployment = asyncio.run(calls.acquire(cards, tried or set()))
    return None if deployment is None else deployment.name


def test_the_least_busy_server_of_the_first_card_is_called() -> None:
    calls, twice = pool(), card("a", servers=2)
    calls.begin(calls.deployments_of(twice)[0])
    assert chosen(calls, twice, card("b")) == "a#2"


def test_a_server_at_capacity_is_skipped() -> None:
    calls, small = pool(), card("a", limits=ONE_AT_A_TIME)
    calls.begin(calls.deployments_of(small)[0])
    assert chosen(calls, small, card("b")) == "b#1"


def test_a_card_that_cools_down_is_excluded_from_decisions_until_it_succeeds() -> None:
    calls, bad = pool(), card("a")
    deployment = calls.deployments_of(bad)[0]
    assert calls.cooling_down() == {}
    calls.record_failure(deployment)
    assert set(calls.cooling_down()) == {"a"}
    calls.record_success(deployment)
    assert calls.cooling_down() == {}


def test_the_efforts_of_a_card_share_its_servers_limits_and_cooldowns() -> None:
    efforts = Efforts(low=Effort(), high=Effort())
    base, high, low = Catalog([msgspec.structs.replace(card("a", limits=ONE_AT_A_TIME), efforts=efforts)])
    calls = pool()
    deployment = calls.deployments_of(low)[0]
    assert calls.deployments_of(high)[0].name == deployment.name
    calls.begin(deployment)
    assert chosen(calls, base, high, card("b")) == "b#1"
    calls.end(deployment)
    calls.record_failure(deployment)
    assert set(calls.cooling_down()) == {"a@high", "a@low", "a"}
    calls.record_success(calls.deployments_of(high)[0])
    assert calls.cooling_down() == {}


def test_a_card_cools_down_only_when_all_its_servers_do() -> None:
    calls, twice = pool(), card("a", servers=2)
    calls.record_failure(calls.deployments_of(twice)[0])
    assert calls.cooling_down() == {}
    assert chosen(calls, twice) == "a#2"


def test_when_all_cards_cool_down_the_first_attempt_of_a_request_probes_one() -> None:
    calls, bad = pool(), card("a")
    calls.record_failure(calls.deployments_of(bad)[0])
    assert chosen(calls, bad) == "a#1"
    assert chosen(calls, bad, card("b"), tried={"b#1"}) is None


def test_a_rate_limited_server_is_not_called() -> None:
    calls, limited = pool(), card("a")
    calls.record_failure(calls.deployments_of(limited)[0], retry_after_s=20)
    with pytest.raises(BusyError) as caught:
        chosen(calls, limited)
    assert caught.value.status == 429
    assert 19 < caught.value.retry_after_s <= 20


def test_a_call_waits_until_a_server_at_capacity_has_a_free_slot() -> None:
    async def main() -> str:
        calls, small = pool(size=1, wait_s=5), card("a", limits=ONE_AT_A_TIME)
        deployment = calls.deployments_of(small)[0]
        calls.begin(deployment)
        waiting = asyncio.create_task(calls.acquire([small], set()))
        await asyncio.sleep(0.01)
        assert calls.waiting == 1
        calls.end(deployment)
        granted = await waiting
        assert granted is not None
        return granted.name

    assert asyncio.run(main()) == "a#1"


@pytest.mark.parametrize("queue", [{"size": 0, "wait_s": 5}, {"size": 5, "wait_s": 0.01}])
def test_a_full_or_too_slow_queue_rejects_the_call(queue: dict[str, float]) -> None:
    calls, small = pool(**queue), card("a", limits=ONE_AT_A_TIME)
    calls.begin(calls.deployments_of(small)[0])
    with pytest.raises(BusyError) as caught:
        chosen(calls, small)
    assert caught.value.status == 503


def test_a_freed_server_goes_to_the_waiting_call_that_it_fits() -> None:
    async def main() -> tuple[str, int]:
        calls = pool(size=5, wait_s=5)
        busy, idle = card("a", limits=ONE_AT_A_TIME), card("b", limits=ONE_AT_A_TIME)
        for taken in (busy, idle):
            calls.begin(calls.deployments_of(taken)[0])
        first = asyncio.create_task(calls.acquire([busy], set()))
        second = asyncio.create_task(calls.acquire([idle], set()))
        await asyncio.sleep(0.01)
        calls.end(calls.deployments_of(idle)[0])
        deployment = await asyncio.wait_for(second, 1)
        still_waiting = calls.waiting
        first.cancel()
        assert deployment is not None
        return deployment.name, still_waiting

    assert asyncio.run(main()) == ("b#1", 1)


def test_a_slot_granted_to_a_call_that_is_cancelled_goes_to_the_next() -> None:
    async def main() -> str:
        calls, small = pool(size=5, wait_s=5), card("a", limits=ONE_AT_A_TIME)
        calls.begin(calls.deployments_of(small)[0])
        leaving = asyncio.create_task(calls.acquire([small], set()))
        staying = asyncio.create_task(calls.acquire([small], set()))
        await asyncio.sleep(0.01)
        calls.end(calls.deployments_of(small)[0])
        leaving.cancel()
        deployment = await asyncio.wait_for(staying, 1)
        assert deployment is not None
        return deployment.name

    assert asyncio.run(main()) == "a#1"


def test_a_waiting_call_ends_as_soon_as_every_server_is_rate_limited() -> None:
    async def main() -> int:
        calls, small = pool(size=5, wait_s=5), card("a", limits=ONE_AT_A_TIME)
        deployment = calls.deployments_of(small)[0]
        calls.begin(deployment)
        waiting = asyncio.create_task(calls.acquire([small], set()))
        await asyncio.sleep(0.01)
        calls.record_failure(deployment, retry_after_s=20)
        calls.end(deployment)
        with pytest.raises(BusyError) as caught:
            await asyncio.wait_for(waiting, 1)
        return caught.value.status

    assert asyncio.run(main()) == 429


def test_calls_that_wait_probe_a_server_that_cools_down_one_by_one() -> None:
    async def main() -> tuple[int, int]:
        calls, small = pool(size=20, wait_s=5), card("a", limits=ONE_AT_A_TIME)
        deployment = calls.deployments_of(small)[0]
        calls.begin(deployment)
        waiting = [asyncio.create_task(calls.acquire([small], set())) for _ in range(10)]
        await asyncio.sleep(0.01)
        calls.record_failure(deployment)
        calls.end(deployment)
        # Longer than the interval at which the waiting calls look again for a server.
        await asyncio.sleep(1.2)
        result = calls.health_of(deployment).running, calls.waiting
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return result

    assert asyncio.run(main()) == (1, 9)


def test_a_probe_does_not_exceed_the_concurrency_limit_of_the_server() -> None:
    calls, small = pool(size=0, wait_s=5), card("a", limits=ONE_AT_A_TIME)
    deployment = calls.deployments_of(small)[0]
    calls.begin(deployment)
    calls.record_failure(deployment)
    with pytest.raises(BusyError):
        chosen(calls, small)
    calls.end(deployment)
    assert chosen(calls, small) == "a#1"


def affinity(of: Card, number: int, **kind: Any) -> Affinity:
    """The affinity to the server `number` of a card, from 0."""
    return Affinity(DeploymentPool(Cooldown(), QueueLimits()).deployments_of(of)[number].server, **kind)


def test_the_server_of_the_conversation_is_called_though_another_is_less_busy() -> None:
    calls, twice = pool(), card("a", servers=2)
    calls.begin(calls.deployments_of(twice)[1])
    assert asyncio.run(calls.acquire([twice], set(), affinity=affinity(twice, 1))).name == "a#2"


def test_a_server_that_cools_down_loses_its_conversations() -> None:
    calls, twice = pool(), card("a", servers=2)
    calls.record_failure(calls.deployments_of(twice)[1])
    for binds in (False, True):
        assert asyncio.run(calls.acquire([twice], set(), affinity=affinity(twice, 1, binds=binds))).name == "a#1"


def test_a_request_waits_for_the_only_server_that_can_read_it() -> None:
    async def waited() -> str:
        calls, twice = pool(), card("a", servers=2, limits=ONE_AT_A_TIME)
        second = calls.deployments_of(twice)[1]
        calls.begin(second)
        waiting = asyncio.create_task(calls.acquire([twice], set(), affinity=affinity(twice, 1, binds=True)))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        calls.end(second)
        return (await waiting).name

    assert asyncio.run(waited()) == "a#2"


def test_a_request_without_bound_parts_goes_elsewhere_when_it_has_waited_too_long() -> None:
    calls, twice = pool(size=1, wait_s=0.01), card("a", servers=2, limits=ONE_AT_A_TIME)
    calls.begin(calls.deployments_of(twice)[1])
    assert asyncio.run(calls.acquire([twice], set(), affinity=affinity(twice, 1, binds=True))).name == "a#1"


def test_a_bound_request_is_called_nowhere_else() -> None:
    calls, twice = pool(size=1, wait_s=0.01), card("a", servers=2, limits=ONE_AT_A_TIME)
    bound = affinity(twice, 1, binds=True, bound="previous_response_id")
    assert asyncio.run(calls.acquire([twice], {"a#2"}, affinity=bound)) is None
    calls.begin(calls.deployments_of(twice)[1])
    with pytest.raises(BusyError):
        asyncio.run(calls.acquire([twice], set(), affinity=bound))


def test_the_name_of_a_server_depends_on_its_place_and_account_and_not_on_its_position() -> None:
    twice = card("a", servers=2)
    turned = msgspec.structs.replace(twice, deployments=twice.deployments[::-1])
    first, second = deployments_of(twice)
    assert [each.server for each in deployments_of(turned)] == [second.server, first.server]
    other_key = msgspec.structs.replace(first.card, api_key_env="OTHER_KEY")
    assert server_of(other_key) != first.server
    assert server_of(msgspec.structs.replace(first.card, model="another")) == first.server
