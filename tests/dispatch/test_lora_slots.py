"""The adapters of a llama.cpp server: which scales every call states."""

from __future__ import annotations

import pytest

from router.cards import Card, Catalog
from router.dispatch.call import Call, fitted
from router.dispatch.providers import dialect_of
from router.types import Api

CATALOG = Catalog(
    [
        Card("base", "hosted_vllm", "m", base_url="http://127.0.0.1:1/v1", lora_slots=("b", "a")),
        Card("a", "hosted_vllm", "m", kind="adapter", base="base"),
        Card("b", "hosted_vllm", "m", kind="adapter", base="base"),
    ]
)
CHAT = {"messages": [{"role": "user", "content": "hi"}]}


def scales_sent(card: str, body: object = None, api: Api = "chat") -> object:
    named = CATALOG.named(card)
    call = Call(api, CHAT if body is None else body)  # type: ignore[arg-type]
    return fitted(call, named, dialect_of(named)).body.get("lora")


@pytest.mark.parametrize(("card", "scales"), [("base", [0.0, 0.0]), ("b", [1.0, 0.0]), ("a", [0.0, 1.0])])
def test_every_call_states_the_scale_of_every_adapter(card: str, scales: list[float]) -> None:
    assert scales_sent(card) == [{"id": slot, "scale": scale} for slot, scale in enumerate(scales)]


def test_a_client_cannot_choose_the_adapter_of_a_card() -> None:
    assert scales_sent("a", {**CHAT, "lora": [{"id": 0, "scale": 1.0}]}) == scales_sent("a")


def test_converted_requests_state_the_scales_too() -> None:
    assert scales_sent("a", {"input": "hi"}, "responses") == scales_sent("a")


@pytest.mark.parametrize("body", [CHAT, {**CHAT, "cache_prompt": True}])
def test_no_call_uses_what_the_server_has_cached_of_another_adapter(body: object) -> None:
    named = CATALOG.named("a")
    assert fitted(Call("chat", body), named, dialect_of(named)).body["cache_prompt"] is False  # type: ignore[arg-type]


def test_other_cards_send_no_scales() -> None:
    plain = Card("plain", "hosted_vllm", "m", base_url="http://127.0.0.1:1/v1")
    assert "lora" not in fitted(Call("chat", CHAT), plain, dialect_of(plain)).body
