"""The openai SDK's responses: relayed to a provider that has them, and answered by ones that only chat."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.clients.asks import BOTH_CITIES, PIXEL_SEEN, PIXEL_URL, WEATHER, Person
from tests.clients.conftest import CLIENT_KEY, THROUGH_LITELLM
from tests.clients.upstream import Upstream

RELAYED, CONVERTED, TRANSLATED = "gpt-5.4", "open-model", "claude"
every_way = pytest.mark.parametrize("model", [RELAYED, CONVERTED, pytest.param(TRANSLATED, marks=THROUGH_LITELLM)])
TOOL: Any = {"type": "function", **WEATHER, "strict": True}


@pytest.fixture(scope="module")
def client(base_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=base_url, api_key=CLIENT_KEY, max_retries=0) as client:
        yield client


@every_way
def test_a_response_comes_back(client: openai.OpenAI, model: str) -> None:
    response = client.responses.create(model=model, instructions="Be brief.", input="hi")
    assert response.output_text == "You said: hi (told: Be brief.)"
    assert (response.object, response.status) == ("response", "completed")
    assert response.usage is not None
    assert response.usage.output_tokens == 6


@pytest.mark.parametrize(
    ("model", "path"),
    [
        (RELAYED, "/v1/responses"),
        (CONVERTED, "/v1/chat/completions"),
        pytest.param(TRANSLATED, "/v1/messages", marks=THROUGH_LITELLM),
    ],
)
def test_each_provider_is_spoken_to_in_its_protocol(
    client: openai.OpenAI, upstream: Upstream, model: str, path: str
) -> None:
    assert client.responses.create(model=model, input="hi").model.endswith("-2026-09-01")
    assert upstream.last.path == path


@every_way
def test_a_stream_comes_back(client: openai.OpenAI, model: str) -> None:
    with client.responses.create(model=model, instructions="Be brief.", input="hi", stream=True) as stream:
        events = list(stream)
    said = [event.delta for event in events if event.type == "response.output_text.delta"]
    last = events[-1]
    assert len(said) > 1
    assert last.type == "response.completed"
    assert "".join(said) == last.response.output_text == "You said: hi (told: Be brief.)"
    assert last.response.usage is not None
    assert last.response.usage.output_tokens == 6
    assert [event.sequence_number for event in events] == list(range(len(events)))


@every_way
def test_the_events_of_a_stream_are_those_of_the_protocol(client: openai.OpenAI, model: str) -> None:
    with client.responses.create(model=model, input="hi", stream=True) as stream:
        kinds = [event.type for event in stream]
    once = [kind for number, kind in enumerate(kinds) if kind != kinds[number - 1]]
    assert once == [
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


@every_way
def test_parallel_calls_of_tools_and_their_results_go_back_and_forth(client: openai.OpenAI, model: str) -> None:
    turns: list[Any] = [{"role": "user", "content": BOTH_CITIES}]
    asked = client.responses.create(model=model, input=turns, tools=[TOOL])
    calls = [item for item in asked.output if item.type == "function_call"]
    assert [(call.name, json.loads(call.arguments)["city"]) for call in calls] == [
        ("get_weather", "Oslo"),
        ("get_weather", "Lima"),
    ]
    turns += [item.model_dump(exclude_none=True) for item in asked.output]
    turns += [
        {"type": "function_call_output", "call_id": call.call_id, "output": f"sunny {call.call_id}"} for call in calls
    ]
    told = client.responses.create(model=model, input=turns, tools=[TOOL])
    assert told.output_text == "The tools say: sunny call_0_oslo; sunny call_1_lima"


@every_way
def test_calls_of_tools_come_in_pieces_that_fit_together(client: openai.OpenAI, model: str) -> None:
    with client.responses.stream(model=model, input=BOTH_CITIES, tools=[TOOL]) as stream:
        kinds = [event.type for event in stream]
        calls: list[Any] = [item for item in stream.get_final_response().output if item.type == "function_call"]
    assert kinds.count("response.function_call_arguments.done") == 2
    assert kinds.count("response.function_call_arguments.delta") > 2
    assert [(call.call_id, json.loads(call.arguments)["city"]) for call in calls] == [
        ("call_0_oslo", "Oslo"),
        ("call_1_lima", "Lima"),
    ]


@every_way
@pytest.mark.parametrize(
    ("fields", "cities"),
    [
        ({"parallel_tool_calls": False}, ["Oslo"]),
        ({"tool_choice": "none"}, []),
        ({"tool_choice": "required"}, ["Oslo", "Lima"]),
        ({"tool_choice": {"type": "function", "name": "get_weather"}}, ["Oslo", "Lima"]),
    ],
)
def test_a_wish_about_tools_is_heard(
    client: openai.OpenAI, model: str, fields: dict[str, Any], cities: list[str]
) -> None:
    asked = client.responses.create(model=model, input=BOTH_CITIES, tools=[TOOL], **fields)
    calls = [item for item in asked.output if item.type == "function_call"]
    assert [json.loads(call.arguments)["city"] for call in calls] == cities


@every_way
def test_an_image_is_seen(client: openai.OpenAI, model: str) -> None:
    content = [
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image_url": PIXEL_URL, "detail": "auto"},
    ]
    turns: Any = [{"role": "user", "content": content}]
    assert client.responses.create(model=model, input=turns).output_text == PIXEL_SEEN


@every_way
def test_an_answer_is_parsed_by_its_schema(client: openai.OpenAI, model: str) -> None:
    response = client.responses.parse(model=model, input="Ada", text_format=Person)
    assert response.output_parsed == Person(name="Ada", age=7, hobbies=["Ada"])


@every_way
def test_the_length_of_the_answer_is_limited(client: openai.OpenAI, model: str) -> None:
    response = client.responses.create(model=model, input="hi", max_output_tokens=2)
    assert response.output_text == "You said:"
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"


def test_whatever_is_sent_reaches_the_upstream(client: openai.OpenAI, upstream: Upstream) -> None:
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
    odd = {"nothing": None, "big": 2**60}
    client.responses.create(model="gpt-4o", **fields, extra_body=odd)
    assert upstream.last.body == {**fields, **odd, "model": "gpt-5.4"}


def test_what_another_protocol_knows_is_converted(client: openai.OpenAI, upstream: Upstream) -> None:
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
    assert [(message["role"], words(message)) for message in body["messages"]] == [
        ("system", "Be brief."),
        ("user", "hi"),
        ("assistant", "hello"),
        ("user", "how are you?"),
    ]
    assert (body["temperature"], body["top_p"], body["reasoning_effort"]) == (0.125, 0.5, "low")
    assert 99 in (body.get("max_tokens"), body.get("max_completion_tokens"))
    assert not {"input", "instructions", "reasoning"} & set(body)


def test_an_earlier_response_that_nobody_kept_is_an_error_not_a_loss(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        client.responses.create(model=CONVERTED, input="and then?", previous_response_id="resp_0")


def test_auto_chooses_for_this_protocol_too(client: openai.OpenAI, upstream: Upstream) -> None:
    assert client.responses.create(model="auto", input="hi").output_text == "You said: hi"
    assert client.responses.create(model="auto[card!=gpt-5.4]", input="hi").output_text == "You said: hi"
    assert [seen.body["model"] for seen in upstream.seen] == ["gpt-5.4", "open-model"]


@every_way
def test_the_asynchronous_client_works_too(base_url: str, model: str) -> None:
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
def test_errors_are_those_of_the_sdk(
    client: openai.OpenAI, model: str, error: type[openai.APIStatusError], stream: bool
) -> None:
    with pytest.raises(error) as caught:
        client.responses.create(model=model, input="hi", stream=stream)
    assert caught.value.request_id


@pytest.mark.parametrize("model", ["cut", "cut-in-chat"])
def test_a_cut_stream_raises_or_says_that_it_failed(client: openai.OpenAI, model: str) -> None:
    stream = client.responses.create(model=model, input="hi", stream=True)
    try:
        with stream:
            kinds = [event.type for event in stream]
    except openai.APIError:
        return
    assert kinds[-1] in ("response.failed", "error")


def words(message: dict[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)
