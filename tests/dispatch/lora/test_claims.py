"""Every call that needs an adapter has a claim to a slot of its server, however it gets there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from router.cards import Card
from router.cards.servers import Place
from router.dispatch import Call
from router.dispatch.connection.raw import RawRequest
from router.dispatch.pool.deployment import Deployment, Slot
from router.dispatch.pool.pool import DeploymentPool
from router.types import Attempt
from tests.dispatch.lora.cards import CHAT, make_cards
from tests.dispatch.lora.scripted import ScriptedVllm, running
from tests.dispatch.lora.test_dispatched import Dispatched, dispatched


def in_use(slot: Slot | None, calls: Dispatched) -> dict[str, int]:
    """The adapters at the server of a slot, and how many calls use each."""
    assert slot is not None
    (server,) = (each for each in calls.dispatcher.adapters.status() if each.server == slot.deployment.card.base_url)
    return {each.name: each.uses for each in server.adapters}


async def waits_for_the_slot(
    calls: Dispatched, other: Slot | None, avoids: Callable[[Deployment], bool] = lambda _: False
) -> None:
    """A call of `a` begins only when the call of the other adapter has ended, and is counted from then on."""
    pool = calls.dispatcher.pool
    waiting = asyncio.create_task(pool.acquire([calls.cards["a"]], (), avoids))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    assert other is not None
    assert in_use(other, calls) == {"b": 1}
    pool.end(other)
    slot = await waiting
    assert in_use(slot, calls) == {"b": 0, "a": 1}
    assert slot is not None
    pool.end(slot)


def fails(pool: DeploymentPool, deployment: Deployment) -> None:
    slot = pool.begin(deployment)
    pool.record_failure(slot)
    pool.end(slot)


def test_a_call_at_a_spare_server_waits_for_its_slot() -> None:
    async def use(calls: Dispatched) -> None:
        pool = calls.dispatcher.pool
        await calls.dispatcher.adapters.sweep()
        for _ in range(pool.cooldown.failures):
            fails(pool, pool.deployments_of(calls.cards["a"])[0])
        await waits_for_the_slot(calls, await pool.acquire([calls.cards["b"]], (), is_batch=True))

    servers = [ScriptedVllm(cpu_slots=1), ScriptedVllm(cpu_slots=1)]
    with running(*servers):
        places = Place(f"{servers[0].url}/v1"), Place(f"{servers[1].url}/v1", profile="throughput")
        cards = make_cards([server.url for server in servers], slots=1)
        dispatched({name: msgspec.structs.replace(card, deployments=places) for name, card in cards.items()}, use)


def test_a_call_at_a_server_that_is_called_last_waits_for_its_slot() -> None:
    async def use(calls: Dispatched) -> None:
        await calls.dispatcher.adapters.sweep()
        other = await calls.dispatcher.pool.acquire([calls.cards["b"]], ())
        await waits_for_the_slot(calls, other, avoids=lambda _: True)

    with running(server := ScriptedVllm(cpu_slots=1)):
        dispatched(make_cards(server.url, slots=1), use)


def test_a_call_that_probes_a_failing_deployment_waits_for_its_slot() -> None:
    async def use(calls: Dispatched) -> None:
        pool = calls.dispatcher.pool
        await calls.dispatcher.adapters.sweep()
        for _ in range(pool.cooldown.failures):
            fails(pool, pool.deployments_of(calls.cards["a"])[0])
        await waits_for_the_slot(calls, await pool.acquire([calls.cards["b"]], ()))

    with running(server := ScriptedVllm(cpu_slots=1)):
        dispatched(make_cards(server.url, slots=1), use)


@pytest.mark.parametrize("variables", [None, ("FIRST_KEY", "SECOND_KEY")])
def test_the_slots_of_a_server_with_several_keys_are_counted_once(
    variables: tuple[str, ...] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in variables or ():
        monkeypatch.setenv(variable, "secret")

    async def use(calls: Dispatched) -> None:
        pool = calls.dispatcher.pool
        await calls.dispatcher.adapters.sweep()
        # Three quarters of the slots may be those of one tenant.
        held = [await pool.acquire([calls.cards[name]], (), tenant="t") for name in "abc"]
        waiting = asyncio.create_task(pool.acquire([calls.cards["d"]], (), tenant="t"))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        other = await pool.acquire([calls.cards["e"]], (), tenant="other")
        assert in_use(other, calls) | {"d": 0} == {**dict.fromkeys("abce", 1), "d": 0}
        for slot in (*held, other):
            assert slot is not None
            pool.end(slot)
        got = await waiting
        assert got is not None
        pool.end(got)

    with running(server := ScriptedVllm(cpu_slots=4)):
        dispatched(make_cards(server.url, slots=4, adapters="abcde", api_key_env=variables), use)


def messages_cards(url: str) -> dict[str, Card]:
    return make_cards(url, slots=1, apis=("chat", "messages"))


def test_tokens_are_counted_by_a_server_once_it_has_the_adapter() -> None:
    async def use(calls: Dispatched) -> Any:
        await calls.dispatcher.adapters.sweep()
        response = await calls.dispatcher.count_tokens(calls.cards["a"], Call("messages", {**CHAT, "max_tokens": 1}))
        assert response is not None
        assert (response.status, response.body) == (200, b'{"input_tokens":3}')

    with running(server := ScriptedVllm(cpu_slots=1)):
        dispatched(messages_cards(server.url), use)
    assert server.loads("a") == 1


def test_tokens_are_not_counted_by_a_server_without_room_for_the_adapter() -> None:
    async def use(calls: Dispatched) -> None:
        await calls.dispatcher.adapters.sweep()
        other = await calls.dispatcher.pool.acquire([calls.cards["b"]], ())
        counting = calls.dispatcher.count_tokens(calls.cards["a"], Call("messages", {**CHAT, "max_tokens": 1}))
        assert await asyncio.wait_for(counting, 1) is None
        assert other is not None
        calls.dispatcher.pool.end(other)

    with running(server := ScriptedVllm(cpu_slots=1)):
        dispatched(messages_cards(server.url), use)


def test_what_a_server_has_stored_is_fetched_without_the_adapter_that_wrote_it() -> None:
    async def use(calls: Dispatched) -> None:
        raw = RawRequest("GET", "responses/resp_1")
        attempts: list[Attempt] = []
        response = await calls.dispatcher.send_to(calls.cards["a"], "a", Call("responses", {}, raw=raw), attempts)
        assert response.status == 200

    with running(server := ScriptedVllm(cpu_slots=1)):
        dispatched(make_cards(server.url, slots=1), use)
    assert server.loads() == 0


def test_an_adapter_is_not_sought_at_a_server_that_has_restarted() -> None:
    async def use(calls: Dispatched) -> None:
        control = calls.dispatcher.adapters
        await calls.text("a")
        first, second = (pool_of := calls.dispatcher.pool).deployments_of(calls.cards["a"])
        holder = next(each for each in (first, second) if control.is_loaded(each))
        control.have_restarted([holder])
        assert not control.is_loaded(holder)
        assert control.order(calls.cards["a"], (first, second), lambda _: 0)
        assert await calls.text("a") == "a"
        assert pool_of.waiting == 0

    servers = [ScriptedVllm(), ScriptedVllm()]
    with running(*servers):
        dispatched(make_cards([server.url for server in servers]), use)


def test_an_adapter_that_was_not_called_yet_works_where_another_one_answers() -> None:
    async def use(calls: Dispatched) -> None:
        pool = calls.dispatcher.pool
        await calls.text("a")
        untried = [pool.begin(pool.deployments_of(calls.cards["b"])[0]) for _ in range(2)]
        assert [pool.standing(slot) for slot in untried] == ["works", "works"]
        failing = pool.begin(pool.deployments_of(calls.cards["a"])[0])
        pool.record_failure(failing)
        assert pool.standing(untried[0]) == "unknown"
        for slot in (*untried, failing):
            pool.end(slot)

    with running(server := ScriptedVllm()):
        dispatched(make_cards(server.url), use)
