"""Which dialect a card's server speaks."""

from __future__ import annotations

from typing import Any

import pytest

from router.cards import Card
from router.dispatch.providers import dialect_of
from router.wire import Dialect
from router.wire.dialect import SERVERS
from router.wire.dialect.models import MODELS


def dialect(provider: str, url: str | None = None, model: str = "m", **facts: Any) -> Dialect:
    return dialect_of(Card(id="c", provider=provider, model=model, base_url=url, **facts))


@pytest.mark.parametrize(
    ("provider", "url", "row"),
    [
        ("openai", None, "openai"),
        ("openai", "https://api.openai.com/v1", "openai"),
        ("azure", "https://x.openai.azure.com/openai/v1", "azure"),
        ("openai_like", "https://x.cognitiveservices.azure.com/openai/v1", "azure"),
        ("anthropic", None, "anthropic"),
        ("anthropic", "http://127.0.0.1:4000", "anthropic"),
        ("openai_like", "https://generativelanguage.googleapis.com/v1beta/openai", "gemini_openai"),
        ("openai_like", "https://europe-west4-aiplatform.googleapis.com/v1/openapi", "gemini_openai"),
        ("gemini", None, "gemini"),
        ("mistral", None, "mistral"),
        ("deepseek", "http://127.0.0.1:4000/v1", "deepseek"),
        ("moonshot", None, "moonshot"),
        ("groq", None, "groq"),
        ("cohere_chat", None, "cohere"),
        ("hosted_vllm", "http://10.0.0.5:8000/v1", "vllm"),
        ("ollama", None, "ollama"),
        ("lm_studio", None, "lm_studio"),
        ("openrouter", None, "openrouter"),
        ("openai", "http://127.0.0.1:4000/v1", "openai_compatible"),
        ("openai_like", "http://127.0.0.1:4000/v1", "openai_compatible"),
        ("replicate", None, "litellm"),
    ],
)
def test_a_dialect_is_found_by_host_and_by_provider(provider: str, url: str | None, row: str) -> None:
    assert dialect(provider, url) == SERVERS[row].dialect


def test_a_host_that_only_resembles_a_known_one_is_another() -> None:
    unknown = SERVERS["openai_compatible"].dialect

    assert dialect("openai", "https://notapi.openai.com.example/v1") == unknown
    assert dialect("openai", "https://evilapi.openai.com/v1") == unknown


def test_the_url_of_a_deployment_takes_precedence_over_the_cards() -> None:
    card = Card(id="c", provider="openai", model="m", base_url="https://api.openai.com/v1")

    assert dialect_of(card, "http://127.0.0.1:8000/v1") == SERVERS["openai_compatible"].dialect


def test_a_card_may_name_the_dialect_of_its_server() -> None:
    assert dialect("openai_like", "http://10.0.0.5/v1", dialect="sglang") == SERVERS["sglang"].dialect


def test_a_dialect_that_does_not_exist_is_rejected_with_the_likely_one() -> None:
    with pytest.raises(ValueError, match=r'dialect: there is no "vlm"; did you mean "vllm"\?'):
        Card(id="c", provider="openai_like", model="m", dialect="vlm")


@pytest.mark.parametrize("model", ["openai/gpt-5.2", "gpt-5.6-luna", "gpt-6"])
def test_what_depends_on_the_effort_is_left_to_the_server_of_openais_newer_models(model: str) -> None:
    found = dialect("openai", "http://127.0.0.1:4000/v1", model)

    assert (found.output_limit, found.developer) == ("max_completion_tokens", True)
    assert not {"temperature", "logprobs", "stop"} & {*found.rejects, *found.only}


@pytest.mark.parametrize("model", ["gpt-5", "gpt5", "gpt-5-mini", "o1", "o3-mini", "o4-mini"])
@pytest.mark.parametrize("url", ["https://api.openai.com/v1", "http://127.0.0.1:4000/v1"])
def test_openais_reasoning_models_have_their_own_rules_everywhere(model: str, url: str) -> None:
    found = dialect("openai", url, model)

    assert found.output_limit == "max_completion_tokens"
    assert found.only["temperature"] == (1,)
    assert {"frequency_penalty", "logprobs", "logit_bias"} <= found.rejects


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-oss-120b", "gpt-50b", "olmo-2", "o1000", "qwen-o1x-7b", "yolo3"])
def test_other_models_at_an_unknown_server_have_its_rules(model: str) -> None:
    assert dialect("openai_like", "http://127.0.0.1:4000/v1", model) == SERVERS["openai_compatible"].dialect


def test_a_models_rules_do_not_hold_at_a_server_that_translates_them() -> None:
    assert dialect("openrouter", None, "openai/gpt-5") == SERVERS["openrouter"].dialect


@pytest.mark.parametrize(
    ("model", "has_budgets"),
    [("claude-sonnet-4-5", True), ("claude-3-7-sonnet-latest", True), ("claude-opus-4-6", False)],
)
def test_only_older_claude_models_have_a_budget_for_thinking(model: str, has_budgets: bool) -> None:
    assert dialect("anthropic", None, model).thinking_budgets is has_budgets
    assert dialect("bedrock", None, f"us.anthropic.{model}-v1:0").thinking_budgets is has_budgets


def test_every_row_of_a_model_names_servers_that_exist() -> None:
    assert {server for row in MODELS for server in row.servers} <= SERVERS.keys()


def test_no_host_or_provider_has_two_dialects() -> None:
    for places in ([h for s in SERVERS.values() for h in s.hosts], [p for s in SERVERS.values() for p in s.providers]):
        assert len(places) == len(set(places))
