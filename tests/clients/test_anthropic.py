"""The anthropic SDK: relayed to a provider with its protocol, and converted for providers with OpenAI's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from tests.clients.conftest import CLIENT_KEY, UPSTREAM_KEY
from tests.clients.inputs import BOTH_CITIES, PIXEL, PIXEL_ANSWER, WEATHER, WEATHER_SCHEMA, Person
from tests.clients.upstream import Upstream

RELAYED, CONVERTED = "claude", "open-model"
both_paths = pytest.mark.parametrize("model", [RELAYED, CONVERTED])
TOOL: Any = {"name": WEATHER["name"], "description": WEATHER["description"], "input_schema": WEATHER_SCHEMA}
HI: list[Any] = [{"role": "user", "content": "hi"}]
CITIES: list[Any] = [{"role": "user", "content": BOTH_CITIES}]


@pytest.fixture(scope="module")
def client(gateway: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=gateway, api_key=CLIENT_KEY, max_retries=0) as client:
        yield client


def text(message: anthropic.types.Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


@both_paths
def test_a_message_is_returned(client: anthropic.Anthropic, model: str) -> None:
    message = client.messages.create(model=model, max_tokens=50, system="Be brief.", messages=HI)
    assert (message.type, message.role) == ("message", "assistant")
    assert text(message) == "You said: hi (system: Be brief.)"
    assert message.stop_reason == "end_turn"
    assert message.usage.output_tokens == 6


@pytest.mark.parametrize(
    ("model", "path", "served"),
    [
        ("claude", "/v1/messages", "claude-opus-4-5-2026-09-01"),
        ("open-model", "/v1/chat/completions", "open-model-2026-09-01"),
        ("gpt-5.4", "/v1/chat/completions", "gpt-5.4-2026-09-01"),
    ],
)
def test_each_provider_is_called_in_its_protocol(
    client: anthropic.Anthropic, upstream: Upstream, model: str, path: str, served: str
) -> None:
    assert client.messages.create(model=model, max_tokens=50, messages=HI).model == served
    assert upstream.last.path == path


@both_paths
def test_a_stream_is_returned(client: anthropic.Anthropic, model: str) -> None:
    with client.messages.stream(model=model, max_tokens=50, system="Be brief.", messages=HI) as stream:
        chunks = list(stream.text_stream)
        message = stream.get_final_message()
    assert len(chunks) > 1
    assert "".join(chunks) == text(message) == "You said: hi (system: Be brief.)"
    assert message.stop_reason == "end_turn"
    assert message.usage.output_tokens == 6


@both_paths
def test_a_stream_has_the_events_of_the_protocol(client: anthropic.Anthropic, model: str) -> None:
    with client.messages.create(model=model, max_tokens=50, messages=HI, stream=True) as stream:
        event_types = [event.type for event in stream if event.type != "ping"]
    without_repeats = [kind for number, kind in enumerate(event_types) if kind != event_types[number - 1]]
    assert without_repeats == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


@both_paths
def test_parallel_tool_calls_and_their_results_are_passed_on(client: anthropic.Anthropic, model: str) -> None:
    first = client.messages.create(model=model, max_tokens=50, messages=CITIES, tools=[TOOL])
    calls = [block for block in first.content if block.type == "tool_use"]
    assert first.stop_reason == "tool_use"
    assert [(call.name, call.input) for call in calls] == [
        ("get_weather", {"city": "Oslo", "days": 7}),
        ("get_weather", {"city": "Lima", "days": 7}),
    ]
    results: list[Any] = [
        {"type": "tool_result", "tool_use_id": calls[0].id, "content": "sunny"},
        {"type": "tool_result", "tool_use_id": calls[1].id, "content": [{"type": "text", "text": "foggy"}]},
    ]
    turns = [*CITIES, {"role": "assistant", "content": first.content}, {"role": "user", "content": results}]
    second = client.messages.create(model=model, max_tokens=50, messages=turns, tools=[TOOL])
    assert text(second) == "The tools returned: sunny; foggy"


@both_paths
def test_streamed_tool_calls_are_assembled_from_their_fragments(client: anthropic.Anthropic, model: str) -> None:
    with client.messages.stream(model=model, max_tokens=50, messages=CITIES, tools=[TOOL]) as stream:
        fragments = [event.partial_json for event in stream if event.type == "input_json"]
        message = stream.get_final_message()
    calls = [block for block in message.content if block.type == "tool_use"]
    assert len(fragments) > 2
    assert message.stop_reason == "tool_use"
    assert [(call.id, call.input) for call in calls] == [
        ("call_0_oslo", {"city": "Oslo", "days": 7}),
        ("call_1_lima", {"city": "Lima", "days": 7}),
    ]


@both_paths
@pytest.mark.parametrize(
    ("choice", "cities"),
    [
        ({"type": "auto", "disable_parallel_tool_use": True}, ["Oslo"]),
        ({"type": "none"}, []),
        ({"type": "any"}, ["Oslo", "Lima"]),
        ({"type": "tool", "name": "get_weather"}, ["Oslo", "Lima"]),
    ],
)
def test_the_tool_choice_is_respected(
    client: anthropic.Anthropic, model: str, choice: dict[str, Any], cities: list[str]
) -> None:
    fields: Any = {"tools": [TOOL], "tool_choice": choice}
    first = client.messages.create(model=model, max_tokens=50, messages=CITIES, **fields)
    assert [block.input["city"] for block in first.content if block.type == "tool_use"] == cities


@both_paths
def test_the_sdks_tool_loop_completes(client: anthropic.Anthropic, model: str) -> None:
    @anthropic.beta_tool
    def get_weather(city: str) -> str:
        """The weather of a city."""
        return f"{city} is sunny"

    runner = client.beta.messages.tool_runner(model=model, max_tokens=50, messages=CITIES, tools=[get_weather])
    assert text(runner.until_done()) == "The tools returned: Oslo is sunny; Lima is sunny"  # type: ignore[arg-type]


@both_paths
@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ({"type": "base64", "media_type": "image/png", "data": PIXEL}, PIXEL_ANSWER),
        ({"type": "url", "url": "https://example.com/a.png"}, "I see https://example.com/a.png"),
    ],
)
def test_an_image_reaches_the_model(
    client: anthropic.Anthropic, model: str, source: dict[str, str], answer: str
) -> None:
    content = [{"type": "image", "source": source}, {"type": "text", "text": "What is this?"}]
    messages: Any = [{"role": "user", "content": content}]
    assert text(client.messages.create(model=model, max_tokens=50, messages=messages)) == answer


@both_paths
def test_a_structured_output_is_parsed(client: anthropic.Anthropic, model: str) -> None:
    messages: Any = [{"role": "user", "content": "Ada"}]
    message = client.messages.parse(model=model, max_tokens=50, messages=messages, output_format=Person)
    assert message.parsed_output == Person(name="Ada", age=7, hobbies=["Ada"])


@both_paths
def test_the_output_limit_is_respected(client: anthropic.Anthropic, model: str) -> None:
    message = client.messages.create(model=model, max_tokens=2, messages=HI)
    assert (text(message), message.stop_reason) == ("You said:", "max_tokens")


@both_paths
def test_a_stop_sequence_ends_the_output(client: anthropic.Anthropic, model: str) -> None:
    message = client.messages.create(model=model, max_tokens=50, messages=HI, stop_sequences=[" hi"])
    assert text(message) == "You said:"


def test_a_provider_with_this_protocol_reports_the_stop_sequence(client: anthropic.Anthropic) -> None:
    messages: Any = [{"role": "user", "content": "one END two"}]
    message = client.messages.create(model=RELAYED, max_tokens=50, messages=messages, stop_sequences=["END"])
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "END")


@both_paths
def test_tokens_are_counted(client: anthropic.Anthropic, model: str) -> None:
    count = client.messages.count_tokens(model=model, system="Be brief.", messages=HI, tools=[TOOL])
    assert count.input_tokens > 0


def test_a_provider_that_counts_tokens_is_called(client: anthropic.Anthropic, upstream: Upstream) -> None:
    assert client.messages.count_tokens(model=RELAYED, messages=HI).input_tokens == 11
    assert upstream.last.path == "/v1/messages/count_tokens"


def test_more_text_counts_as_more_tokens(client: anthropic.Anthropic) -> None:
    def count(content: str) -> int:
        messages: Any = [{"role": "user", "content": content}]
        return client.messages.count_tokens(model=CONVERTED, messages=messages).input_tokens

    assert count("hi") < count("a good deal more than hi") < count("a good deal more than hi " * 50)


@pytest.mark.parametrize("stream", [False, True])
def test_thinking_and_its_signature_are_returned(client: anthropic.Anthropic, stream: bool) -> None:
    request: Any = {
        "model": RELAYED,
        "max_tokens": 2048,
        "messages": HI,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }
    if stream:
        with client.messages.stream(**request) as events:
            message = events.get_final_message()
    else:
        message = client.messages.create(**request)
    thinking, answer = message.content
    assert thinking.type == "thinking"
    assert (thinking.thinking, thinking.signature) == ("Let me think.", "c2ln")
    assert answer.type == "text"


def test_every_request_field_reaches_the_upstream(client: anthropic.Anthropic, upstream: Upstream) -> None:
    cached = {"type": "ephemeral", "ttl": "1h"}
    fields: dict[str, Any] = {
        "max_tokens": 1234,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": cached}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": cached}]}],
        "metadata": {"user_id": "user-1"},
        "service_tier": "standard_only",
        "stop_sequences": ["END"],
        "tool_choice": {"type": "auto"},
        "tools": [{**TOOL, "cache_control": cached}],
    }
    # Newer versions of the SDK have no argument for the first three.
    unknown_fields = {
        "temperature": 0.125,
        "top_k": 5,
        "top_p": 0.5,
        "unknown_field": {"edits": []},
        "nothing": None,
        "big": 2**60,
    }
    client.messages.create(model=RELAYED, **fields, extra_body=unknown_fields)
    assert upstream.last.body == {**fields, **unknown_fields, "model": "claude-opus-4-5"}


def test_betas_reach_the_upstream_and_client_keys_do_not(client: anthropic.Anthropic, upstream: Upstream) -> None:
    # This surface of the SDK adds `?beta=true` to the path.
    message = client.beta.messages.create(model=RELAYED, max_tokens=50, messages=HI, betas=["context-1m-2025-08-07"])
    assert message.content[0].type == "text"
    assert upstream.last.headers["anthropic-beta"] == "context-1m-2025-08-07"
    assert upstream.last.headers["anthropic-version"] == client.default_headers["anthropic-version"]
    assert upstream.last.headers["x-api-key"] == UPSTREAM_KEY
    assert CLIENT_KEY not in str(upstream.last.headers)


def test_fields_that_chat_supports_are_converted(client: anthropic.Anthropic, upstream: Upstream) -> None:
    client.messages.create(
        model=CONVERTED,
        max_tokens=1234,
        system="Be brief.",
        messages=HI,
        stop_sequences=["END"],
        metadata={"user_id": "user-1"},
        extra_body={"temperature": 0.125, "top_p": 0.5},
    )
    body = upstream.last.body
    assert body["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    assert (body["temperature"], body["top_p"], body["stop"]) == (0.125, 0.5, ["END"])
    assert 1234 in (body.get("max_tokens"), body.get("max_completion_tokens"))
    assert "system" not in body


def test_a_bearer_token_or_an_api_key_is_accepted(gateway: str) -> None:
    for credentials in ({"auth_token": CLIENT_KEY}, {"api_key": CLIENT_KEY}):
        with anthropic.Anthropic(base_url=gateway, **credentials) as client:
            assert client.messages.create(model=RELAYED, max_tokens=50, messages=HI).content


def test_auto_works_with_this_protocol(client: anthropic.Anthropic) -> None:
    message = client.messages.create(model="auto", max_tokens=50, messages=HI)
    assert text(message) == "You said: hi"
    assert message.model == "gpt-5.4-2026-09-01"


@both_paths
def test_the_asynchronous_client_works(gateway: str, model: str) -> None:
    async def main() -> tuple[str, str]:
        async with anthropic.AsyncAnthropic(base_url=gateway, api_key=CLIENT_KEY) as client:
            message = await client.messages.create(model=model, max_tokens=50, messages=HI)
            async with client.messages.stream(model=model, max_tokens=50, messages=HI) as stream:
                return text(message), await stream.get_final_text()

    assert asyncio.run(main()) == ("You said: hi", "You said: hi")


@pytest.mark.parametrize(
    ("model", "error", "error_type"),
    [
        ("nothing-like-it", anthropic.NotFoundError, "not_found_error"),
        ("auto[sise<7B]", anthropic.BadRequestError, "invalid_request_error"),
        ("status-400", anthropic.BadRequestError, "invalid_request_error"),
        ("status-429", anthropic.RateLimitError, "rate_limit_error"),
        ("claude-status-400", anthropic.BadRequestError, "invalid_request_error"),
        ("claude-status-429", anthropic.RateLimitError, None),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_raise_the_sdks_exceptions(
    client: anthropic.Anthropic, model: str, error: type[anthropic.APIStatusError], error_type: str | None, stream: bool
) -> None:
    with pytest.raises(error) as caught:
        client.messages.create(model=model, max_tokens=50, messages=HI, stream=stream)
    body: Any = caught.value.body
    assert body["type"] == "error"
    assert body["error"]["message"]
    assert error_type is None or body["error"]["type"] == error_type
    assert caught.value.request_id


@pytest.mark.parametrize("model", ["cut", "claude-cut"])
def test_an_interrupted_stream_raises(client: anthropic.Anthropic, model: str) -> None:
    stream = client.messages.create(model=model, max_tokens=50, messages=HI, stream=True)
    with stream, pytest.raises(anthropic.APIError):
        list(stream)


@pytest.mark.parametrize("model", ["status-429", "claude-status-429"])
def test_the_sdks_retries_are_not_multiplied(client: anthropic.Anthropic, upstream: Upstream, model: str) -> None:
    with pytest.raises(anthropic.RateLimitError):
        client.with_options(max_retries=2).messages.create(model=model, max_tokens=50, messages=HI)
    assert len(upstream.seen) == 3
