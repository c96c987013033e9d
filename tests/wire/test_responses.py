"""Chat completions, converted to Responses whole and as events, and read by OpenAI's SDK."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from router.wire import CONVERSIONS
from tests.wire.chats import (
    USAGE,
    ConversionGateway,
    call_delta,
    call_message,
    chunk,
    completion,
    events,
    streamed,
    usage_chunk,
)

TOOL: Any = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}, "strict": False}


class City(BaseModel):
    name: str


@pytest.fixture(scope="module")
def client(one_server: ConversionGateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="k", base_url=f"{one_server.url}/v1", max_retries=0) as client:
        yield client


def final(client: openai.OpenAI, **fields: Any) -> Any:
    """The response that the SDK builds from the stream."""
    with client.responses.stream(model="auto", input="hi", **fields) as stream:
        return stream.get_final_response()


def test_the_sdk_reads_a_whole_answer(gateway: ConversionGateway, client: openai.OpenAI) -> None:
    gateway.chat = completion(
        "tool_calls", reasoning_content="Hmm.", content="Sure.", tool_calls=[call_message("a", "f", '{"x":1}')]
    )

    response: Any = client.responses.create(model="auto", input="hi", tools=[TOOL], instructions="Be brief.")

    reasoning, message, call = response.output
    assert (response.id, response.model, response.status, response.output_text) == (
        "resp_1",
        "served",
        "completed",
        "Sure.",
    )
    assert (reasoning.type, reasoning.content[0].text) == ("reasoning", "Hmm.")
    assert (message.role, message.status) == ("assistant", "completed")
    assert (call.call_id, call.name, call.arguments) == ("a", "f", '{"x":1}')
    assert (response.instructions, response.tools[0].name, response.store) == ("Be brief.", "f", False)


def test_the_usage_has_its_details(gateway: ConversionGateway, client: openai.OpenAI) -> None:
    usage: Any = client.responses.create(model="auto", input="hi").usage

    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (100, 20, 120)
    assert (usage.input_tokens_details.cached_tokens, usage.output_tokens_details.reasoning_tokens) == (60, 8)


def test_the_sdk_reads_a_streamed_text(gateway: ConversionGateway, client: openai.OpenAI) -> None:
    gateway.chunks = [chunk(role="assistant"), chunk(content="Hel"), chunk(content="lo"), chunk("stop"), usage_chunk()]

    response = final(client)

    assert (response.output_text, response.status, response.usage.total_tokens) == ("Hello", "completed", 120)


def test_events_come_in_the_order_that_openai_documents() -> None:
    stream = events(streamed("responses", [chunk(role="assistant"), chunk(content="Hello"), chunk("stop")]))

    assert [event["type"].removeprefix("response.") for event in stream] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]


def test_reasoning_has_separate_events() -> None:
    stream = events(streamed("responses", [chunk(reasoning="Hmm."), chunk(content="Yes."), chunk("stop")]))

    kinds = [event["type"] for event in stream]
    assert "response.reasoning_text.delta" in kinds
    assert "response.reasoning_text.done" in kinds
    assert [item["type"] for item in stream[-1]["response"]["output"]] == ["reasoning", "message"]


def test_the_sdk_reads_interleaved_calls(gateway: ConversionGateway, client: openai.OpenAI) -> None:
    gateway.chunks = [
        chunk(tool_calls=[call_delta(0, "", id="a", name="f"), call_delta(1, "", id="b", name="f")]),
        chunk(tool_calls=[call_delta(0, '{"x"'), call_delta(1, '{"y"')]),
        chunk(tool_calls=[call_delta(1, ":2}"), call_delta(0, ":1}")]),
        chunk("tool_calls"),
    ]

    response = final(client, tools=[TOOL])

    assert [(call.call_id, call.arguments) for call in response.output] == [("a", '{"x":1}'), ("b", '{"y":2}')]


def test_the_sdk_parses_a_structured_answer(gateway: ConversionGateway, client: openai.OpenAI) -> None:
    gateway.chunks = [chunk(content='{"name":'), chunk(content='"Rome"}'), chunk("stop")]

    assert final(client, text_format=City).output_parsed == City(name="Rome")
    json_schema = gateway.chat_body["response_format"]["json_schema"]
    assert (json_schema["name"], json_schema["strict"], list(json_schema["schema"]["properties"])) == (
        "City",
        True,
        ["name"],
    )


@pytest.mark.parametrize(("finish", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
def test_a_truncated_answer_is_incomplete(finish: str, reason: str) -> None:
    whole = CONVERSIONS["responses"].answer(completion(finish, content="Hel"), {})
    last = events(streamed("responses", [chunk(content="Hel"), chunk(finish), usage_chunk()]))[-1]

    assert last["type"] == "response.incomplete"
    assert last["response"] == whole
    assert (whole["status"], whole["incomplete_details"]) == ("incomplete", {"reason": reason})
    assert whole["output"][-1]["status"] == "incomplete"


def test_a_refusal_is_a_separate_part(gateway: ConversionGateway, client: openai.OpenAI) -> None:
    gateway.chunks = [chunk(refusal="I will "), chunk(refusal="not."), chunk("stop")]

    part = final(client).output[0].content[0]

    assert (part.type, part.refusal) == ("refusal", "I will not.")


def test_logprobs_stay_with_their_text() -> None:
    entry = {"token": "Hi", "logprob": -0.1, "bytes": [72, 105], "top_logprobs": []}
    first = chunk(content="Hi")
    first["choices"][0]["logprobs"] = {"content": [entry]}

    stream = events(streamed("responses", [first, chunk(content="!"), chunk("stop")]))

    deltas = [event["logprobs"] for event in stream if event["type"] == "response.output_text.delta"]
    assert deltas == [[entry], []]
    assert stream[-1]["response"]["output"][0]["content"][0]["logprobs"] == [entry]


def test_an_empty_answer_has_no_items() -> None:
    last = events(streamed("responses", [chunk(role="assistant"), chunk("stop")]))[-1]

    assert (last["type"], last["response"]["output"]) == ("response.completed", [])


@pytest.mark.parametrize(
    "broken", [[], [{"error": {"message": "boom"}}], [chunk(content=[5])]], ids=["cut", "error chunk", "garbage"]
)
def test_the_sdk_raises_if_the_stream_breaks_off(
    gateway: ConversionGateway, client: openai.OpenAI, broken: list[dict[str, Any]]
) -> None:
    gateway.chunks = [chunk(content="Hel"), *broken]

    with pytest.raises(openai.APIError, match="the upstream"):
        final(client)


def test_a_failed_response_contains_the_complete_items() -> None:
    stream = events(streamed("responses", [chunk(reasoning="Hmm."), chunk(content="Hel")]))

    failed, error = stream[-2:]
    assert (failed["type"], error["type"]) == ("response.failed", "error")
    assert failed["response"]["status"] == "failed"
    assert [item["type"] for item in failed["response"]["output"]] == ["reasoning"]
    assert failed["response"]["error"]["message"] == error["message"]


def test_a_failure_before_the_first_chunk_is_only_an_error_event() -> None:
    failed = CONVERSIONS["responses"].events({}).fail("no", "upstream_error", "429")

    assert [event["type"] for event in events(failed)] == ["error"]


def test_errors_have_openais_code_and_type(gateway: ConversionGateway, client: openai.OpenAI) -> None:
    gateway.error = (429, "slow down", "rate_limit_error", "rate_limit_exceeded")

    with pytest.raises(openai.RateLimitError) as error:
        client.responses.create(model="auto", input="hi")

    assert (error.value.code, error.value.type) == ("rate_limit_exceeded", "rate_limit_error")


def test_the_answer_repeats_the_fields_of_the_request() -> None:
    fields = {"metadata": {"a": "b"}, "temperature": 0.5, "text": {"format": {"type": "json_object"}}, "user": "u"}

    answer = CONVERSIONS["responses"].answer(completion(content="{}", usage=USAGE), fields)

    assert {name: answer[name] for name in fields} == fields


def test_logprobs_of_one_message_are_not_repeated_in_the_next() -> None:
    entries = [{"token": token, "logprob": -0.1, "bytes": None, "top_logprobs": []} for token in "AB"]
    first, second = chunk(content="A"), chunk(content="B")
    first["choices"][0]["logprobs"], second["choices"][0]["logprobs"] = ({"content": [entry]} for entry in entries)
    call = chunk(tool_calls=[call_delta(0, "{}", id="a", name="f")])

    output = events(streamed("responses", [first, call, second, chunk("stop")]))[-1]["response"]["output"]

    assert [item["content"][0]["logprobs"] for item in output if item["type"] == "message"] == [
        [entries[0]],
        [entries[1]],
    ]
