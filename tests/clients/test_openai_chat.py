"""The openai SDK's chat completions: relayed unchanged, or converted by litellm for another protocol."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.clients.conftest import CLIENT_KEY, THROUGH_LITELLM, UPSTREAM_KEY
from tests.clients.inputs import BOTH_CITIES, CHAT_TOOL, PIXEL_ANSWER, PIXEL_URL, Person
from tests.clients.upstream import Upstream

RELAYED, VIA_LITELLM = "gpt-5.4", "claude"
both_paths = pytest.mark.parametrize("model", [RELAYED, pytest.param(VIA_LITELLM, marks=THROUGH_LITELLM)])
WITH_SYSTEM_PROMPT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "hi"},
]


@pytest.fixture(scope="module")
def client(base_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=base_url, api_key=CLIENT_KEY, max_retries=0) as client:
        yield client


def user(content: Any) -> list[Any]:
    return [{"role": "user", "content": content}]


@both_paths
def test_a_completion_is_returned(client: openai.OpenAI, model: str) -> None:
    completion = client.chat.completions.create(model=model, messages=WITH_SYSTEM_PROMPT, max_tokens=50)
    assert completion.object == "chat.completion"
    assert completion.choices[0].message.content == "You said: hi (system: Be brief.)"
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage is not None
    assert (completion.usage.completion_tokens, completion.usage.prompt_tokens) == (6, 11 if model == RELAYED else 14)


@both_paths
def test_the_response_names_the_model_that_answered(client: openai.OpenAI, model: str) -> None:
    served = client.chat.completions.create(model=model, messages=WITH_SYSTEM_PROMPT).model
    assert served == {RELAYED: "gpt-5.4-2026-09-01", VIA_LITELLM: "claude-opus-4-5-2026-09-01"}[model]


@both_paths
def test_a_stream_is_returned(client: openai.OpenAI, model: str) -> None:
    with client.chat.completions.create(model=model, messages=WITH_SYSTEM_PROMPT, stream=True) as stream:
        chunks = list(stream)
    choices = [chunk.choices[0] for chunk in chunks]
    assert "".join(choice.delta.content or "" for choice in choices) == "You said: hi (system: Be brief.)"
    assert choices[0].delta.role == "assistant"
    assert [choice.finish_reason for choice in choices if choice.finish_reason] == ["stop"]
    assert choices[-1].finish_reason == "stop"
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in chunks)


@both_paths
def test_usage_has_a_separate_chunk_if_requested(client: openai.OpenAI, model: str) -> None:
    options: Any = {"include_usage": True}
    with client.chat.completions.create(
        model=model, messages=WITH_SYSTEM_PROMPT, stream=True, stream_options=options
    ) as stream:
        *chunks, last = stream
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens == 6
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


@both_paths
def test_parallel_tool_calls_and_their_results_are_passed_on(client: openai.OpenAI, model: str) -> None:
    messages = user(BOTH_CITIES)
    completion = client.chat.completions.create(model=model, messages=messages, tools=[CHAT_TOOL])
    calls = completion.choices[0].message.tool_calls or []
    assert completion.choices[0].finish_reason == "tool_calls"
    assert [json.loads(call.function.arguments) for call in calls] == [
        {"city": "Oslo", "days": 7},
        {"city": "Lima", "days": 7},
    ]
    messages.append(completion.choices[0].message.model_dump(exclude_none=True))
    messages += [{"role": "tool", "tool_call_id": call.id, "content": f"sunny {call.id}"} for call in calls]
    answer = client.chat.completions.create(model=model, messages=messages, tools=[CHAT_TOOL])
    assert answer.choices[0].message.content == "The tools returned: sunny call_0_oslo; sunny call_1_lima"


@both_paths
def test_streamed_tool_calls_are_assembled_from_their_fragments(client: openai.OpenAI, model: str) -> None:
    with client.chat.completions.stream(model=model, messages=user(BOTH_CITIES), tools=[CHAT_TOOL]) as stream:
        event_types = [event.type for event in stream]
        message = stream.get_final_completion().choices[0].message
    calls = message.tool_calls or []
    assert event_types.count("tool_calls.function.arguments.done") == 2
    assert event_types.count("tool_calls.function.arguments.delta") > 2
    assert [(call.id, call.function.name, json.loads(call.function.arguments)["city"]) for call in calls] == [
        ("call_0_oslo", "get_weather", "Oslo"),
        ("call_1_lima", "get_weather", "Lima"),
    ]


@both_paths
@pytest.mark.parametrize(
    ("fields", "cities"),
    [
        ({"parallel_tool_calls": False}, ["Oslo"]),
        ({"tool_choice": "none"}, []),
        ({"tool_choice": "required"}, ["Oslo", "Lima"]),
        ({"tool_choice": {"type": "function", "function": {"name": "get_weather"}}}, ["Oslo", "Lima"]),
    ],
)
def test_the_tool_choice_is_respected(
    client: openai.OpenAI, model: str, fields: dict[str, Any], cities: list[str]
) -> None:
    completion = client.chat.completions.create(model=model, messages=user(BOTH_CITIES), tools=[CHAT_TOOL], **fields)
    calls = completion.choices[0].message.tool_calls or []
    assert [json.loads(call.function.arguments)["city"] for call in calls] == cities


@both_paths
def test_an_image_reaches_the_model(client: openai.OpenAI, model: str) -> None:
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": PIXEL_URL}}]
    assert client.chat.completions.create(model=model, messages=user(parts)).choices[0].message.content == PIXEL_ANSWER


@both_paths
def test_a_structured_output_is_parsed(client: openai.OpenAI, model: str) -> None:
    completion = client.chat.completions.parse(model=model, messages=user("Ada"), response_format=Person)
    assert completion.choices[0].message.parsed == Person(name="Ada", age=7, hobbies=["Ada"])


@both_paths
@pytest.mark.parametrize(
    ("fields", "text", "finish"),
    [
        ({"max_tokens": 2}, "You said:", "length"),
        ({"max_completion_tokens": 2}, "You said:", "length"),
        ({"stop": [" said"]}, "You", "stop"),
    ],
)
def test_output_limits_are_respected(
    client: openai.OpenAI, model: str, fields: dict[str, Any], text: str, finish: str
) -> None:
    choice = client.chat.completions.create(model=model, messages=user("hi"), **fields).choices[0]
    assert (choice.message.content, choice.finish_reason) == (text, finish)


def test_json_mode_is_respected(client: openai.OpenAI) -> None:
    completion = client.chat.completions.create(
        model=RELAYED, messages=user("hi"), response_format={"type": "json_object"}
    )
    assert json.loads(completion.choices[0].message.content or "") == {"prompt": "hi"}


def test_log_probabilities_are_returned(client: openai.OpenAI) -> None:
    request_fields: Any = {"model": RELAYED, "messages": user("hi"), "logprobs": True, "top_logprobs": 2}
    choice = client.chat.completions.create(**request_fields).choices[0]
    assert choice.logprobs is not None
    assert [(token.token, len(token.top_logprobs)) for token in choice.logprobs.content or []] == [
        ("You", 2),
        (" said:", 2),
        (" hi", 2),
    ]
    with client.chat.completions.create(**request_fields, stream=True) as stream:
        tokens = [
            token for chunk in stream if (logprobs := chunk.choices[0].logprobs) for token in logprobs.content or []
        ]
    assert [token.token for token in tokens] == ["You", " said:", " hi"]


def test_several_choices_are_returned(client: openai.OpenAI) -> None:
    request_fields: Any = {"model": RELAYED, "messages": user("hi"), "n": 3}
    assert [choice.index for choice in client.chat.completions.create(**request_fields).choices] == [0, 1, 2]
    with client.chat.completions.stream(**request_fields) as stream:
        stream.until_done()
        choices = stream.get_final_completion().choices
    assert [choice.message.content for choice in choices] == ["You said: hi"] * 3


def test_every_request_field_reaches_the_upstream(client: openai.OpenAI, upstream: Upstream) -> None:
    fields: dict[str, Any] = {
        "messages": [{"role": "developer", "content": "Be brief.", "name": "ops"}, *user("hi")],
        "frequency_penalty": -0.5,
        "logit_bias": {"42": -100},
        "max_completion_tokens": 99,
        "metadata": {"tenant": "acme"},
        "modalities": ["text"],
        "parallel_tool_calls": True,
        "prediction": {"type": "content", "content": "You said"},
        "presence_penalty": 0.25,
        "prompt_cache_key": "cache-1",
        "reasoning_effort": "low",
        "safety_identifier": "user-1",
        "seed": -9007199254740991,
        "service_tier": "flex",
        "store": True,
        "temperature": 0.125,
        "tools": [CHAT_TOOL],
        "top_p": 0.5,
        "user": "user-1",
        "verbosity": "low",
    }
    unknown_fields = {"min_p": 0.05, "chat_template_kwargs": {"enable_thinking": False}, "nothing": None, "big": 2**60}
    completion = client.chat.completions.create(model="gpt-4o", **fields, extra_body=unknown_fields)
    assert upstream.last.body == {**fields, **unknown_fields, "model": "gpt-5.4"}
    assert completion.system_fingerprint == "fp_-9007199254740991"


def test_fields_and_headers_for_the_gateway_do_not_reach_the_upstream(
    client: openai.OpenAI, upstream: Upstream
) -> None:
    client.chat.completions.create(
        model="auto",
        messages=user("hi"),
        extra_body={"route": {"flags": "cheapest"}, "api_base": "http://127.0.0.1:9", "api_key": "sk-other"},
        extra_headers={"x-route-flags": "card=gpt-5.4", "cookie": "a=b"},
    )
    assert set(upstream.last.body) == {"model", "messages"}
    assert upstream.last.headers["authorization"] == f"Bearer {UPSTREAM_KEY}"
    assert not [name for name in upstream.last.headers if name.startswith("x-route")]
    assert "cookie" not in upstream.last.headers


def test_auto_selects_the_cheapest_model_that_supports_the_protocol(client: openai.OpenAI, upstream: Upstream) -> None:
    client.chat.completions.create(model="auto", messages=user("hi"))
    client.chat.completions.create(model="auto[card!=gpt-5.4]", messages=user("hi"))
    assert [seen.body["model"] for seen in upstream.seen] == ["gpt-5.4", "open-model"]


def test_the_raw_response_has_headers(client: openai.OpenAI) -> None:
    raw_response = client.chat.completions.with_raw_response.create(model=RELAYED, messages=user("hi"))
    assert raw_response.request_id
    assert raw_response.headers["content-type"] == "application/json"
    assert raw_response.parse().choices[0].message.content == "You said: hi"


def test_the_base_url_needs_no_v1(gateway: str) -> None:
    with openai.OpenAI(base_url=gateway, api_key=CLIENT_KEY) as client:
        assert client.chat.completions.create(model=RELAYED, messages=user("hi")).choices
        assert client.models.list().data


def test_concurrent_calls_each_get_their_own_answer(base_url: str) -> None:
    async def answer_to(client: openai.AsyncOpenAI, number: int) -> str:
        if number % 2:
            completion = await client.chat.completions.create(model=RELAYED, messages=user(f"n{number}"))
            return completion.choices[0].message.content or ""
        stream = await client.chat.completions.create(model=RELAYED, messages=user(f"n{number}"), stream=True)
        async with stream:
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async def main() -> list[str]:
        async with openai.AsyncOpenAI(base_url=base_url, api_key=CLIENT_KEY) as client:
            return await asyncio.gather(*(answer_to(client, number) for number in range(20)))

    assert asyncio.run(main()) == [f"You said: n{number}" for number in range(20)]


def test_models_are_listed_and_retrieved(client: openai.OpenAI) -> None:
    model_ids = [model.id for model in client.models.list()]
    assert model_ids[0] == "auto"
    assert {"auto/alone", "gpt-5.4", "open-model", "claude"} <= set(model_ids)
    assert client.models.retrieve("gpt-5.4").object == "model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nothing")
