"""Adapters at a server that several gateways or workers use: none unloads what another one uses."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from router.cards import Card
from router.dispatch import Call
from router.dispatch.lora.api import AdapterServerError
from router.dispatch.lora.control import AdapterControl
from router.formats.quantities import Seconds
from router.gateway.app import make_app
from router.gateway.residency import RESIDENCY, SharedResidency
from router.store.state.loss import SharedState
from router.store.state.protocol import StateError, StateStore
from router.store.state.redis.store import RedisState
from router.store.state.redis.url import read_url
from router.store.state.sqlite import SqliteState
from tests.dispatch.lora.cards import CHAT, at
from tests.dispatch.lora.cards import make_cards as cards_by_id
from tests.dispatch.lora.scripted import ScriptedVllm, running
from tests.gateway.adapters.process import client_of, gateway
from tests.gateway.adapters.setup import make_cards, router_of
from tests.gateway.servers import make_gateway, served
from tests.redis_server import needs_redis, redis_server, with_prefix


class Watched(ScriptedVllm):
    """A vLLM server that counts what no gateway should do: unload an adapter in use, load one too many, call one that
    is not there.
    """

    def __init__(self, slots: int) -> None:
        super().__init__(slots)
        self.mistakes: list[str] = []

    async def load(self, request: Request) -> Response:
        answer = await super().load(request)
        if len(self.adapters) > self.cpu_slots:
            self.mistakes.append("too many")
        return answer

    async def unload(self, request: Request) -> Response:
        if (name := (await self.body(request))["lora_name"]) in self._running:
            self.mistakes.append(f"{name} was in use")
        return await super().unload(request)

    async def chat(self, request: Request) -> Response:
        answer = await super().chat(request)
        if answer.status_code != 200:
            self.mistakes.append("missing")
        return answer


class Process:
    """One gateway, as far as adapters go."""

    def __init__(self, cards: dict[str, Card], state: StateStore | None, clock_s: list[float]) -> None:
        self.cards, self.control = cards, AdapterControl()
        self.control.configure(cards.values())
        self.residency = SharedResidency(self.control, state, lambda: clock_s[0])

    async def hold(self, card: str, within_s: float = 5.0) -> Callable[[], None]:
        """Use an adapter until the value is called."""
        async with asyncio.timeout(within_s):
            return (await self.control.hold(at(self.cards[card]), Call("chat", CHAT))).release

    async def waits(self, card: str) -> bool:
        """Whether there is no room for an adapter, as far as a short wait shows."""
        try:
            (await self.hold(card, 0.3))()
        except TimeoutError:
            return True
        return False


async def holding(process: Process, card: str, beside: Process) -> Callable[[], None]:
    """Use an adapter as soon as another process leaves room for it."""
    task = asyncio.create_task(process.hold(card))
    while not task.done():
        await asyncio.sleep(0.01)
        await process.residency.refresh()
        await beside.residency.refresh()
    return task.result()


Use = Callable[[Process, Process], Awaitable[None]]


@pytest.fixture
def server() -> Iterator[Watched]:
    with running(server := Watched(1)):
        yield server


@pytest.fixture
def clock_s() -> list[float]:
    return [1000.0]


@pytest.fixture
def two(server: Watched, tmp_path: Path, clock_s: list[float]) -> Callable[[Use], None]:
    def run(use: Use) -> None:
        async def main() -> None:
            states = [SqliteState(tmp_path / "state.sqlite") for _ in range(2)]
            here, there = (Process(cards_by_id(server.url, slots=1), state, clock_s) for state in states)
            try:
                await use(here, there)
            finally:
                await here.control.aclose()
                await there.control.aclose()

        asyncio.run(main())

    return run


def test_an_adapter_in_use_at_another_gateway_is_not_unloaded_until_it_is_used_no_longer(
    two: Callable[[Use], None], server: Watched
) -> None:
    async def use(here: Process, there: Process) -> None:
        release = await here.hold("a")
        await here.residency.refresh()
        assert await there.waits("b")
        release()
        (await holding(there, "b", beside=here))()
        assert list(server.adapters) == ["b"]

    two(use)
    assert server.mistakes == []


def test_a_use_that_began_a_moment_ago_is_known_before_the_next_round(two: Callable[[Use], None]) -> None:
    async def use(here: Process, there: Process) -> None:
        (await here.hold("a"))()
        await there.residency.refresh()
        await there.hold("a")
        # The first process has not applied this yet.
        assert await here.waits("b")

    two(use)


def test_an_adapter_that_another_gateway_has_replaced_is_not_called(
    two: Callable[[Use], None], server: Watched
) -> None:
    async def use(here: Process, there: Process) -> None:
        (await here.hold("a"))()
        # What was used a moment ago counts as used, except where another one waits.
        (await holding(there, "b", beside=here))()
        assert list(server.adapters) == ["b"]
        await holding(here, "a", beside=there)
        assert list(server.adapters) == ["a"]

    two(use)
    assert server.mistakes == []


def test_what_a_killed_gateway_used_may_be_unloaded_after_some_seconds(
    two: Callable[[Use], None], clock_s: list[float]
) -> None:
    async def use(here: Process, there: Process) -> None:
        await here.hold("a")
        await here.residency.refresh()
        assert await there.waits("b")
        clock_s[0] += 9
        await there.residency.refresh()
        assert not await there.waits("b")

    two(use)


def test_a_use_that_goes_on_is_published_again(two: Callable[[Use], None], clock_s: list[float]) -> None:
    async def use(here: Process, there: Process) -> None:
        await here.hold("a")
        for _ in range(5):
            clock_s[0] += 3
            await here.residency.refresh()
        await there.residency.refresh()
        assert await there.waits("b")

    two(use)


def test_an_operator_cannot_unload_what_another_gateway_uses(two: Callable[[Use], None]) -> None:
    async def use(here: Process, there: Process) -> None:
        await here.hold("a")
        await there.control.sweep()
        with pytest.raises(AdapterServerError):
            await there.control.unload(next(iter(there.control.managed)), "a")

    two(use)


def test_a_process_that_does_nothing_writes_nothing(
    two: Callable[[Use], None], tmp_path: Path, clock_s: list[float]
) -> None:
    async def use(here: Process, there: Process) -> None:
        for _ in range(3):
            clock_s[0] += 10
            await here.residency.refresh()
            await there.residency.refresh()
        assert await SqliteState(tmp_path / "state.sqlite").blobs_after(0, RESIDENCY) == ()

    two(use)


def test_how_many_calls_wait_is_published_once_a_second_however_many_come(
    two: Callable[[Use], None], tmp_path: Path, clock_s: list[float]
) -> None:
    async def use(here: Process, there: Process) -> None:
        release = await here.hold("a")
        await there.residency.refresh()
        waiting = [asyncio.create_task(there.hold("b"))]
        while not there.control.is_waited_for:
            await asyncio.sleep(0.01)
        await there.residency.refresh()
        reader = SqliteState(tmp_path / "state.sqlite")
        published = (await reader.blobs_after(0, RESIDENCY))[0].version
        for _ in range(3):
            waiting.append(asyncio.create_task(there.hold("b")))
            await asyncio.sleep(0.01)
            await there.residency.refresh()
        assert (await reader.blobs_after(0, RESIDENCY))[0].version == published
        clock_s[0] += 1
        await there.residency.refresh()
        assert (await reader.blobs_after(0, RESIDENCY))[0].version > published
        release()
        for task in waiting:
            task.cancel()

    two(use)


def test_the_state_names_no_address(two: Callable[[Use], None], tmp_path: Path) -> None:
    async def use(here: Process, _: Process) -> None:
        await here.hold("a")
        await here.residency.refresh()
        (blob,) = await SqliteState(tmp_path / "state.sqlite").blobs_after(0, RESIDENCY)
        assert b'"used":["a"]' in blob.content
        assert "127.0.0.1" not in blob.name + blob.content.decode()

    two(use)


def test_without_the_state_a_gateway_acts_alone(server: Watched, clock_s: list[float]) -> None:
    class Lost(SqliteState):
        async def blobs_after(self, version: int, prefix: str) -> tuple[()]:
            raise StateError("lost")

    async def main() -> None:
        process = Process(cards_by_id(server.url, slots=1), Lost(), clock_s)
        try:
            for card in ("a", "b", "a", "a"):
                (await process.hold(card))()
                await process.residency.refresh()
        finally:
            await process.control.aclose()

    asyncio.run(main())
    assert list(server.adapters) == ["a"]


def test_a_server_that_a_reload_removes_meanwhile_forbids_nothing(server: Watched, clock_s: list[float]) -> None:
    async def run() -> None:
        process = Process(cards_by_id(server.url, slots=1), SqliteState(), clock_s)
        address = next(iter(process.control.managed))
        read = process.residency._reread

        async def reloading(*arguments: Any) -> None:
            await read(*arguments)
            process.control.configure(())

        process.residency._reread = reloading  # type: ignore[method-assign]
        assert await process.residency.agree(address, "poet", ())
        await process.residency.refresh()
        await process.control.aclose()

    asyncio.run(run())


def test_a_gateway_without_servers_of_adapters_asks_the_state_nothing(clock_s: list[float]) -> None:
    class Unused(SqliteState):
        async def blobs_after(self, version: int, prefix: str) -> tuple[()]:
            raise AssertionError("asked")

    async def main() -> None:
        await Process({}, Unused(), clock_s).residency.refresh()
        await Process({}, None, clock_s).residency.run()

    asyncio.run(main())


async def ask_all(urls: list[str], names: list[str], count: int, at_once: int) -> list[tuple[int, str]]:
    """The wrong answers to calls of adapters in turn at all gateways."""
    draw = random.Random(5)
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(client_of(url)) for url in urls]

        async def one(client: Any) -> list[tuple[int, str]]:
            asked = [draw.choice(names) for _ in range(count)]
            answers = [(name, await client.chat(name)) for name in asked]
            return [answer for name, answer in answers if answer != (200, name)]

        wrong = await asyncio.gather(*(one(client) for client in clients for _ in range(at_once)))
    return [answer for each in wrong for answer in each]


@needs_redis
def test_no_call_of_two_gateways_on_redis_loses_its_adapter() -> None:
    rules = SharedState(timeout_s=Seconds(10))
    names = ["a", "b", "c", "d"]
    with redis_server() as redis, running(server := Watched(2)):
        server.chat_s, server.load_s = 0.05, 0.02
        url, cards = with_prefix(redis.url), make_cards([server.url], names, slots=2)
        with contextlib.ExitStack() as stack:
            states = [RedisState(read_url(url), hold_s=30.0, rules=lambda: rules) for _ in range(2)]
            gateways = [make_gateway(router_of(cards), state=state, remote=state) for state in states]
            urls = [stack.enter_context(served(make_app(each))) for each in gateways]
            assert asyncio.run(ask_all(urls, names, 8, 3)) == []
    assert server.mistakes == []
    assert server.most_at_once == 2


def test_no_call_of_two_workers_loses_its_adapter(tmp_path: Path) -> None:
    names = ["a", "b", "c"]
    with running(server := Watched(1)):
        server.chat_s = 0.05
        with gateway(tmp_path, make_cards([server.url], names, slots=1), arguments=("--workers", "2")) as url:
            assert asyncio.run(ask_all([url, url], names, 4, 3)) == []
    assert server.mistakes == []
    assert server.most_at_once == 1
