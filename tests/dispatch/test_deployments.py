from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import msgspec
import pytest

from router.cards import Card, Catalog
from router.cards.schema import Effort, Efforts
from router.cards.servers import Place, RateLimits
from router.dispatch import Affinity, Cooldown, QueueLimits
from router.dispatch.health import FAILURE, Evidence
from router.dispatch.pool.deployment import Deployment, deployments_of
from router.dispatch.pool.pool import DeploymentPool
from router.dispatch.providers import server_of
from router.errors import BusyError
from tests.gateway.servers import make_card

ONE_AT_A_TIME = RateLimits(concurrency=1)


def pool(**queue: float) -> DeploymentPool:
    return DeploymentPool(Cooldown(failures=1), QueueLimits(**queue) if queue else QueueLimits())


def card(name: str, servers: int = 1, limits: RateLimits | None = None) -> Card:
    places = tuple(Place(f"http://127.0.0.1:{number + 1}/v1", rate_limits=limits) for number in range(servers))
    return msgspec.structs.replace(make_card(name, "http://127.0.0.1:1"), base_url=None, deployments=places)


def chosen(calls: DeploymentPool, *cards: Card, tried: set[str] | None = None) -> str | None:
    slot = asyncio.run(calls.acquire(cards, tried or set()))
    return None if slot is None else slot.deployment.name


def fails(calls: DeploymentPool, deployment: Deployment, evidence: Evidence = FAILURE, key: str = "") -> None:
    slot = calls.begin(deployment, key)
    calls.record_failure(slot, evidence)
    calls.end(slot)


def succeeds(calls: DeploymentPool, deployment: Deployment, key: str = "") -> None:
    slot = calls.begin(deployment, key)
    calls.record_success(slot)
    calls.end(slot)


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
    fails(calls, deployment)
    assert set(calls.cooling_down()) == {"a"}
    succeeds(calls, deployment)
    assert calls.cooling_down() == {}


def test_the_efforts_of_a_card_share_its_servers_limits_and_cooldowns() -> None:
    efforts = Efforts(low=Effort(), high=Effort())
    base, high, low = Catalog([msgspec.structs.replace(card("a", limits=ONE_AT_A_TIME), efforts=efforts)])
    calls = pool()
    deployment = calls.deployments_of(low)[0]
    assert calls.deployments_of(high)[0].name == deployment.name
    slot = calls.begin(deployment)
    assert chosen(calls, base, high, card("b")) == "b#1"
    calls.end(slot)
    fails(calls, deployment)
    assert set(calls.cooling_down()) == {"a@high", "a@low", "a"}
    succeeds(calls, calls.deployments_of(high)[0])
    assert calls.cooling_down() == {}


def test_a_card_cools_down_only_when_all_its_servers_do() -> None:
    calls, twice = pool(), card("a", servers=2)
    fails(calls, calls.deployments_of(twice)[0])
    assert calls.cooling_down() == {}
    assert chosen(calls, twice) == "a#2"


def test_when_all_cards_cool_down_the_first_attempt_of_a_request_probes_one() -> None:
    calls, bad = pool(), card("a")
    fails(calls, calls.deployments_of(bad)[0])
    assert chosen(calls, bad) == "a#1"
    assert chosen(calls, bad, card("b"), tried={"b#1"}) is None


def test_a_rate_limited_server_is_not_called() -> None:
    calls, limited = pool(), card("a")
    fails(calls, calls.deployments_of(limited)[0], Evidence("pause", pause_s=20))
    with pytest.raises(BusyError) as caught:
        chosen(calls, limited)
    assert caught.value.status == 429
    assert 19 < caught.value.retry_after_s <= 20


def test_a_call_waits_until_a_server_at_capacity_has_a_free_slot() -> None:
    async def main() -> str:
        calls, small = pool(size=1, wait_s=5), card("a", limits=ONE_AT_A_TIME)
        deployment = calls.deployments_of(small)[0]
        slot = calls.begin(deployment)
        waiting = asyncio.create_task(calls.acquire([small], set()))
        await asyncio.sleep(0.01)
        assert calls.waiting == 1
        calls.end(slot)
        granted = await waiting
        assert granted is not None
        return granted.deployment.name

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
        calls.begin(calls.deployments_of(busy)[0])
        slot = calls.begin(calls.deployments_of(idle)[0])
        first = asyncio.create_task(calls.acquire([busy], set()))
        second = asyncio.create_task(calls.acquire([idle], set()))
        await asyncio.sleep(0.01)
        calls.end(slot)
        slot = await asyncio.wait_for(second, 1)
        still_waiting = calls.waiting
        first.cancel()
        assert slot is not None
        return slot.deployment.name, still_waiting

    assert asyncio.run(main()) == ("b#1", 1)


def test_a_slot_granted_to_a_call_that_is_cancelled_goes_to_the_next() -> None:
    async def main() -> str:
        calls, small = pool(size=5, wait_s=5), card("a", limits=ONE_AT_A_TIME)
        slot = calls.begin(calls.deployments_of(small)[0])
        leaving = asyncio.create_task(calls.acquire([small], set()))
        staying = asyncio.create_task(calls.acquire([small], set()))
        await asyncio.sleep(0.01)
        calls.end(slot)
        leaving.cancel()
        slot = await asyncio.wait_for(staying, 1)
        assert slot is not None
        return slot.deployment.name

    assert asyncio.run(main()) == "a#1"


def test_a_waiting_call_ends_as_soon_as_every_server_is_rate_limited() -> None:
    async def main() -> int:
        calls, small = pool(size=5, wait_s=5), card("a", limits=ONE_AT_A_TIME)
        deployment = calls.deployments_of(small)[0]
        slot = calls.begin(deployment)
        waiting = asyncio.create_task(calls.acquire([small], set()))
        await asyncio.sleep(0.01)
        calls.record_failure(slot, Evidence("pause", pause_s=20))
        calls.end(slot)
        with pytest.raises(BusyError) as caught:
            await asyncio.wait_for(waiting, 1)
        return caught.value.status

    assert asyncio.run(main()) == 429


def test_calls_that_wait_probe_a_server_that_cools_down_one_by_one() -> None:
    async def main() -> tuple[int, int]:
        calls, small = pool(size=20, wait_s=5), card("a", limits=ONE_AT_A_TIME)
        deployment = calls.deployments_of(small)[0]
        slot = calls.begin(deployment)
        waiting = [asyncio.create_task(calls.acquire([small], set())) for _ in range(10)]
        await asyncio.sleep(0.01)
        calls.record_failure(slot)
        calls.end(slot)
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
    slot = calls.begin(deployment)
    calls.record_failure(slot)
    with pytest.raises(BusyError):
        chosen(calls, small)
    calls.end(slot)
    assert chosen(calls, small) == "a#1"


def affinity(of: Card, number: int, **kind: Any) -> Affinity:
    """The affinity to the server `number` of a card, from 0."""
    return Affinity(DeploymentPool(Cooldown(), QueueLimits()).deployments_of(of)[number].server, **kind)


def test_the_server_of_the_conversation_is_called_though_another_is_less_busy() -> None:
    calls, twice = pool(), card("a", servers=2)
    calls.begin(calls.deployments_of(twice)[1])
    assert asyncio.run(calls.acquire([twice], set(), affinity=affinity(twice, 1))).deployment.name == "a#2"


def test_a_server_that_cools_down_loses_its_conversations() -> None:
    calls, twice = pool(), card("a", servers=2)
    fails(calls, calls.deployments_of(twice)[1])
    for binds in (False, True):
        assert (
            asyncio.run(calls.acquire([twice], set(), affinity=affinity(twice, 1, binds=binds))).deployment.name
            == "a#1"
        )


def test_a_request_waits_for_the_only_server_that_can_read_it() -> None:
    async def waited() -> str:
        calls, twice = pool(), card("a", servers=2, limits=ONE_AT_A_TIME)
        second = calls.deployments_of(twice)[1]
        slot = calls.begin(second)
        waiting = asyncio.create_task(calls.acquire([twice], set(), affinity=affinity(twice, 1, binds=True)))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        calls.end(slot)
        return (await waiting).deployment.name

    assert asyncio.run(waited()) == "a#2"


def test_a_request_without_bound_parts_goes_elsewhere_when_it_has_waited_too_long() -> None:
    calls, twice = pool(size=1, wait_s=0.01), card("a", servers=2, limits=ONE_AT_A_TIME)
    calls.begin(calls.deployments_of(twice)[1])
    assert asyncio.run(calls.acquire([twice], set(), affinity=affinity(twice, 1, binds=True))).deployment.name == "a#1"


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


def test_a_card_that_fails_alone_is_probed_now_and_then_and_not_by_every_call() -> None:
    calls, dead = DeploymentPool(Cooldown(failures=3), QueueLimits()), card("a")
    begun = 0
    for _ in range(60):
        with contextlib.suppress(BusyError):
            slot = asyncio.run(calls.acquire([dead], set()))
            assert slot is not None
            begun += 1
            calls.record_failure(slot)
            calls.end(slot)
    assert begun == 4


def test_calls_that_wait_for_a_probe_are_answered_as_soon_as_it_fails() -> None:
    async def main() -> tuple[int, list[int | None]]:
        calls, dead = pool(), card("a")
        fails(calls, calls.deployments_of(dead)[0])
        probe = await calls.acquire([dead], set())
        assert probe is not None
        waiting = [asyncio.create_task(calls.acquire([dead], set())) for _ in range(3)]
        await asyncio.sleep(0.01)
        waited = calls.waiting
        calls.record_failure(probe)
        calls.end(probe)
        results = await asyncio.gather(*waiting, return_exceptions=True)
        return waited, [error.status if isinstance(error, BusyError) else None for error in results]

    assert asyncio.run(main()) == (3, [503, 503, 503])


def test_calls_that_wait_for_a_probe_begin_as_soon_as_its_answer_does() -> None:
    async def main() -> int:
        calls, back = pool(), card("a")
        fails(calls, calls.deployments_of(back)[0])
        probe = await calls.acquire([back], set())
        assert probe is not None
        waiting = [asyncio.create_task(calls.acquire([back], set())) for _ in range(3)]
        await asyncio.sleep(0.01)
        calls.record_answer(probe)
        return len([slot for slot in await asyncio.gather(*waiting) if slot is not None])

    assert asyncio.run(main()) == 3


@pytest.mark.parametrize(
    ("share", "cards", "closed"), [(0.5, 6, 3), (0.2, 6, 1), (0.0, 6, 1), (1.0, 6, 6), (0.5, 1, 1)]
)
def test_two_keys_close_no_more_than_a_share_of_the_cards_to_a_third(share: float, cards: int, closed: int) -> None:
    calls = DeploymentPool(Cooldown(share=share), QueueLimits())
    all_cards = [card(f"card-{number}") for number in range(cards)]
    calls.share_among(lambda: all_cards)
    for one in all_cards:
        for key in "ababab":
            fails(calls, calls.deployments_of(one)[0], key=key)
    assert len(calls.cooling_down("c")) == closed
    assert len(calls.cooling_down("a")) == cards


def test_half_of_the_servers_of_a_card_stay_open_to_others() -> None:
    calls, four = pool(), card("a", servers=4)
    calls.share_among(lambda: [four, *(card(f"other-{number}") for number in range(20))])
    for deployment in calls.deployments_of(four):
        for key in "abab":
            fails(calls, deployment, key=key)
    assert chosen(calls, four) == "a#3"


def test_refused_connections_close_all_cards_whatever_the_share_is() -> None:
    calls, all_cards = pool(), [card("a"), card("b"), card("c")]
    calls.share_among(lambda: all_cards)
    for one in all_cards:
        fails(calls, calls.deployments_of(one)[0], Evidence("cooldown", "provider"), key="a")
    assert set(calls.cooling_down("victim")) == {"a", "b", "c"}


def test_an_account_is_avoided_only_after_an_error_that_names_the_provider() -> None:
    paid = {"api_key_env": "FIRST_KEY", "base_url": "http://127.0.0.1:1/v1"}
    first, second = (msgspec.structs.replace(make_card(name, "http://127.0.0.1:1"), **paid) for name in "ab")
    for blame, expected in (("server", "b"), ("provider", "free")):
        calls = pool()
        slot = calls.begin(calls.deployments_of(first)[0], "evil")
        calls.record_failure(slot, Evidence("cooldown", blame), of_account=True)
        assert chosen(calls, second, make_card("free", "http://127.0.0.1:2")) == expected


def classes() -> Card:
    """A card with two servers for interactive requests, and one for batches."""
    places = (Place("http://127.0.0.1:1/v1"), Place("http://127.0.0.1:2/v1", profile="throughput"))
    return msgspec.structs.replace(make_card("a", "http://127.0.0.1:1"), base_url=None, deployments=places)


def begun(calls: DeploymentPool, *cards: Card, is_batch: bool) -> str:
    slot = asyncio.run(calls.acquire(cards, set(), is_batch=is_batch))
    assert slot is not None
    return slot.deployment.name


def test_a_flood_of_batches_never_occupies_a_server_for_interactive_requests() -> None:
    calls = pool()
    assert {begun(calls, classes(), card("b"), is_batch=True) for _ in range(50)} == {"a#2"}
    assert [begun(calls, classes(), is_batch=False) for _ in range(3)] == ["a#1"] * 3


def test_an_interactive_request_goes_to_a_server_for_batches_only_where_no_other_is_ready() -> None:
    calls, of_card = pool(), classes()
    fails(calls, calls.deployments_of(of_card)[0])
    assert begun(calls, of_card, card("b"), is_batch=False) == "b#1"
    assert begun(calls, of_card, is_batch=False) == "a#2"


def test_a_batch_goes_to_another_card_before_it_takes_a_server_for_interactive_requests() -> None:
    calls, of_card = pool(), classes()
    fails(calls, calls.deployments_of(of_card)[1])
    assert begun(calls, of_card, card("b"), is_batch=True) == "b#1"


@pytest.mark.parametrize("is_batch", [True, False])
def test_without_classes_all_requests_are_alike(is_batch: bool) -> None:
    calls, twice = pool(), card("a", servers=2)
    assert [begun(calls, twice, is_batch=is_batch) for _ in range(2)] == ["a#1", "a#2"]
    only = msgspec.structs.replace(make_card("c", "http://127.0.0.1:9"), profile="throughput")
    assert begun(calls, only, is_batch=is_batch) == "c"


def test_a_request_that_can_wait_does_not_hold_up_one_that_cannot() -> None:
    places = (
        Place("http://127.0.0.1:1/v1", rate_limits=ONE_AT_A_TIME),
        Place("http://127.0.0.1:2/v1", rate_limits=ONE_AT_A_TIME, profile="throughput"),
    )
    mixed = msgspec.structs.replace(make_card("m", "http://127.0.0.1:9"), base_url=None, deployments=places)

    async def main() -> str:
        deployments = pool()
        slow, fast = [await deployments.acquire([mixed], (), is_batch=is_batch) for is_batch in (True, False)]
        waiting = asyncio.create_task(deployments.acquire([mixed], (), is_batch=True))
        await asyncio.sleep(0)
        asking = asyncio.create_task(deployments.acquire([mixed], ()))
        await asyncio.sleep(0)
        assert slow is not None
        assert fast is not None
        deployments.end(fast)
        for _ in range(5):
            await asyncio.sleep(0)
        waiting.cancel()
        assert asking.done()
        got = asking.result()
        assert got is not None
        return got.deployment.name

    assert asyncio.run(main()) == "m#1"
