"""Which dialect a card's server speaks."""

from __future__ import annotations

from typing import Any

import pytest

from router.cards import Card
from router.dispatch.providers import dialect_of
from router.wire import Dialect
from router.wire.dialect import SERVERS, adapt
from router.wire.dialect.models import MODELS
from router.wire.effort import BUDGET_MODEL


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


# Names of Anthropic's, Bedrock's and Vertex AI's models, in litellm and here. Anthropic accepts one of temperature and
# top_p since Opus 4.1 and Sonnet 4.5, and neither since Opus 4.7.
CLAUDES = {
    "both": (
        *(
            "claude-3-haiku-20240307",
            "claude-3-opus",
            "claude-3-opus@20240229",
            "claude-3.5-sonnet",
            "claude-3.7-sonnet",
        ),
        *("claude-3-5-haiku-20241022", "claude-3-5-sonnet-20241022", "claude-3-5-sonnet-latest", "claude-3-5-sonnet"),
        *("claude-3-5-haiku@20241022", "claude-3-5-sonnet@20240620", "anthropic.claude-3-5-sonnet-20241022-v2:0"),
        *("us.anthropic.claude-3-5-haiku-20241022-v1:0", "claude-3-7-sonnet", "claude-3-7-sonnet-20250219"),
        *("eu.anthropic.claude-3-7-sonnet-20250219-v1:0", "claude-4-opus-20250514", "claude-4-sonnet-20250514"),
        *("claude-opus-4", "claude-opus-4-20250514", "claude-opus-4@20250514", "claude-opus-4-0", "claude-sonnet-4-0"),
        *("us.anthropic.claude-opus-4-20250514-v1:0", "claude-sonnet-4", "claude-sonnet-4-20250514"),
        *("apac.anthropic.claude-sonnet-4-20250514-v1:0", "claude-sonnet-4@20250514", "databricks-claude-sonnet-4"),
    ),
    "one": (
        *("claude-opus-4-1", "claude-opus-4-1-20250805", "claude-opus-4-1@20250805", "claude-opus-4.1"),
        *("us.anthropic.claude-opus-4-1-20250805-v1:0", "claude-sonnet-4-5", "claude-sonnet-4-5-20250929"),
        *("global.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5@20250929", "claude-sonnet-4.5"),
        *("claude-haiku-4-5-20251001", "anthropic.claude-haiku-4-5-20251001-v1:0", "claude-haiku-4-5@20251001"),
        *("claude-opus-4-5", "claude-opus-4-5-20251101", "anthropic.claude-opus-4-5-20251101-v1:0", "claude-opus-4-6"),
        *(
            "eu.anthropic.claude-opus-4-6-v1",
            "claude-opus-4-6-20260205",
            "claude-opus-4-6@default",
            "claude-sonnet-4-6",
        ),
    ),
    "none": (
        *("claude-opus-4-7", "claude-opus-4-7-20260416", "claude-opus-4-8@default", "claude-opus-4.8"),
        *("jp.anthropic.claude-opus-4-8", "claude-opus-5", "claude-opus-5-5", "claude-sonnet-5", "claude-sonnet-5-5"),
        *("us.anthropic.claude-haiku-5-5", "claude-fable-5", "claude-fable-5-1@default", "databricks-claude-opus-5"),
    ),
}


@pytest.mark.parametrize(("kept", "model"), [(kept, model) for kept, names in CLAUDES.items() for model in names])
def test_every_claude_keeps_the_sampling_that_it_accepts(kept: str, model: str) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "temperature": 0.2, "top_p": 0.9, "top_k": 5}
    for provider in ("anthropic", "bedrock", "vertex_ai"):
        fitted = adapt(body, dialect(provider, model=model)).body
        names = [name for name in ("temperature", "top_p", "top_k") if name in fitted]
        expected = {"both": ["temperature", "top_p", "top_k"], "one": ["temperature", "top_k"], "none": []}
        assert names == expected[kept]


@pytest.mark.parametrize(
    "model", [*CLAUDES["both"], *(name for name in CLAUDES["one"] if "4-6" not in name and "opus-4-5" not in name)]
)
def test_claudes_up_to_4_5_think_with_a_budget_by_any_of_their_names(model: str) -> None:
    assert BUDGET_MODEL.search(model)


@pytest.mark.parametrize("model", [*CLAUDES["none"], "claude-opus-4-6", "claude-sonnet-4-6", "claude-opus-4-5"])
def test_later_claudes_think_with_a_level_by_any_of_their_names(model: str) -> None:
    assert not BUDGET_MODEL.search(model)
