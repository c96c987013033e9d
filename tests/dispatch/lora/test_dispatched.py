"""Calls of adapters by way of the dispatcher, at servers that restart, fail and are full."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from router.cards import Card
from router.cards.servers import Place
from router.dispatch import Call, Dispatcher, DispatchSettings
from router.types import Attempt
from tests.dispatch.lora.cards import CHAT, make_cards
from tests.dispatch.lora.scripted import ScriptedServer, ScriptedSglang, ScriptedVllm, running

LOADING: list[tuple[str, Callable[[], Any]]] = [("vllm", ScriptedVllm), ("sglang", ScriptedSglang)]


class Dispatched:
    """A dispatcher for these cards. Use it on one event loop."""

    def __init__(self, cards: dict[str, Card]) -> None:
        self.cards = cards
        self.dispatcher = Dispatcher(DispatchSettings(retries=0))
        self.dispatcher.adapters.configure(cards.values())
        self.attempts: list[Attempt] = []

    async def text(self, card: str, stream: bool = False) -> str:
        """The text of an answer."""
        body = {**CHAT, "stream": stream}
        response = await self.dispatcher.send_first_healthy(
            [self.cards[card]], Call("chat", body, stream), self.attempts
        )
        if not isinstance(response.body, bytes):
            await response.body.whole()
            await response.body.aclose()
            return "streamed"
        return str(json.loads(response.body)["choices"][0]["message"]["content"])


def dispatched(cards: dict[str, Card], use: Callable[[Dispatched], Any]) -> None:
    async def main() -> None:
        calls = Dispatched(cards)
        try:
            await use(calls)
        finally:
            await calls.dispatcher.aclose()

    asyncio.run(main())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("kind", "make"), LOADING)
def test_a_restart_of_the_server_fails_no_call(kind: str, make: Callable[[], Any], stream: bool) -> None:
    async def use(calls: Dispatched) -> None:
        await calls.text("a", stream)
        server.restart()
        await asyncio.gather(*(calls.text("a", stream) for _ in range(20)))

    with running(server := make()):
        dispatched(make_cards(server.url, kind), use)
    assert server.loads("a") == 2


def test_a_server_on_which_an_adapter_cannot_be_loaded_is_passed_over() -> None:
    async def use(calls: Dispatched) -> None:
        for server in servers:
            server.absent_paths.add("/adapters/a")
        servers[1].absent_paths.clear()
        assert [await calls.text("a") for _ in range(3)] == ["a"] * 3
        assert [await calls.text(card) for card in ("b", "base")] == ["b", "base-model"]

    servers: list[ScriptedServer] = [ScriptedVllm(), ScriptedVllm()]
    with running(*servers):
        dispatched(make_cards([server.url for server in servers]), use)
    assert servers[0].loads("a") <= 1


def test_many_clients_of_many_adapters_are_all_answered_by_few_slots() -> None:
    names = [f"adapter-{number}" for number in range(8)]

    async def use(calls: Dispatched) -> None:
        async def client(number: int) -> None:
            for turn in range(4):
                name = names[(number * 3 + turn) % len(names)]
                assert await calls.text(name) == name

        await asyncio.gather(*map(client, range(24)))

    servers = [ScriptedVllm(cpu_slots=2), ScriptedVllm(cpu_slots=2)]
    for server in servers:
        server.load_s, server.chat_s = 0.01, 0.005
    with running(*servers):
        dispatched(make_cards([server.url for server in servers], adapters=names, slots=2), use)
    assert [server.lazy_loads for server in servers] == [0, 0]
    assert max(server.most_at_once for server in servers) <= 2


def test_a_tenant_that_has_its_share_of_the_slots_waits_for_its_adapter() -> None:
    async def use(calls: Dispatched) -> None:
        pool, cards = calls.dispatcher.pool, calls.cards
        await calls.dispatcher.adapters.sweep()
        held = [await pool.acquire([cards[name]], (), tenant="t") for name in "abc"]
        waiting = asyncio.create_task(pool.acquire([cards["d"], cards["base"]], (), tenant="t"))
        await asyncio.sleep(0)
        assert not waiting.done()
        for slot in held:
            assert slot is not None
            pool.end(slot)
        got = await waiting
        assert got is not None
        assert got.deployment.card.id == "d"
        pool.end(got)

    with running(server := ScriptedVllm(cpu_slots=4)):
        dispatched(make_cards(server.url, slots=4, adapters="abcd"), use)


def test_a_request_that_can_wait_waits_for_its_adapter_at_the_servers_for_such_requests() -> None:
    async def use(calls: Dispatched) -> None:
        pool, cards = calls.dispatcher.pool, calls.cards
        await calls.dispatcher.adapters.sweep()
        held = await pool.acquire([cards["a"]], (), is_batch=True)
        waiting = asyncio.create_task(pool.acquire([cards["b"], cards["base"]], (), is_batch=True))
        await asyncio.sleep(0)
        assert not waiting.done()
        assert held is not None
        pool.end(held)
        got = await waiting
        assert got is not None
        assert (got.deployment.card.id, got.deployment.for_batches) == ("b", True)
        pool.end(got)

    servers = [ScriptedVllm(cpu_slots=1), ScriptedVllm(cpu_slots=1)]
    with running(*servers):
        places = Place(f"{servers[0].url}/v1"), Place(f"{servers[1].url}/v1", profile="throughput")
        cards = make_cards([server.url for server in servers], slots=1)
        dispatched({name: msgspec.structs.replace(card, deployments=places) for name, card in cards.items()}, use)
