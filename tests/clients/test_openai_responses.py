"""The openai SDK's responses: relayed to a provider that supports them, and converted for chat-only providers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.clients.conftest import CLIENT_KEY, THROUGH_LITELLM
from tests.clients.inputs import BOTH_CITIES, PIXEL_ANSWER, PIXEL_URL, WEATHER, Person
from tests.clients.upstream import Upstream

RELAYED, CONVERTED, VIA_LITELLM = "gpt-5.4", "open-model", "claude"
every_path = pytest.mark.parametrize("model", [RELAYED, CONVERTED, pytest.param(VIA_LITELLM, marks=THROUGH_LITELLM)])
TOOL: Any = {"type": "function", **WEATHER, "strict": True}


@pytest.fixture(scope="module")
def client(base_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=base_url, api_key=CLIENT_KEY, max_retries=0) as client:
        yield client


@every_path
def test_a_response_is_returned(client: openai.OpenAI, model: str) -> None:
    response = client.responses.create(model=model, instructions="Be brief.", input="hi")
    assert response.output_text == "You said: hi (system: Be brief.)"
    assert (response.object, response.status) == ("response", "completed")
    assert response.usage is not None
    assert response.usage.output_tokens == 6


@pytest.mark.parametrize(
    ("model", "path"),
    [
        (RELAYED, "/v1/responses"),
        (CONVERTED, "/v1/chat/completions"),
        pytest.param(VIA_LITELLM, "/v1/messages", marks=THROUGH_LITELLM),
    ],
)
def test_each_provider_is_called_in_its_protocol(
    client: openai.OpenAI, upstream: Upstream, model: str, path: str
) -> None:
    assert client.responses.create(model=model, input="hi").model.endswith("-2026-09-01")
    assert upstream.last.path == path


@every_path
def test_a_stream_is_returned(client: openai.OpenAI, model: str) -> None:
    with client.responses.create(model=model, instructions="Be brief.", input="hi", stream=True) as stream:
        events = list(stream)
    chunks = [event.delta for event in events if event.type == "response.output_text.delta"]
    last = events[-1]
    assert len(chunks) > 1
    assert last.type == "response.completed"
    assert "".join(chunks) == last.response.output_text == "You said: hi (system: Be brief.)"
    assert last.response.usage is not None
    assert last.response.usage.output_tokens == 6
    assert [event.sequence_number for event in events] == list(range(len(events)))


@every_path
def test_a_stream_has_the_events_of_the_protocol(client: openai.OpenAI, model: str) -> None:
    with client.responses.create(model=model, input="hi", stream=True) as stream:
        event_types = [event.type for event in stream]
    without_repeats = [kind for number, kind in enumerate(event_types) if kind != event_types[number - 1]]
    assert without_repeats == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]


@every_path
def test_parallel_tool_calls_and_their_results_are_passed_on(client: openai.OpenAI, model: str) -> None:
    turns: list[Any] = [{"role": "user", "content": BOTH_CITIES}]
    response = client.responses.create(model=model, input=turns, tools=[TOOL])
    calls = [item for item in response.output if item.type == "function_call"]
    assert [(call.name, json.loads(call.arguments)["city"]) for call in calls] == [
        ("get_weather", "Oslo"),
        ("get_weather", "Lima"),
    ]
    turns += [item.model_dump(exclude_none=True) for item in response.output]
    turns += [
        {"type": "function_call_output", "call_id": call.call_id, "output": f"sunny {call.call_id}"} for call in calls
    ]
    second_response = client.responses.create(model=model, input=turns, tools=[TOOL])
    assert second_response.output_text == "The tools returned: sunny call_0_oslo; sunny call_1_lima"


@every_path
def test_streamed_tool_calls_are_assembled_from_their_fragments(client: openai.OpenAI, model: str) -> None:
    with client.responses.stream(model=model, input=BOTH_CITIES, tools=[TOOL]) as stream:
        event_types = [event.type for event in stream]
        calls: list[Any] = [item for item in stream.get_final_response().output if item.type == "function_call"]
    assert event_types.count("response.function_call_arguments.done") == 2
    assert event_types.count("response.function_call_arguments.delta") > 2
    assert [(call.call_id, json.loads(call.arguments)["city"]) for call in calls] == [
        ("call_0_oslo", "Oslo"),
        ("call_1_lima", "Lima"),
    ]


@every_path
@pytest.mark.parametrize(
    ("fields", "cities"),
    [
        ({"parallel_tool_calls": False}, ["Oslo"]),
        ({"tool_choice": "none"}, []),
        ({"tool_choice": "required"}, ["Oslo", "Lima"]),
        ({"tool_choice": {"type": "function", "name": "get_weather"}}, ["Oslo", "Lima"]),
    ],
)
def test_the_tool_choice_is_respected(
    client: openai.OpenAI, model: str, fields: dict[str, Any], cities: list[str]
) -> None:
    response = client.responses.create(model=model, input=BOTH_CITIES, tools=[TOOL], **fields)
    calls = [item for item in response.output if item.type == "function_call"]
    assert [json.loads(call.arguments)["city"] for call in calls] == cities


@every_path
def test_an_image_reaches_the_model(client: openai.OpenAI, model: str) -> None:
    content = [
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image_url": PIXEL_URL, "detail": "auto"},
    ]
    turns: Any = [{"role": "user", "content": content}]
    assert client.responses.create(model=model, input=turns).output_text == PIXEL_ANSWER


@every_path
def test_a_structured_output_is_parsed(client: openai.OpenAI, model: str) -> None:
    response = client.responses.parse(model=model, input="Ada", text_format=Person)
    assert response.output_parsed == Person(name="Ada", age=7, hobbies=["Ada"])


@every_path
def test_the_output_limit_is_respected(client: openai.OpenAI, model: str) -> None:
    response = client.responses.create(model=model, input="hi", max_output_tokens=2)
    assert response.output_text == "You said:"
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"


def test_every_request_field_reaches_the_upstream(client: openai.OpenAI, upstream: Upstream) -> None:
    fields: dict[str, Any] = {
        "background": True,
        "conversation": "conv_1",
        "include": ["reasoning.encrypted_content"],
        "input": [{"role": "user", "content": "hi"}],
        "instructions": "Be brief.",
        "max_output_tokens": 99,
        "max_tool_calls": 3,
        "metadata": {"tenant": "acme"},
        "parallel_tool_calls": True,
        "previous_response_id": "resp_0",
        "prompt_cache_key": "cache-1",
        "reasoning": {"effort": "low", "summary": "auto"},
        "safety_identifier": "user-1",
        "service_tier": "flex",
        "store": True,
        "temperature": 0.125,
        "text": {"verbosity": "low"},
        "tools": [TOOL],
        "top_p": 0.5,
        "truncation": "auto",
    }
    unknown_fields = {"nothing": None, "big": 2**60}
    client.responses.create(model="gpt-4o", **fields, extra_body=unknown_fields)
    assert upstream.last.body == {**fields, **unknown_fields, "model": "gpt-5.4"}


def test_fields_that_chat_supports_are_converted(client: openai.OpenAI, upstream: Upstream) -> None:
    client.responses.create(
        model=CONVERTED,
        instructions="Be brief.",
        input=[
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "hello"},
            {"role": "user", "content": [{"type": "input_text", "text": "how are you?"}]},
        ],
        max_output_tokens=99,
        temperature=0.125,
        top_p=0.5,
        reasoning={"effort": "low"},
    )
    body = upstream.last.body
    assert [(message["role"], text_of(message)) for message in body["messages"]] == [
        ("system", "Be brief."),
        ("user", "hi"),
        ("assistant", "hello"),
        ("user", "how are you?"),
    ]
    assert (body["temperature"], body["top_p"], body["reasoning_effort"]) == (0.125, 0.5, "low")
    assert 99 in (body.get("max_tokens"), body.get("max_completion_tokens"))
    assert not {"input", "instructions", "reasoning"} & set(body)


def test_a_previous_response_id_that_cannot_be_resolved_is_an_error(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        client.responses.create(model=CONVERTED, input="and then?", previous_response_id="resp_0")


def test_auto_works_with_this_protocol(client: openai.OpenAI, upstream: Upstream) -> None:
    assert client.responses.create(model="auto", input="hi").output_text == "You said: hi"
    assert client.responses.create(model="auto[card!=gpt-5.4]", input="hi").output_text == "You said: hi"
    assert [seen.body["model"] for seen in upstream.seen] == ["gpt-5.4", "open-model"]


@every_path
def test_the_asynchronous_client_works(base_url: str, model: str) -> None:
    async def main() -> tuple[str, str]:
        async with openai.AsyncOpenAI(base_url=base_url, api_key=CLIENT_KEY) as client:
            response = await client.responses.create(model=model, input="hi")
            async with client.responses.stream(model=model, input="hi") as stream:
                return response.output_text, (await stream.get_final_response()).output_text

    assert asyncio.run(main()) == ("You said: hi", "You said: hi")


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("nothing-like-it", openai.NotFoundError),
        ("status-400", openai.BadRequestError),
        ("status-429", openai.RateLimitError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_raise_the_sdks_exceptions(
    client: openai.OpenAI, model: str, error: type[openai.APIStatusError], stream: bool
) -> None:
    with pytest.raises(error) as caught:
        client.responses.create(model=model, input="hi", stream=stream)
    assert caught.value.request_id


@pytest.mark.parametrize("model", ["cut", "cut-in-chat"])
def test_an_interrupted_stream_raises_or_ends_with_a_failed_event(client: openai.OpenAI, model: str) -> None:
    stream = client.responses.create(model=model, input="hi", stream=True)
    try:
        with stream:
            event_types = [event.type for event in stream]
    except openai.APIError:
        return
    assert event_types[-1] in ("response.failed", "error")


def text_of(message: dict[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)
