"""The dialects of upstreams: which fields they accept."""

from __future__ import annotations

from typing import Any

import pytest

from router.cards import Card
from router.dispatch.providers import dialect_of
from router.wire import Dialect
from router.wire.dialect import adapt


def dialect(provider: str, url: str | None = None) -> Dialect:
    return dialect_of(Card(id="c", provider=provider, model="m", base_url=url))


@pytest.mark.parametrize(
    ("provider", "url"),
    [("openai", None), ("openai", "https://api.openai.com/v1"), ("azure", "https://x.openai.azure.com/openai/v1")],
)
def test_openai_accepts_max_completion_tokens_and_no_cache_control(provider: str, url: str | None) -> None:
    assert dialect(provider, url) == Dialect(cache_control=False, max_completion_tokens=True)


@pytest.mark.parametrize("provider", ["mistral", "groq"])
def test_strict_servers_accept_no_cache_control(provider: str) -> None:
    assert dialect(provider) == Dialect(cache_control=False)


@pytest.mark.parametrize(
    ("provider", "url"),
    [("openrouter", None), ("hosted_vllm", None), ("openai", "http://127.0.0.1:4000/v1"), ("bedrock", None)],
)
def test_other_servers_accept_cache_control(provider: str, url: str | None) -> None:
    assert dialect(provider, url) == Dialect()


def test_a_host_that_only_resembles_a_strict_one_is_another() -> None:
    assert dialect("openai", "https://notapi.openai.com.example/v1").cache_control
    assert dialect("openai", "https://evilapi.openai.com/v1").cache_control


def test_the_url_of_a_deployment_takes_precedence_over_the_cards() -> None:
    card = Card(id="c", provider="openai", model="m", base_url="https://api.openai.com/v1")

    assert dialect_of(card, "http://127.0.0.1:8000/v1") == Dialect()


def test_a_card_without_the_reasoning_capability_receives_no_reasoning_effort() -> None:
    cards = {
        capabilities: Card(id="c", provider="x", model="m", capabilities=capabilities)
        for capabilities in (None, ("tools",), ("reasoning",))
    }

    assert {capabilities: dialect_of(card).reasoning_effort for capabilities, card in cards.items()} == {
        None: True,
        ("tools",): False,
        ("reasoning",): True,
    }


@pytest.mark.parametrize("tools", [None, "tools", 7, [None, "tool"], {}])
def test_tools_of_the_wrong_type_are_left_for_the_upstream_to_reject(tools: Any) -> None:
    body = {"messages": [{"role": "user", "content": "hi", "tool_calls": tools}], "tools": tools}
    assert adapt(body, Dialect(cache_control=False)) == body


def test_cache_breakpoints_are_removed_from_parts_calls_and_tools() -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    image = {"type": "image_url", "image_url": {"url": "data:,"}}
    body = {
        "messages": [
            {"role": "user", "content": [{**image, **mark}]},
            {"role": "assistant", "tool_calls": [{"id": "1", **mark}]},
        ],
        "tools": [{"type": "function", **mark}],
    }
    assert adapt(body, Dialect(cache_control=False)) == {
        "messages": [{"role": "user", "content": [image]}, {"role": "assistant", "tool_calls": [{"id": "1"}]}],
        "tools": [{"type": "function"}],
    }
