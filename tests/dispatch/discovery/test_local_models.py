"""The models of servers on this machine become facts of cards."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from router.dispatch.availability import well_known_servers
from router.dispatch.discovery.local_models import LocalModel, described_by, local_models
from tests.dispatch.discovery.servers import (
    LLAMA_SERVER,
    LM_STUDIO_SERVER,
    OLLAMA,
    VLLM_SERVER,
    model_server,
)
from tests.gateway.servers import make_card


def found_at(url: str) -> list[LocalModel]:
    async def find() -> list[LocalModel]:
        listed = f"{url}/v1/models"
        return await local_models([server for server in await well_known_servers([listed]) if server.url == listed])

    return asyncio.run(find())


@pytest.mark.parametrize(
    ("answers", "kind", "ids"),
    [
        (OLLAMA, "Ollama", ["llama3.2"]),
        (LLAMA_SERVER, "llama.cpp", ["smollm2-135m-instruct.q4_1"]),
        (VLLM_SERVER, "vLLM", ["qwen2.5-7b-instruct", "sql-lora"]),
        (LM_STUDIO_SERVER, "LM Studio", ["qwen2-vl-7b-instruct"]),
        ({"/v1/models": {"data": [{"id": "org/some-3b"}]}}, "a server", ["some-3b"]),
    ],
)
def test_the_models_of_a_server_get_its_address_and_cost_nothing(
    answers: Mapping[str, Any], kind: str, ids: list[str]
) -> None:
    with model_server(answers) as url:
        models = found_at(url)
    assert [model.facts["id"] for model in models] == ids
    assert {model.server for model in models} == {kind}
    for model in models:
        assert model.facts["base_url"] == f"{url}/v1"
        assert model.facts["privacy"] == "local"
        assert model.facts["price"] == {"input": "0$", "output": "0$"}


def test_a_model_in_ollamas_cloud_is_neither_local_nor_free() -> None:
    tag = {"name": "gpt-oss:120b-cloud", "remote_host": "https://ollama.com:443"}
    with model_server({**OLLAMA, "/api/tags": {"models": [tag]}}) as url:
        (model,) = found_at(url)
    assert model.facts["privacy"] == "public"
    assert "price" not in model.facts


def test_a_server_without_models_has_none() -> None:
    with model_server({"/v1/models": {"object": "list", "data": None}, "/api/tags": {"models": []}}) as url:
        assert found_at(url) == []


@pytest.mark.parametrize("broken", [[], {"models": "none"}, {"models": ["llama3.2"]}, "text"])
def test_an_answer_of_an_unexpected_shape_is_no_model(broken: Any) -> None:
    with model_server({**OLLAMA, "/api/tags": broken}) as url:
        assert found_at(url) == []


def test_a_model_is_described_by_a_card_with_its_name_at_its_server_whatever_the_host_is_called() -> None:
    facts = {"base_url": "http://127.0.0.1:8000/v1", "model": "llama3.2:latest"}
    same = make_card("same", "http://localhost:8000", "llama3.2")
    assert described_by([same], facts) is same
    assert described_by([make_card("other", "http://localhost:8000", "llama3.3")], facts) is None
    assert described_by([make_card("elsewhere", "http://localhost:8001", "llama3.2")], facts) is None
