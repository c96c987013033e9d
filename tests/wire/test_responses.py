"""Chat answers as Responses, whole and in events, read by OpenAI's own SDK."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from router.wire import CONVERSIONS
from tests.wire.chats import (
    USAGE,
    Converting,
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
def client(one_server: Converting) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="k", base_url=f"{one_server.url}/v1", max_retries=0) as client:
        yield client


def final(client: openai.OpenAI, **asked: Any) -> Any:
    """The response that the SDK puts together from the stream."""
    with client.responses.stream(model="auto", input="hi", **asked) as stream:
        return stream.get_final_response()


def test_the_sdk_reads_a_whole_answer(gateway: Converting, client: openai.OpenAI) -> None:
    gateway.chat = completion(
        "tool_calls", reasoning_content="Hmm.", content="Sure.", tool_calls=[call_message("a", "f", '{"x":1}')]
    )

    said: Any = client.responses.create(model="auto", input="hi", tools=[TOOL], instructions="Be brief.")

    reasoning, message, call = said.output
    assert (said.id, said.model, said.status, said.output_text) == ("resp_1", "served", "completed", "Sure.")
    assert (reasoning.type, reasoning.content[0].text) == ("reasoning", "Hmm.")
    assert (message.role, message.status) == ("assistant", "completed")
    assert (call.call_id, call.name, call.arguments) == ("a", "f", '{"x":1}')
    assert (said.instructions, said.tools[0].name, said.store) == ("Be brief.", "f", False)


def test_the_usage_has_its_details(gateway: Converting, client: openai.OpenAI) -> None:
    usage: Any = client.responses.create(model="auto", input="hi").usage

    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (100, 20, 120)
    assert (usage.input_tokens_details.cached_tokens, usage.output_tokens_details.reasoning_tokens) == (60, 8)


def test_the_sdk_reads_a_streamed_text(gateway: Converting, client: openai.OpenAI) -> None:
    gateway.chunks = [chunk(role="assistant"), chunk(content="Hel"), chunk(content="lo"), chunk("stop"), usage_chunk()]

    said = final(client)

    assert (said.output_text, said.status, said.usage.total_tokens) == ("Hello", "completed", 120)


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


def test_a_stream_of_reasoning_has_its_own_events() -> None:
    stream = events(streamed("responses", [chunk(reasoning="Hmm."), chunk(content="Yes."), chunk("stop")]))

    kinds = [event["type"] for event in stream]
    assert "response.reasoning_text.delta" in kinds
    assert "response.reasoning_text.done" in kinds
    assert [item["type"] for item in stream[-1]["response"]["output"]] == ["reasoning", "message"]


def test_the_sdk_reads_calls_that_grow_at_once(gateway: Converting, client: openai.OpenAI) -> None:
    gateway.chunks = [
        chunk(tool_calls=[call_delta(0, "", id="a", name="f"), call_delta(1, "", id="b", name="f")]),
        chunk(tool_calls=[call_delta(0, '{"x"'), call_delta(1, '{"y"')]),
        chunk(tool_calls=[call_delta(1, ":2}"), call_delta(0, ":1}")]),
        chunk("tool_calls"),
    ]

    said = final(client, tools=[TOOL])

    assert [(call.call_id, call.arguments) for call in said.output] == [("a", '{"x":1}'), ("b", '{"y":2}')]


def test_the_sdk_parses_a_structured_answer(gateway: Converting, client: openai.OpenAI) -> None:
    gateway.chunks = [chunk(content='{"name":'), chunk(content='"Rome"}'), chunk("stop")]

    assert final(client, text_format=City).output_parsed == City(name="Rome")
    shape = gateway.asked["response_format"]["json_schema"]
    assert (shape["name"], shape["strict"], list(shape["schema"]["properties"])) == ("City", True, ["name"])


@pytest.mark.parametrize(("finish", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
def test_an_answer_that_was_cut_short_is_incomplete(finish: str, reason: str) -> None:
    whole = CONVERSIONS["responses"].answer(completion(finish, content="Hel"), {})
    last = events(streamed("responses", [chunk(content="Hel"), chunk(finish), usage_chunk()]))[-1]

    assert last["type"] == "response.incomplete"
    assert last["response"] == whole
    assert (whole["status"], whole["incomplete_details"]) == ("incomplete", {"reason": reason})
    assert whole["output"][-1]["status"] == "incomplete"


def test_a_refusal_is_a_part_of_its_own(gateway: Converting, client: openai.OpenAI) -> None:
    gateway.chunks = [chunk(refusal="I will "), chunk(refusal="not."), chunk("stop")]

    part = final(client).output[0].content[0]

    assert (part.type, part.refusal) == ("refusal", "I will not.")


def test_logprobs_stay_with_their_words() -> None:
    told = {"token": "Hi", "logprob": -0.1, "bytes": [72, 105], "top_logprobs": []}
    said = chunk(content="Hi")
    said["choices"][0]["logprobs"] = {"content": [told]}

    stream = events(streamed("responses", [said, chunk(content="!"), chunk("stop")]))

    deltas = [event["logprobs"] for event in stream if event["type"] == "response.output_text.delta"]
    assert deltas == [[told], []]
    assert stream[-1]["response"]["output"][0]["content"][0]["logprobs"] == [told]


def test_an_answer_of_nothing_has_no_items() -> None:
    last = events(streamed("responses", [chunk(role="assistant"), chunk("stop")]))[-1]

    assert (last["type"], last["response"]["output"]) == ("response.completed", [])


@pytest.mark.parametrize(
    "broken", [[], [{"error": {"message": "boom"}}], [chunk(content=[5])]], ids=["cut", "error chunk", "garbage"]
)
def test_the_sdk_raises_where_the_stream_broke_off(
    gateway: Converting, client: openai.OpenAI, broken: list[dict[str, Any]]
) -> None:
    gateway.chunks = [chunk(content="Hel"), *broken]

    with pytest.raises(openai.APIError, match="the upstream"):
        final(client)


def test_a_failed_response_holds_what_was_complete() -> None:
    stream = events(streamed("responses", [chunk(reasoning="Hmm."), chunk(content="Hel")]))

    failed, error = stream[-2:]
    assert (failed["type"], error["type"]) == ("response.failed", "error")
    assert failed["response"]["status"] == "failed"
    assert [item["type"] for item in failed["response"]["output"]] == ["reasoning"]
    assert failed["response"]["error"]["message"] == error["message"]


def test_a_failure_before_the_first_chunk_is_an_error_alone() -> None:
    failed = CONVERSIONS["responses"].events({}).fail("no", "upstream_error", "429")

    assert [event["type"] for event in events(failed)] == ["error"]


def test_errors_are_those_of_openai(gateway: Converting, client: openai.OpenAI) -> None:
    gateway.refusal = (429, "slow down", "rate_limit_error", "rate_limit_exceeded")

    with pytest.raises(openai.RateLimitError) as error:
        client.responses.create(model="auto", input="hi")

    assert (error.value.code, error.value.type) == ("rate_limit_exceeded", "rate_limit_error")


def test_what_was_asked_stands_in_the_answer() -> None:
    asked = {"metadata": {"a": "b"}, "temperature": 0.5, "text": {"format": {"type": "json_object"}}, "user": "u"}

    answered = CONVERSIONS["responses"].answer(completion(content="{}", usage=USAGE), asked)

    assert {name: answered[name] for name in asked} == asked


def test_logprobs_of_one_message_are_not_those_of_the_next() -> None:
    told = [{"token": token, "logprob": -0.1, "bytes": None, "top_logprobs": []} for token in "AB"]
    first, second = chunk(content="A"), chunk(content="B")
    first["choices"][0]["logprobs"], second["choices"][0]["logprobs"] = ({"content": [entry]} for entry in told)
    call = chunk(tool_calls=[call_delta(0, "{}", id="a", name="f")])

    output = events(streamed("responses", [first, call, second, chunk("stop")]))[-1]["response"]["output"]

    assert [item["content"][0]["logprobs"] for item in output if item["type"] == "message"] == [[told[0]], [told[1]]]
