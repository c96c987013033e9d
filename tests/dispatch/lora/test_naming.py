"""How a request names its adapter, whatever the client wrote into it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from router.cards import Card, Catalog
from router.dispatch import Call
from router.dispatch.bounds.timeouts import Timeouts
from router.dispatch.lora.naming import is_lost, named_in
from router.dispatch.relay import Relay
from router.types import Api
from tests.dispatch.lora.cards import CHAT, make_cards
from tests.dispatch.lora.scripted import BASE
from tests.gateway.servers import COMPLETION, served

OF_LLAMA_CPP = Catalog(
    [
        Card("base", "hosted_vllm", "m", base_url="http://127.0.0.1:1/v1", lora_slots=("b", "a")),
        Card("a", "hosted_vllm", "m", kind="adapter", base="base", axis="task", stackable=True),
        Card("b", "hosted_vllm", "m", kind="adapter", base="base", axis="language", stackable=True),
        Card("both", "hosted_vllm", "m", kind="adapter", base="base", stack=("a", "b")),
    ]
)


def body_at(
    server: str, card: str, api: Api = "chat", url: str = "http://127.0.0.1:1", **fields: Any
) -> dict[str, Any]:
    named = make_cards(url, server)[card]
    return dict(named_in(Call(api, {**CHAT, **fields}), named).body)


@pytest.mark.parametrize(
    ("card", "scales"), [("base", [0.0, 0.0]), ("b", [1.0, 0.0]), ("a", [0.0, 1.0]), ("both", [1.0, 1.0])]
)
def test_every_call_of_llama_cpp_states_the_scale_of_every_adapter(card: str, scales: list[float]) -> None:
    named = OF_LLAMA_CPP.named(card)
    sent = named_in(Call("chat", CHAT), named)
    assert sent.body["lora"] == [{"id": slot, "scale": scale} for slot, scale in enumerate(scales)]


def test_a_client_cannot_choose_the_adapter_of_llama_cpp() -> None:
    plain, chosen = (
        named_in(Call("chat", body), OF_LLAMA_CPP.named("a")).body
        for body in (CHAT, {**CHAT, "lora": [{"id": 0, "scale": 1.0}], "cache_prompt": True})
    )
    assert chosen == plain
    assert plain["cache_prompt"] is False


def test_a_card_without_adapters_is_called_as_the_client_wrote() -> None:
    plain = Card("plain", "hosted_vllm", "m", base_url="http://127.0.0.1:1/v1")
    call = Call("chat", {**CHAT, "lora_path": "x", "lora": [], "adapter_source": "hub"})
    assert named_in(call, plain) is call


def test_sglang_gets_the_adapter_beside_the_model() -> None:
    assert body_at("sglang", "a")["lora_path"] == "a"
    assert "lora_path" not in body_at("sglang", "base")


@pytest.mark.parametrize("card", ["base", "a"])
def test_a_client_cannot_choose_the_adapter_of_sglang(card: str) -> None:
    assert body_at("sglang", card, lora_path="b") == body_at("sglang", card)


def test_a_model_written_as_sglang_does_names_its_adapter() -> None:
    card = Card("x", "hosted_vllm", f"{BASE}:sql", kind="adapter", base="base")
    base = make_cards("http://127.0.0.1:1", "sglang")["base"]
    assert named_in(Call("chat", CHAT), Catalog([base, card]).named("x")).body["lora_path"] == "sql"


@pytest.mark.parametrize(
    ("path", "sent"),
    [("/adapters/a", "local"), ("./a", "local"), ("s3://bucket/a", "s3"), ("team/sql-adapter", None)],
)
def test_lorax_is_told_where_it_finds_the_adapter(path: str, sent: str | None) -> None:
    card = make_cards("http://127.0.0.1:1", "lorax", paths={"a": path})["a"]
    call = named_in(Call("chat", CHAT), card)
    assert (call.model, call.body.get("adapter_source")) == (path, sent)


@pytest.mark.parametrize("field", ["adapter_id", "adapter_source", "adapter_parameters", "api_token"])
@pytest.mark.parametrize("card", ["base", "a"])
def test_a_client_cannot_choose_the_adapter_of_lorax(card: str, field: str) -> None:
    assert body_at("lorax", card, **{field: "s3"}) == body_at("lorax", card)


@pytest.mark.parametrize("api", ["chat", "completions", "embeddings"])
def test_no_api_reaches_another_adapter(api: Api) -> None:
    seen = []

    async def answer(request: Request) -> JSONResponse:
        seen.append(await request.json())
        return JSONResponse(COMPLETION)

    async def main(card: Card) -> None:
        relay = Relay(Timeouts())
        await relay.send(card, Call(api, {"messages": [], "input": "x", "prompt": "x", "lora_path": "b"}))
        await relay.aclose()

    with served(Starlette(routes=[Route("/{path:path}", answer, methods=["POST"])])) as url:
        asyncio.run(main(make_cards(url, "sglang")["a"]))
    assert [body["lora_path"] for body in seen] == ["a"]


@pytest.mark.parametrize(
    ("server", "status", "words", "expected"),
    [
        ("vllm", 404, "The model `a` does not exist. Valid aliases: base-model.", True),
        ("vllm", 404, "The model `other` does not exist.", False),
        ("vllm", 500, "The model `a` does not exist.", False),
        ("sglang", 400, "Got LoRA adapter that has never been loaded: a\nAll loaded adapters: dict_keys([]).", True),
        ("sglang", 400, "The following requested LoRA adapters are not loaded: a", True),
        ("sglang", 400, "a: temperature must be positive", False),
        ("lorax", 424, "a does not exist", False),
    ],
)
def test_an_answer_shows_whether_the_adapter_was_lost(server: str, status: int, words: str, expected: bool) -> None:
    cards = make_cards("http://127.0.0.1:1", server)
    assert is_lost(cards["a"], status, words) is expected
    assert not is_lost(cards["base"], status, words)
