"""Adapters behind a gateway and scripted servers: slots, restarts, times, reloads, hostile clients. The gateway is a
real `route serve` where its files and workers matter, and otherwise in this process.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from starlette.requests import Request
from starlette.responses import Response

from router.dispatch import Timeouts
from router.formats.quantities import Seconds
from tests.dispatch.lora.scripted import ScriptedLorax, ScriptedServer, ScriptedSglang, ScriptedVllm, running
from tests.gateway.adapters.process import Client, client_of, gateway, rewrite, until
from tests.gateway.adapters.setup import gateway_here, make_cards
from tests.gateway.servers import with_timeouts

MANY = [f"a{number:04}" for number in range(2000)]
HOSTILE = [
    "../../etc/passwd",
    "/adapters/a0001",
    "a9999",
    "a0001/../a0002",
    "base:a0001",
    "base-model:a0001",
    "a0001\u0000",
    "%2e%2e",
    "http://127.0.0.1/x",
]


class Counted(ScriptedVllm):
    """A vLLM server that notes the most adapters that it had at once."""

    most = 0

    async def load(self, request: Request) -> Response:
        answer = await super().load(request)
        self.most = max(self.most, len(self.adapters))
        return answer


Crowd = tuple[str, tuple[Counted, Counted]]


def power_law(count: int, of: int, seed: int = 0) -> list[int]:
    """Ranks of requests: few are frequent, most are rare (S-LoRA's exponent of 1)."""
    weights = [1 / (rank + 1) for rank in range(of)]
    return random.Random(seed).choices(range(of), weights, k=count)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd]:
    """2,000 adapters on two servers of 8 slots, behind one gateway."""
    servers = Counted(cpu_slots=8), Counted(cpu_slots=8)
    with running(*servers):
        cards = make_cards([server.url for server in servers], MANY, slots=8, pinned=("a0000",))
        folder = tmp_path_factory.mktemp("crowd")
        with gateway(folder, cards, queue={"size": 4096, "wait": "60s"}) as url:
            yield url, servers


async def reached(server: ScriptedServer, chats: int) -> None:
    """Wait until the server was asked for so many answers."""
    async with asyncio.timeout(20):
        while len(server.chats) < chats:
            await asyncio.sleep(0.01)


async def ask_all(client: Client, names: list[str], at_once: int, key: str = "") -> list[tuple[int, str]]:
    gate = asyncio.Semaphore(at_once)

    async def one(name: str) -> tuple[int, str]:
        async with gate:
            return await client.chat(name, key)

    return await asyncio.gather(*map(one, names))


def total(metrics: dict[str, float], what: str) -> float:
    return sum(value for name, value in metrics.items() if name.startswith(f"pulvinar_adapter_{what}_total"))


def test_two_thousand_adapters_are_served_by_eight_slots(crowd: Crowd) -> None:
    url, servers = crowd
    names = [MANY[rank] for rank in power_law(300, len(MANY))]

    async def main() -> tuple[list[tuple[int, str]], dict[str, float]]:
        async with client_of(url) as client:
            answers = await ask_all(client, names, 32)

            async def are_counted() -> bool:
                return total(await client.metrics(), "loads") == sum(server.loads() for server in servers)

            # Processes share what they count once a second.
            assert await until(are_counted)
            return answers, await client.metrics()

    answers, metrics = asyncio.run(main())
    assert answers == [(200, name) for name in names]
    assert max(server.most for server in servers) <= 8
    assert sum(server.lazy_loads for server in servers) == 0
    for number in (1, 2):
        label = f'{{server="base#{number}"}}'
        assert metrics[f"pulvinar_adapters_resident{label}"] <= metrics[f"pulvinar_adapter_slots{label}"] == 8
    assert total(metrics, "loads") + total(metrics, "hits") >= len(names)


def test_an_adapter_that_is_not_loaded_is_a_candidate(crowd: Crowd) -> None:
    url, servers = crowd
    assert not any("a1500" in server.adapters for server in servers)

    async def main() -> tuple[int, str]:
        async with client_of(url) as client:
            return await client.chat("auto[card=a1500]")

    assert asyncio.run(main()) == (200, "a1500")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_that_is_no_card_never_reaches_a_load(crowd: Crowd, name: str) -> None:
    url, servers = crowd
    before = sum(server.loads() for server in servers)

    async def main() -> tuple[int, str]:
        async with client_of(url) as client:
            return await client.chat(name)

    assert asyncio.run(main())[0] == 404
    assert sum(server.loads() for server in servers) == before


def test_a_client_that_names_adapters_in_turn_evicts_no_pinned_one(crowd: Crowd) -> None:
    url, servers = crowd

    async def main() -> tuple[set[int], int]:
        async with client_of(url) as client:
            await client.chat("a0000")
            before = sum(server.loads("a0000") for server in servers)
            answers = await ask_all(client, MANY[100:200], 16)
            await client.chat("a0000")
            return {status for status, _ in answers}, sum(server.loads("a0000") for server in servers) - before

    statuses, reloads = asyncio.run(main())
    assert statuses == {200}
    assert reloads == 0


@pytest.mark.parametrize(
    "server", [ScriptedVllm(8), ScriptedSglang(8), ScriptedLorax()], ids=["vllm", "sglang", "lorax"]
)
def test_what_a_client_writes_of_adapters_is_left_out(server: ScriptedServer) -> None:
    kind = {"ScriptedVllm": "vllm", "ScriptedSglang": "sglang", "ScriptedLorax": "lorax"}[type(server).__name__]
    own = {"lora_path": "/etc", "adapter_id": "x", "adapter_source": "local", "lora": [{"id": 0, "scale": 1}]}
    with running(server):
        cards = make_cards([server.url], ("a", "b"), server=kind, slots=8)
        with gateway_here(cards) as url:

            async def main() -> tuple[list[tuple[int, str]], str]:
                async with client_of(url) as client:
                    answers = [await client.chat(name, **own) for name in ("auto[card=a]", "base")]
                    return answers, await client.dropped("a", **own)

            answers, dropped = asyncio.run(main())
    name = "/adapters/a" if kind == "lorax" else "a"
    assert answers == [(200, name), (200, "base-model")]
    assert dropped == "adapter_id, adapter_source, lora, lora_path"
    sent = [str(body) for body in server.chats]
    assert not any("/etc" in body or "'x'" in body or "scale" in body for body in sent)
    assert not any(isinstance(body, dict) and "/etc" in str(body) for _, body in server.asked)


def test_one_key_that_uses_every_slot_does_not_starve_another() -> None:
    server = ScriptedVllm(2)
    server.chat_s, server.load_s = 0.1, 0.02
    with running(server):
        cards = make_cards([server.url], [f"g{number}" for number in range(12)] + ["own"], slots=2)
        with gateway_here(cards, ("greedy", "modest")) as url:

            async def main() -> list[tuple[int, str]]:
                async with client_of(url) as client:
                    stop = asyncio.Event()

                    async def greedy(number: int) -> None:
                        while not stop.is_set():
                            await client.chat(f"g{number % 12}", "greedy")

                    tasks = [asyncio.create_task(greedy(number)) for number in range(36)]
                    await reached(server, 6)
                    answers = [await asyncio.wait_for(client.chat("own", "modest"), 25) for _ in range(5)]
                    stop.set()
                    await asyncio.gather(*tasks)
                    return answers

            assert asyncio.run(main()) == [(200, "own")] * 5


def test_long_calls_of_one_key_leave_slots_to_another() -> None:
    server = ScriptedVllm(4)
    with running(server):
        cards = make_cards([server.url], [f"g{number}" for number in range(8)] + ["own"], slots=4)
        config = with_timeouts(Timeouts(total_s=Seconds(60)))
        with gateway_here(cards, ("greedy", "modest"), config) as url:

            async def main() -> tuple[tuple[int, str], int]:
                async with client_of(url) as client:
                    server.chat_s = 20.0
                    tasks = [asyncio.create_task(client.chat(f"g{number}", "greedy")) for number in range(8)]
                    await reached(server, 3)
                    # A fourth would follow at once.
                    await asyncio.sleep(0.4)
                    held = len(server.chats)
                    server.chat_s = 0.0
                    answer = await asyncio.wait_for(client.chat("own", "modest"), 18)
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)
                    return answer, held

            assert asyncio.run(main()) == ((200, "own"), 3)


def test_adapters_that_are_always_in_use_give_way_to_one_that_waits() -> None:
    server = ScriptedVllm(2)
    server.chat_s = 0.2
    with running(server):
        cards = make_cards([server.url], ("x", "y", "rare"), slots=2)
        with gateway_here(cards) as url:

            async def main() -> tuple[int, str]:
                async with client_of(url) as client:
                    stop = asyncio.Event()

                    async def hot(name: str, delay_s: float) -> None:
                        await asyncio.sleep(delay_s)
                        while not stop.is_set():
                            await client.chat(name)

                    tasks = [asyncio.create_task(hot(name, part / 20)) for name in ("x", "y") for part in range(8)]
                    # All sixteen, which began a twentieth of a second apart, have been answered or are now.
                    await reached(server, 24)
                    answer = await asyncio.wait_for(client.chat("rare"), 5)
                    stop.set()
                    await asyncio.gather(*tasks)
                    return answer

            assert asyncio.run(main()) == (200, "rare")
    assert server.most_at_once <= 2


@pytest.mark.parametrize("server", [ScriptedVllm(4), ScriptedSglang(4)], ids=["vllm", "sglang"])
def test_a_server_that_restarts_in_the_middle_loses_no_request(server: ScriptedServer) -> None:
    kind = "vllm" if isinstance(server, ScriptedVllm) else "sglang"
    names = [f"a{rank}" for rank in power_law(200, 12, seed=1)]
    with running(server):
        cards = make_cards([server.url], sorted(set(names)), server=kind, slots=4)
        with gateway_here(cards) as url:

            async def main() -> list[tuple[int, str]]:
                async with client_of(url) as client:
                    asking = asyncio.create_task(ask_all(client, names, 6))
                    for restart in range(1, 7):
                        await reached(server, 25 * restart)
                        server.restart()
                    return await asking

            assert asyncio.run(main()) == [(200, name) for name in names]


def test_while_one_of_two_servers_is_down_the_other_answers() -> None:
    servers = ScriptedVllm(4), ScriptedVllm(4)
    names = [f"a{rank}" for rank in power_law(150, 12, seed=2)]
    with running(*servers):
        cards = make_cards([server.url for server in servers], sorted(set(names)), slots=4)
        with gateway_here(cards) as url:

            async def main() -> list[tuple[int, str]]:
                async with client_of(url) as client:
                    asking = asyncio.create_task(ask_all(client, names, 6))
                    await reached(servers[0], 20)
                    servers[0].is_down = True
                    await reached(servers[1], len(servers[1].chats) + 50)
                    servers[0].restart()
                    servers[0].is_down = False
                    return await asking

            assert asyncio.run(main()) == [(200, name) for name in names]


def test_an_adapter_is_unloaded_soon_after_its_time() -> None:
    server = ScriptedVllm(4)
    with running(server):
        cards = make_cards([server.url], ("a", "b"), slots=4, facts={"a": {"ttl_s": Seconds(0.3)}})
        with gateway_here(cards) as url:

            async def main() -> bool:
                async with client_of(url) as client:
                    await client.chat("a")
                    await client.chat("b")

                    async def is_gone() -> bool:
                        return "a" not in server.adapters

                    return await until(is_gone)

            assert asyncio.run(main())
    assert list(server.adapters) == ["b"]


def test_an_adapter_whose_card_is_removed_is_unloaded(tmp_path: Path) -> None:
    server = ScriptedVllm(4)
    with running(server):
        cards = make_cards([server.url], ("a", "b"), slots=4)
        with gateway(tmp_path, cards) as url:

            async def main() -> tuple[bool, tuple[int, str]]:
                async with client_of(url) as client:
                    await client.chat("a")
                    rewrite(tmp_path, (), without=["a"])

                    async def is_gone() -> bool:
                        return "a" not in server.adapters

                    gone = await until(is_gone)
                    return gone, await client.chat("a")

            gone, (status, _) = asyncio.run(main())
    assert gone
    assert status == 404


def test_workers_see_what_the_others_load(tmp_path: Path) -> None:
    server = Counted(cpu_slots=3)
    names = [f"a{rank}" for rank in power_law(120, 6, seed=3)]
    with running(server):
        cards = make_cards([server.url], sorted(set(names)), slots=3)
        with gateway(tmp_path, cards, arguments=("--workers", "2")) as url:

            async def main() -> list[tuple[int, str]]:
                async with client_of(url) as client:
                    return await ask_all(client, names, 4)

            assert asyncio.run(main()) == [(200, name) for name in names]


def test_a_slow_server_of_adapters_delays_neither_readiness_nor_others() -> None:
    slow, quick = ScriptedVllm(4), ScriptedVllm(4)
    slow.load_s = 30.0
    with running(slow, quick):
        cards = make_cards([slow.url], ("a",), slots=2, load_timeout_s=2.0)
        other, adapter = make_cards([quick.url], ("z",), slots=2)
        cards += [msgspec.structs.replace(other, id="other"), msgspec.structs.replace(adapter, base="other")]
        with gateway_here(cards) as url:

            async def main() -> tuple[tuple[int, str], tuple[int, str], int]:
                async with client_of(url) as client:
                    waiting = asyncio.create_task(client.chat("a"))

                    async def is_loading() -> bool:
                        return slow.loads("a") == 1

                    assert await until(is_loading)
                    quickly = await asyncio.wait_for(client.chat("z"), 1.5)
                    ready = await client.readiness()
                    return await waiting, quickly, ready

            (failed, _), quickly, ready = asyncio.run(main())
    assert failed in (502, 504)
    assert quickly == (200, "z")
    assert ready == 200
