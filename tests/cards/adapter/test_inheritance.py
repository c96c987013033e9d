"""What an adapter takes from its base where its own card is silent."""

from __future__ import annotations

from typing import Any

import pytest

from router.cards import Card, Catalog
from tests.decide.cards import card, choose

SERVER = "http://gpu-1:8000/v1"
BASE_FACTS: dict[str, Any] = {
    "family": "llama",
    "size": "8B",
    "context": "64k",
    "max_output": "4k",
    "license": "llama3",
    "weights": "open",
    "price": {"input": "0.1$", "output": "0.2$"},
    "latency": {"ttft": "100ms", "tpot": "10ms"},
    "privacy": "private",
    "region": "eu",
    "base_url": SERVER,
    "apis": ["chat"],
    "capabilities": ["tools", "json_schema"],
}


def adapter(**facts: Any) -> Card:
    return card("lora", kind="adapter", base="llama", **{"context": None, **facts})


def resolved(base: dict[str, Any], **facts: Any) -> Card:
    return Catalog([card("llama", **base), adapter(**facts)]).named("lora")


def test_a_silent_adapter_has_the_facts_of_its_base() -> None:
    base = card("llama", **BASE_FACTS)
    lora = resolved(BASE_FACTS)
    shared = ("family", "size", "context_tokens", "max_output_tokens", "license", "weights", "price", "latency")
    for fact in (*shared, "privacy", "region", "base_url", "apis"):
        assert getattr(lora, fact) == getattr(base, fact), fact


def test_what_an_adapter_states_is_not_inherited() -> None:
    lora = resolved(BASE_FACTS, size="9B", price={"input": "1$", "output": "2$"}, privacy="public")
    assert (lora.size.total if lora.size else None, lora.privacy) == (9e9, "public")
    assert lora.price is not None
    assert lora.price.output_usd == 2.0


def test_what_only_measurements_or_people_can_say_is_not_inherited() -> None:
    mmlu = {"mmlu": {"score": 70, "source": "s"}}
    base = {**BASE_FACTS, "released": "2024-04", "benchmarks": mmlu, "modalities": ["text", "image"]}
    lora = resolved({**base, "tags": ["chat"], "good_for": ["chat"], "tier": "strong", "dispatchable": False})
    assert (lora.released, lora.benchmarks, lora.modalities) == (None, {}, ("text",))
    assert (lora.tags, lora.good_for, lora.tier, lora.dispatchable) == ((), (), None, True)


def test_an_adapter_speaks_the_languages_of_its_base_until_it_states_its_own() -> None:
    assert resolved({**BASE_FACTS, "languages": ["de"]}).languages == ("de",)
    assert resolved({**BASE_FACTS, "languages": ["de"]}, languages=["fr"]).languages == ("fr",)


def test_an_adapter_has_the_capabilities_of_its_base_until_it_states_its_own() -> None:
    assert resolved(BASE_FACTS).capabilities == ("tools", "json_schema")
    assert resolved(BASE_FACTS, capabilities=["reasoning"]).capabilities == ("reasoning",)
    assert resolved({**BASE_FACTS, "capabilities": None}).capabilities is None


def test_an_adapter_on_another_server_has_the_capabilities_of_the_model_only() -> None:
    assert resolved(BASE_FACTS, base_url="http://elsewhere:8000/v1").capabilities == ("tools",)


def test_an_adapter_that_reasons_thinks_as_long_as_its_base() -> None:
    base = {**BASE_FACTS, "capabilities": ["reasoning"], "thinking_tokens": 700}
    assert resolved(base).thinking_tokens == 700
    assert resolved(base, capabilities=["tools"]).thinking_tokens is None


def test_headers_and_dialect_are_those_of_the_server() -> None:
    base = {**BASE_FACTS, "headers": {"x-team": "search"}, "dialect": "vllm", "api_key_env": "GPU_KEY"}
    lora, elsewhere = resolved(base), resolved(base, base_url="http://elsewhere:8000/v1")
    assert (lora.headers, lora.dialect, lora.api_key_env) == ({"x-team": "search"}, "vllm", "GPU_KEY")
    assert (elsewhere.headers, elsewhere.dialect, elsewhere.api_key_env) == ({}, None, None)


def test_an_adapter_on_another_server_does_not_inherit_privacy_or_latency() -> None:
    lora = resolved(BASE_FACTS, base_url="http://elsewhere:8000/v1")
    assert (lora.privacy, lora.region, lora.latency) == (None, None, None)
    assert lora.size is not None
    assert lora.price is not None


def test_an_adapter_of_another_provider_does_not_inherit_the_price() -> None:
    lora = resolved(BASE_FACTS, provider="together_ai")
    assert (lora.price, lora.privacy, lora.base_url) == (None, None, None)
    assert lora.size is not None


def test_an_adapter_without_an_address_runs_on_the_servers_of_its_base() -> None:
    servers = [{"base_url": SERVER}, {"base_url": "http://gpu-2:8000/v1"}]
    base = {**BASE_FACTS, "base_url": None, "deployments": servers}
    assert len(resolved(base).deployments) == 2
    assert resolved(base, base_url=SERVER).privacy == "private"
    assert resolved(base, limits={"rpm": 5}).deployments == ()


@pytest.mark.parametrize("flags", ["size<9B", "privacy!=public", "price<1$", "region=eu", "license=llama3"])
def test_a_limit_evaluates_an_adapter_by_the_facts_of_its_base(flags: str) -> None:
    assert "lora" not in choose([card("llama", **BASE_FACTS), adapter()], flags=flags).rejections


def test_the_catalogue_keeps_what_cards_state_and_names_what_they_inherit() -> None:
    catalog = Catalog([card("llama", price=BASE_FACTS["price"]), adapter()])
    assert [stated.price is None for stated in catalog.stated] == [False, True]
    assert catalog.inherited("lora") == {"context": "128k", "price": {"input": "0.1$", "output": "0.2$"}}
    assert catalog.inherited("llama") == {}


def test_a_catalogue_of_resolved_cards_is_the_same_catalogue() -> None:
    catalog = Catalog([card("llama", **BASE_FACTS), adapter()])
    assert list(Catalog(catalog)) == list(catalog)
