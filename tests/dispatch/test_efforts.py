"""A card's reasoning effort in the requests that each provider receives, over the real path to a scripted upstream."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from router.cards import Card, Catalog
from router.cards.schema import Effort, Efforts
from router.dispatch import Call, Dispatcher, DispatchSettings
from router.types import Api
from tests.gateway.servers import COMPLETION, make_card, served

CHAT = {"messages": [{"role": "user", "content": "hi"}]}
MESSAGES = {"max_tokens": 20_000, **CHAT}
BODIES: Mapping[Api, Mapping[str, Any]] = {
    "chat": CHAT,
    "messages": MESSAGES,
    "responses": {"input": "hi"},
    "completions": {"prompt": "hi"},
    "ollama_chat": CHAT,
}
ANTHROPIC = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "Hello"}]}
ANTHROPIC |= {"id": "m1", "model": "m", "stop_reason": "end_turn", "usage": {"input_tokens": 3, "output_tokens": 2}}
GEMINI = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "Hello"}]}, "finishReason": "STOP", "index": 0}],
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5},
}


CALL: dict[str, Any] = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "1"}]}


class Recorder:
    """Answers in the protocol of the path, and keeps the bodies that it has received."""

    def __init__(self) -> None:
        self.url = ""
        self.bodies: list[dict[str, Any]] = []

    async def answer(self, request: Request) -> Response:
        self.bodies.append(json.loads(await request.body()))
        path = request.url.path
        return JSONResponse(ANTHROPIC if "messages" in path else GEMINI if "generateContent" in path else COMPLETION)


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    monkeypatch.setenv("THE_KEY", "sk-secret")
    recorder = Recorder()
    with served(Starlette(routes=[Route("/{path:path}", recorder.answer, methods=["POST"])])) as url:
        recorder.url = url
        yield recorder


def candidate(upstream: Recorder, effort: str | None, provider: str = "openai", **facts: Any) -> Card:
    """The candidate of a card's effort; the card itself where `effort` is None."""
    facts = {"model": "m", "api_key_env": "THE_KEY", "base_url": f"{upstream.url}/v1", "provider": provider, **facts}
    base = make_card("c", "", efforts=Efforts(**{effort: Effort()}) if effort else None, **facts)
    return Catalog([base]).named(f"c@{effort}" if effort else "c")


def sent(upstream: Recorder, card: Card, api: Api = "chat", **fields: Any) -> dict[str, Any]:
    """What the upstream receives beside the model and the client's own content."""
    body = {"model": "auto", **BODIES[api], **fields}

    async def main() -> None:
        dispatcher = Dispatcher(DispatchSettings(retries=0))
        async with contextlib.AsyncExitStack() as cleanup:
            cleanup.push_async_callback(dispatcher.aclose)
            response = await dispatcher.send_first_healthy([card], Call(api, body))
            assert response.status == 200

    asyncio.run(main())
    received = upstream.bodies[-1]
    content = {"model", "messages", "max_tokens", "max_completion_tokens", "input", "prompt", "contents", "stream"}
    return {name: value for name, value in received.items() if name not in content}


TEMPLATE_OFF = {"chat_template_kwargs": {"enable_thinking": False, "thinking": False}}
TEMPLATE_ON = {"chat_template_kwargs": {"enable_thinking": True, "thinking": True}}


@pytest.mark.parametrize(
    ("provider", "effort", "fields"),
    [
        *(("openai", effort, {"reasoning_effort": effort}) for effort in Efforts.__struct_fields__),
        ("ollama", "none", {"reasoning_effort": "none"}),
        ("ollama", "high", {"reasoning_effort": "high"}),
        ("cerebras", "low", {"reasoning_effort": "low"}),
        ("fireworks_ai", "none", {"reasoning_effort": "none"}),
        ("deepseek", "none", {"thinking": {"type": "disabled"}}),
        ("deepseek", "max", {"reasoning_effort": "max"}),
        ("moonshot", "none", {"thinking": {"type": "disabled"}}),
        ("moonshot", "medium", {"reasoning_effort": "high"}),
        ("moonshot", "max", {"reasoning_effort": "max"}),
        ("groq", "none", {"reasoning_effort": "none"}),
        ("groq", "minimal", {"reasoning_effort": "low"}),
        ("groq", "medium", {"reasoning_effort": "medium"}),
        ("groq", "max", {"reasoning_effort": "high"}),
        ("xai", "none", {"reasoning_effort": "none"}),
        ("xai", "minimal", {"reasoning_effort": "low"}),
        ("xai", "xhigh", {"reasoning_effort": "xhigh"}),
        ("xai", "max", {"reasoning_effort": "xhigh"}),
        ("mistral", "none", {"reasoning_effort": "none"}),
        ("mistral", "high", {"reasoning_effort": "high"}),
        ("openrouter", "none", {"reasoning": {"effort": "none"}}),
        ("openrouter", "xhigh", {"reasoning": {"effort": "xhigh"}}),
        ("dashscope", "none", {"enable_thinking": False}),
        ("dashscope", "medium", {"enable_thinking": True, "thinking_budget": 8192}),
        ("hosted_vllm", "none", TEMPLATE_OFF),
        ("hosted_vllm", "high", {"reasoning_effort": "high", **TEMPLATE_ON}),
        ("vllm", "none", TEMPLATE_OFF),
        ("nvidia_nim", "none", TEMPLATE_OFF),
        ("sambanova", "low", {"reasoning_effort": "low", **TEMPLATE_ON}),
    ],
)
def test_a_server_of_openais_protocol_receives_the_effort_in_its_own_words(
    upstream: Recorder, provider: str, effort: str, fields: dict[str, Any]
) -> None:
    assert sent(upstream, candidate(upstream, effort, provider)) == fields


@pytest.mark.parametrize(
    ("model", "effort", "fields"),
    [
        ("claude-opus-5-5", "none", {"thinking": {"type": "disabled"}}),
        ("claude-opus-5-5", "minimal", {"output_config": {"effort": "low"}}),
        ("claude-opus-5-5", "max", {"output_config": {"effort": "max"}}),
        ("claude-opus-4-5-20251101", "high", {"output_config": {"effort": "high"}}),
        ("claude-haiku-4-5-20251001", "none", {"thinking": {"type": "disabled"}}),
        ("claude-haiku-4-5-20251001", "low", {"thinking": {"type": "enabled", "budget_tokens": 2048}}),
        ("claude-sonnet-4-20250514", "medium", {"thinking": {"type": "enabled", "budget_tokens": 8192}}),
        # The budget must be less than `max_tokens`.
        ("claude-3-7-sonnet-20250219", "max", {"thinking": {"type": "enabled", "budget_tokens": 19_999}}),
    ],
)
def test_anthropics_messages_receive_an_effort_or_a_budget(
    upstream: Recorder, model: str, effort: str, fields: dict[str, Any]
) -> None:
    assert sent(upstream, candidate(upstream, effort, "anthropic", model=model), "messages") == fields


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 0},
        {"top_k": 5},
        {"top_p": 0.5},
        {"tool_choice": {"type": "any"}},
        {"max_tokens": 1024},
        {"messages": [*MESSAGES["messages"], {"role": "assistant", "content": "I"}]},
        {"messages": [*MESSAGES["messages"], {"role": "assistant", "content": [CALL]}, RESULT]},
    ],
)
def test_no_budget_is_set_where_the_rest_of_the_request_excludes_thinking(
    upstream: Recorder, fields: dict[str, Any]
) -> None:
    card = candidate(upstream, "high", "anthropic", model="claude-haiku-4-5")
    assert "thinking" not in sent(upstream, card, "messages", **fields)


def test_a_budget_is_set_where_earlier_calls_of_tools_were_made_with_thinking(upstream: Recorder) -> None:
    card = candidate(upstream, "high", "anthropic", model="claude-haiku-4-5")
    thought = {"type": "thinking", "thinking": "hm", "signature": "s"}
    messages = [*MESSAGES["messages"], {"role": "assistant", "content": [thought, CALL]}, RESULT]
    assert "thinking" in sent(upstream, card, "messages", messages=messages)


@pytest.mark.parametrize(
    ("provider", "effort", "level"), [("openai", "xhigh", "xhigh"), ("openai", "none", "none"), ("xai", "max", "xhigh")]
)
def test_responses_receive_the_effort_within_reasoning(
    upstream: Recorder, provider: str, effort: str, level: str
) -> None:
    card = candidate(upstream, effort, provider, apis=("responses",))
    fields = sent(upstream, card, "responses", reasoning={"summary": "auto"})
    assert fields == {"reasoning": {"effort": level, "summary": "auto"}}


@pytest.mark.parametrize("api", ["messages", "responses", "completions"])
def test_a_converted_request_receives_the_effort_too(upstream: Recorder, api: Api) -> None:
    card = candidate(upstream, "low", apis=("chat",))
    assert sent(upstream, card, api)["reasoning_effort"] == "low"


def test_completions_have_no_effort(upstream: Recorder) -> None:
    assert sent(upstream, candidate(upstream, "low", apis=("completions",)), "completions") == {}


def test_the_card_itself_is_called_at_the_providers_default(upstream: Recorder) -> None:
    assert sent(upstream, candidate(upstream, None)) == {}


@pytest.mark.parametrize(
    ("api", "fields", "received"),
    [
        ("chat", {"reasoning_effort": "high"}, {"reasoning_effort": "high"}),
        ("chat", {"reasoning": {"effort": "high"}}, {"reasoning": {"effort": "high"}}),
        ("chat", {"chat_template_kwargs": {"thinking": True}}, {"chat_template_kwargs": {"thinking": True}}),
        ("messages", {"output_config": {"effort": "high"}}, {"reasoning_effort": "high"}),
        ("messages", {"thinking": {"type": "enabled", "budget_tokens": 9000}}, {"reasoning_effort": "medium"}),
        ("messages", {"thinking": {"type": "disabled"}}, {"reasoning_effort": "none"}),
        ("responses", {"reasoning": {"effort": "high"}}, {"reasoning_effort": "high"}),
    ],
)
def test_the_clients_own_effort_takes_precedence(
    upstream: Recorder, api: Api, fields: dict[str, Any], received: dict[str, Any]
) -> None:
    assert sent(upstream, candidate(upstream, "low"), api, **fields) == received


OFF: Mapping[Api, dict[str, Any]] = {
    "messages": {"thinking": {"type": "disabled"}},
    "ollama_chat": {"think": False},
    "responses": {"reasoning": {"effort": "none"}},
}


@pytest.mark.parametrize(("api", "off"), [*OFF.items()])
@pytest.mark.parametrize(
    ("provider", "model", "fields"),
    [
        ("openrouter", "q", {"reasoning": {"effort": "none"}}),
        ("deepseek", "deepseek-chat", {"thinking": {"type": "disabled"}}),
        ("dashscope", "qwen3-32b", {"enable_thinking": False}),
        ("vllm", "qwen3-32b", TEMPLATE_OFF),
        ("openai", "gpt-5.1", {"reasoning_effort": "none"}),
    ],
)
@pytest.mark.parametrize("effort", [None, "high"])
def test_thinking_that_the_client_turns_off_is_off_in_the_words_of_every_server(
    upstream: Recorder,
    api: Api,
    off: dict[str, Any],
    provider: str,
    model: str,
    fields: dict[str, Any],
    effort: str | None,
) -> None:
    card = candidate(upstream, effort, provider, model=model, apis=("chat",))
    assert sent(upstream, card, api, **off) == fields


@pytest.mark.parametrize(
    ("provider", "model", "fields"),
    [
        ("openai", "gpt-5-mini", {"reasoning_effort": "minimal"}),
        ("openai", "gpt-5-codex", {}),
        ("openai", "gpt-5-chat-latest", {}),
        ("openai", "o4-mini", {"reasoning_effort": "low"}),
        ("groq", "openai/gpt-oss-120b", {"reasoning_effort": "low"}),
        ("vllm", "openai/gpt-oss-120b", {"reasoning_effort": "low"}),
        ("moonshot", "kimi-k2-thinking", {}),
        ("moonshot", "kimi-k2.5", {"thinking": {"type": "disabled"}}),
    ],
)
def test_a_model_that_always_thinks_does_so_as_little_as_it_can(
    upstream: Recorder, provider: str, model: str, fields: dict[str, Any]
) -> None:
    card = candidate(upstream, None, provider, model=model, apis=("chat",))
    assert sent(upstream, card, "messages", **OFF["messages"]) == fields


def test_a_card_without_reasoning_receives_nothing_about_it(upstream: Recorder) -> None:
    card = candidate(upstream, None, apis=("chat",), capabilities=("tools",))
    assert sent(upstream, card, "messages", **OFF["messages"]) == {}


def test_the_clients_level_replaces_the_cards_in_the_words_of_ollama(upstream: Recorder) -> None:
    card = candidate(upstream, "high", "openrouter", apis=("chat",))
    assert sent(upstream, card, "ollama_chat", think="low") == {"reasoning_effort": "low"}


def test_the_clients_other_fields_are_kept(upstream: Recorder) -> None:
    claude = candidate(upstream, "low", "anthropic", model="claude-opus-5-5")
    fields = {"output_config": {"format": {"type": "json_schema", "schema": {}}}, "thinking": {"type": "adaptive"}}
    expected = {**fields, "output_config": {**fields["output_config"], "effort": "low"}}
    assert sent(upstream, claude, "messages", **fields) == expected
    local = candidate(upstream, "none", "hosted_vllm")
    merged = sent(upstream, local, chat_template_kwargs={"date": "today"})["chat_template_kwargs"]
    assert merged == {"date": "today", "enable_thinking": False, "thinking": False}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Item .* is using the `ReadOnly` qualifier:UserWarning")
@pytest.mark.parametrize(
    ("provider", "model", "effort", "path", "value"),
    [
        ("anthropic", "claude-opus-5-5", "low", ("output_config", "effort"), "low"),
        ("anthropic", "claude-opus-5-5", "max", ("output_config", "effort"), "max"),
        ("anthropic", "claude-haiku-5-5", "none", ("thinking", "type"), "disabled"),
        ("anthropic", "claude-haiku-4-5-20251001", "high", ("thinking", "budget_tokens"), 16_384),
        ("anthropic", "claude-haiku-4-5-20251001", "none", ("thinking", "type"), "disabled"),
        ("gemini", "gemini-3.8-flash", "low", ("generationConfig", "thinkingConfig", "thinkingLevel"), "low"),
        ("gemini", "gemini-3.8-flash", "max", ("generationConfig", "thinkingConfig", "thinkingLevel"), "high"),
        ("gemini", "gemini-3.5-flash-lite", "none", ("generationConfig", "thinkingConfig", "thinkingLevel"), "minimal"),
        ("gemini", "gemini-2.5-flash", "none", ("generationConfig", "thinkingConfig", "thinkingBudget"), 0),
        ("gemini", "gemini-2.5-pro", "none", ("generationConfig", "thinkingConfig", "thinkingBudget"), 128),
    ],
)
def test_a_provider_that_litellm_calls_receives_the_effort_in_its_own_words(
    upstream: Recorder, provider: str, model: str, effort: str, path: tuple[str, ...], value: object
) -> None:
    received: Any = sent(upstream, candidate(upstream, effort, provider, model=model))
    for step in path:
        received = received[step]
    assert received == value
