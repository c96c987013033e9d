"""The anthropic SDK: relayed to a provider that speaks its protocol, and answered by ones that speak OpenAI's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from tests.clients.asks import BOTH_CITIES, PIXEL, PIXEL_SEEN, WEATHER, WEATHER_SCHEMA, Person
from tests.clients.conftest import CLIENT_KEY, UPSTREAM_KEY
from tests.clients.upstream import Upstream

RELAYED, CONVERTED = "claude", "open-model"
both_ways = pytest.mark.parametrize("model", [RELAYED, CONVERTED])
TOOL: Any = {"name": WEATHER["name"], "description": WEATHER["description"], "input_schema": WEATHER_SCHEMA}
HI: list[Any] = [{"role": "user", "content": "hi"}]
CITIES: list[Any] = [{"role": "user", "content": BOTH_CITIES}]


@pytest.fixture(scope="module")
def client(gateway: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=gateway, api_key=CLIENT_KEY, max_retries=0) as client:
        yield client


def text(message: anthropic.types.Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


@both_ways
def test_a_message_comes_back(client: anthropic.Anthropic, model: str) -> None:
    message = client.messages.create(model=model, max_tokens=50, system="Be brief.", messages=HI)
    assert (message.type, message.role) == ("message", "assistant")
    assert text(message) == "You said: hi (told: Be brief.)"
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
def test_each_provider_is_spoken_to_in_its_protocol(
    client: anthropic.Anthropic, upstream: Upstream, model: str, path: str, served: str
) -> None:
    assert client.messages.create(model=model, max_tokens=50, messages=HI).model == served
    assert upstream.last.path == path


@both_ways
def test_a_stream_comes_back(client: anthropic.Anthropic, model: str) -> None:
    with client.messages.stream(model=model, max_tokens=50, system="Be brief.", messages=HI) as stream:
        said = list(stream.text_stream)
        message = stream.get_final_message()
    assert len(said) > 1
    assert "".join(said) == text(message) == "You said: hi (told: Be brief.)"
    assert message.stop_reason == "end_turn"
    assert message.usage.output_tokens == 6


@both_ways
def test_the_events_of_a_stream_are_those_of_the_protocol(client: anthropic.Anthropic, model: str) -> None:
    with client.messages.create(model=model, max_tokens=50, messages=HI, stream=True) as stream:
        kinds = [event.type for event in stream if event.type != "ping"]
    once = [kind for number, kind in enumerate(kinds) if kind != kinds[number - 1]]
    assert once == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


@both_ways
def test_parallel_calls_of_tools_and_their_results_go_back_and_forth(client: anthropic.Anthropic, model: str) -> None:
    asked = client.messages.create(model=model, max_tokens=50, messages=CITIES, tools=[TOOL])
    calls = [block for block in asked.content if block.type == "tool_use"]
    assert asked.stop_reason == "tool_use"
    assert [(call.name, call.input) for call in calls] == [
        ("get_weather", {"city": "Oslo", "days": 7}),
        ("get_weather", {"city": "Lima", "days": 7}),
    ]
    results: list[Any] = [
        {"type": "tool_result", "tool_use_id": calls[0].id, "content": "sunny"},
        {"type": "tool_result", "tool_use_id": calls[1].id, "content": [{"type": "text", "text": "foggy"}]},
    ]
    turns = [*CITIES, {"role": "assistant", "content": asked.content}, {"role": "user", "content": results}]
    told = client.messages.create(model=model, max_tokens=50, messages=turns, tools=[TOOL])
    assert text(told) == "The tools say: sunny; foggy"


@both_ways
def test_calls_of_tools_come_in_pieces_that_fit_together(client: anthropic.Anthropic, model: str) -> None:
    with client.messages.stream(model=model, max_tokens=50, messages=CITIES, tools=[TOOL]) as stream:
        pieces = [event.partial_json for event in stream if event.type == "input_json"]
        message = stream.get_final_message()
    calls = [block for block in message.content if block.type == "tool_use"]
    assert len(pieces) > 2
    assert message.stop_reason == "tool_use"
    assert [(call.id, call.input) for call in calls] == [
        ("call_0_oslo", {"city": "Oslo", "days": 7}),
        ("call_1_lima", {"city": "Lima", "days": 7}),
    ]


@both_ways
@pytest.mark.parametrize(
    ("choice", "cities"),
    [
        ({"type": "auto", "disable_parallel_tool_use": True}, ["Oslo"]),
        ({"type": "none"}, []),
        ({"type": "any"}, ["Oslo", "Lima"]),
        ({"type": "tool", "name": "get_weather"}, ["Oslo", "Lima"]),
    ],
)
def test_a_wish_about_tools_is_heard(
    client: anthropic.Anthropic, model: str, choice: dict[str, Any], cities: list[str]
) -> None:
    fields: Any = {"tools": [TOOL], "tool_choice": choice}
    asked = client.messages.create(model=model, max_tokens=50, messages=CITIES, **fields)
    assert [block.input["city"] for block in asked.content if block.type == "tool_use"] == cities


@both_ways
def test_the_sdks_own_loop_runs_tools_to_the_end(client: anthropic.Anthropic, model: str) -> None:
    @anthropic.beta_tool
    def get_weather(city: str) -> str:
        """The weather of a city."""
        return f"{city} is sunny"

    runner = client.beta.messages.tool_runner(model=model, max_tokens=50, messages=CITIES, tools=[get_weather])
    assert text(runner.until_done()) == "The tools say: Oslo is sunny; Lima is sunny"  # type: ignore[arg-type]


@both_ways
@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ({"type": "base64", "media_type": "image/png", "data": PIXEL}, PIXEL_SEEN),
        ({"type": "url", "url": "https://example.com/a.png"}, "I see https://example.com/a.png"),
    ],
)
def test_an_image_is_seen(client: anthropic.Anthropic, model: str, source: dict[str, str], seen: str) -> None:
    content = [{"type": "image", "source": source}, {"type": "text", "text": "What is this?"}]
    messages: Any = [{"role": "user", "content": content}]
    assert text(client.messages.create(model=model, max_tokens=50, messages=messages)) == seen


@both_ways
def test_an_answer_is_parsed_by_its_schema(client: anthropic.Anthropic, model: str) -> None:
    messages: Any = [{"role": "user", "content": "Ada"}]
    message = client.messages.parse(model=model, max_tokens=50, messages=messages, output_format=Person)
    assert message.parsed_output == Person(name="Ada", age=7, hobbies=["Ada"])


@both_ways
def test_the_length_of_the_answer_is_limited(client: anthropic.Anthropic, model: str) -> None:
    message = client.messages.create(model=model, max_tokens=2, messages=HI)
    assert (text(message), message.stop_reason) == ("You said:", "max_tokens")


@both_ways
def test_a_stop_sequence_ends_the_answer(client: anthropic.Anthropic, model: str) -> None:
    message = client.messages.create(model=model, max_tokens=50, messages=HI, stop_sequences=[" hi"])
    assert text(message) == "You said:"


def test_a_provider_with_this_protocol_tells_which_stop_sequence_it_was(client: anthropic.Anthropic) -> None:
    messages: Any = [{"role": "user", "content": "one END two"}]
    message = client.messages.create(model=RELAYED, max_tokens=50, messages=messages, stop_sequences=["END"])
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "END")


@both_ways
def test_tokens_are_counted(client: anthropic.Anthropic, model: str) -> None:
    count = client.messages.count_tokens(model=model, system="Be brief.", messages=HI, tools=[TOOL])
    assert count.input_tokens > 0


def test_a_provider_that_counts_tokens_is_asked(client: anthropic.Anthropic, upstream: Upstream) -> None:
    assert client.messages.count_tokens(model=RELAYED, messages=HI).input_tokens == 11
    assert upstream.last.path == "/v1/messages/count_tokens"


def test_more_text_counts_as_more_tokens(client: anthropic.Anthropic) -> None:
    def count(words: str) -> int:
        messages: Any = [{"role": "user", "content": words}]
        return client.messages.count_tokens(model=CONVERTED, messages=messages).input_tokens

    assert count("hi") < count("a good deal more than hi") < count("a good deal more than hi " * 50)


@pytest.mark.parametrize("stream", [False, True])
def test_thoughts_and_their_signature_come_back(client: anthropic.Anthropic, stream: bool) -> None:
    asked: Any = {
        "model": RELAYED,
        "max_tokens": 2048,
        "messages": HI,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }
    if stream:
        with client.messages.stream(**asked) as events:
            message = events.get_final_message()
    else:
        message = client.messages.create(**asked)
    thought, said = message.content
    assert thought.type == "thinking"
    assert (thought.thinking, thought.signature) == ("Let me think.", "c2ln")
    assert said.type == "text"


def test_whatever_is_sent_reaches_the_upstream(client: anthropic.Anthropic, upstream: Upstream) -> None:
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
    # Newer versions of the SDK have no argument for the first three, older ones did.
    odd = {"temperature": 0.125, "top_k": 5, "top_p": 0.5, "unheard_of": {"edits": []}, "nothing": None, "big": 2**60}
    client.messages.create(model=RELAYED, **fields, extra_body=odd)
    assert upstream.last.body == {**fields, **odd, "model": "claude-opus-4-5"}


def test_betas_reach_the_upstream_and_keys_do_not(client: anthropic.Anthropic, upstream: Upstream) -> None:
    # This surface of the SDK adds `?beta=true` to the path.
    message = client.beta.messages.create(model=RELAYED, max_tokens=50, messages=HI, betas=["context-1m-2025-08-07"])
    assert message.content[0].type == "text"
    assert upstream.last.headers["anthropic-beta"] == "context-1m-2025-08-07"
    assert upstream.last.headers["anthropic-version"] == client.default_headers["anthropic-version"]
    assert upstream.last.headers["x-api-key"] == UPSTREAM_KEY
    assert CLIENT_KEY not in str(upstream.last.headers)


def test_what_another_protocol_knows_is_converted(client: anthropic.Anthropic, upstream: Upstream) -> None:
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


def test_credentials_may_come_as_a_bearer_token_or_a_key(gateway: str) -> None:
    for credentials in ({"auth_token": CLIENT_KEY}, {"api_key": CLIENT_KEY}):
        with anthropic.Anthropic(base_url=gateway, **credentials) as client:
            assert client.messages.create(model=RELAYED, max_tokens=50, messages=HI).content


def test_auto_chooses_for_this_protocol_too(client: anthropic.Anthropic) -> None:
    message = client.messages.create(model="auto", max_tokens=50, messages=HI)
    assert text(message) == "You said: hi"
    assert message.model == "gpt-5.4-2026-09-01"


@both_ways
def test_the_asynchronous_client_works_too(gateway: str, model: str) -> None:
    async def main() -> tuple[str, str]:
        async with anthropic.AsyncAnthropic(base_url=gateway, api_key=CLIENT_KEY) as client:
            message = await client.messages.create(model=model, max_tokens=50, messages=HI)
            async with client.messages.stream(model=model, max_tokens=50, messages=HI) as stream:
                return text(message), await stream.get_final_text()

    assert asyncio.run(main()) == ("You said: hi", "You said: hi")


@pytest.mark.parametrize(
    ("model", "error", "kind"),
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
def test_errors_are_those_of_the_sdk(
    client: anthropic.Anthropic, model: str, error: type[anthropic.APIStatusError], kind: str | None, stream: bool
) -> None:
    with pytest.raises(error) as caught:
        client.messages.create(model=model, max_tokens=50, messages=HI, stream=stream)
    said: Any = caught.value.body
    assert said["type"] == "error"
    assert said["error"]["message"]
    assert kind is None or said["error"]["type"] == kind
    assert caught.value.request_id


@pytest.mark.parametrize("model", ["cut", "claude-cut"])
def test_a_cut_stream_raises(client: anthropic.Anthropic, model: str) -> None:
    stream = client.messages.create(model=model, max_tokens=50, messages=HI, stream=True)
    with stream, pytest.raises(anthropic.APIError):
        list(stream)


@pytest.mark.parametrize("model", ["status-429", "claude-status-429"])
def test_the_sdks_retries_are_not_multiplied(client: anthropic.Anthropic, upstream: Upstream, model: str) -> None:
    with pytest.raises(anthropic.RateLimitError):
        client.with_options(max_retries=2).messages.create(model=model, max_tokens=50, messages=HI)
    assert len(upstream.seen) == 3
