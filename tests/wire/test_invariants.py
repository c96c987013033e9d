"""Properties of the conversions for arbitrary streams, answers and requests."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from anthropic.types import RawMessageStreamEvent
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types import Completion
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from router.errors import FieldError, UpstreamError
from router.wire import CONVERSIONS
from tests.wire.chats import call_delta, call_message, chunk, completion, events, streamed, usage_chunk

THINKING = {"thinking": {"type": "enabled", "budget_tokens": 2048}}
# The time of an example depends on the load of the machine.
without_deadline = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

SURFACES = ("messages", "responses", "completions")

_anthropic: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
_openai: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)

texts = st.text(min_size=1, max_size=5)
arguments = st.dictionaries(texts, st.one_of(st.integers(-9, 9), texts, st.none()), max_size=3).map(json.dumps)


@st.composite
def answers(draw: Any) -> tuple[str, str, list[tuple[str, str]], list[dict[str, Any]]]:
    """An answer: its reasoning, text and calls, and its deltas, interleaved in any order."""
    reasoning, text = draw(st.text(max_size=12)), draw(st.text(max_size=12))
    calls = draw(st.lists(st.tuples(st.sampled_from("fgh"), arguments), max_size=3))
    sequences = [
        [{"reasoning_content": part} for part in split(draw, reasoning)],
        [{"content": part} for part in split(draw, text)],
    ]
    for index, (name, call_arguments) in enumerate(calls):
        first = {"tool_calls": [call_delta(index, "", id=f"call-{index}", name=name)]}
        rest = [{"tool_calls": [call_delta(index, part)]} for part in split(draw, call_arguments)]
        sequences.append([first, *rest])
    return reasoning, text, calls, draw(interleaved(sequences))


def split(draw: Any, text: str) -> list[str]:
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=4)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@st.composite
def interleaved(draw: Any, sequences: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    sequences = [list(sequence) for sequence in sequences if sequence]
    order = []
    while sequences:
        sequence = draw(st.sampled_from(sequences))
        order.append(sequence.pop(0))
        sequences = [sequence for sequence in sequences if sequence]
    return order


def chunks_of(deltas: list[dict[str, Any]], calls: list[Any]) -> list[dict[str, Any]]:
    return [*(chunk(**delta) for delta in deltas), chunk("tool_calls" if calls else "stop"), usage_chunk()]


@without_deadline
@given(answers())
def test_any_stream_becomes_well_formed_anthropic_events(answer: Any) -> None:
    reasoning, text, calls, deltas = answer

    stream = events(streamed("messages", chunks_of(deltas, calls), THINKING))

    for event in stream:
        _anthropic.validate_python(event)
    opened, closed, received = 0, 0, {"thinking": "", "text": "", "tool_use": ""}
    inputs: list[str] = []
    kinds: list[str] = []
    assert [event["type"] for event in (stream[0], *stream[-2:])] == ["message_start", "message_delta", "message_stop"]
    for event in stream[1:-2]:
        if event["type"] == "content_block_start":
            assert opened == closed == event["index"]
            opened += 1
            kinds.append(event["content_block"]["type"])
            inputs.append("")
        elif event["type"] == "content_block_stop":
            assert event["index"] == closed == opened - 1
            closed += 1
        else:
            assert event["index"] == opened - 1 == closed
            part = event["delta"][{"thinking": "thinking", "text": "text", "tool_use": "partial_json"}[kinds[-1]]]
            received[kinds[-1]] += part
            inputs[-1] += part
    assert opened == closed
    assert (received["thinking"], received["text"]) == (reasoning, text)
    decoded = [json.loads(value) for value, kind in zip(inputs, kinds, strict=True) if kind == "tool_use"]
    assert sorted(map(json.dumps, decoded)) == sorted(json.dumps(json.loads(value)) for _, value in calls)


@without_deadline
@given(answers())
def test_any_stream_becomes_well_formed_response_events(answer: Any) -> None:
    reasoning, text, calls, deltas = answer

    stream = events(streamed("responses", chunks_of(deltas, calls)))

    for event in stream:
        _openai.validate_python(event)
    assert [event["sequence_number"] for event in stream] == list(range(len(stream)))
    added = [event["output_index"] for event in stream if event["type"] == "response.output_item.added"]
    assert added == list(range(len(added)))
    received: dict[str, str] = {}
    for event in stream:
        if "delta" in event:
            received[event["item_id"]] = received.get(event["item_id"], "") + event["delta"]
    output = stream[-1]["response"]["output"]
    assert [item["id"] for item in output] == [
        event["item"]["id"] for event in stream if event["type"] == "response.output_item.added"
    ]
    for item in output:
        content = item["arguments"] if item["type"] == "function_call" else item["content"][0]["text"]
        assert content == received.get(item["id"], "")
    assert "".join(item["content"][0]["text"] for item in output if item["type"] == "message") == text
    assert "".join(item["content"][0]["text"] for item in output if item["type"] == "reasoning") == reasoning
    assert sorted((item["name"], item["arguments"]) for item in output if item["type"] == "function_call") == sorted(
        calls
    )


@without_deadline
@given(answers())
def test_any_stream_keeps_its_text_as_a_legacy_completion(answer: Any) -> None:
    _, text, calls, deltas = answer

    stream = streamed("completions", chunks_of(deltas, calls))

    Completion.model_validate(events(stream)[-1])
    assert "".join(event["choices"][0]["text"] for event in events(stream)) == text
    assert stream.endswith(b"data: [DONE]\n\n")


@without_deadline
@given(answers())
def test_a_whole_answer_equals_the_result_of_its_stream(answer: Any) -> None:
    reasoning, text, calls, _ = answer
    tool_calls = [call_message(f"call-{index}", *call) for index, call in enumerate(calls)]
    whole = completion("stop", reasoning_content=reasoning, content=text, tool_calls=tool_calls)
    indexed = [{"index": index, **call} for index, call in enumerate(tool_calls)]
    chunks = [chunk(reasoning_content=reasoning, content=text, tool_calls=indexed), chunk("stop"), usage_chunk()]

    response = CONVERSIONS["responses"].answer(whole, {})

    assert response == events(streamed("responses", chunks))[-1]["response"]
    Response.model_validate(response)


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "text", "index", "id", "name", "function", "arguments", "x"]), inner, max_size=4
        )
    ),
    max_leaves=6,
)


def malformed(change: Callable[[Any], Any]) -> st.SearchStrategy[Any]:
    """Chunks and completions in which any field may have any value."""
    message = st.fixed_dictionaries(
        {},
        optional={
            name: anything | st.text(max_size=3)
            for name in ("content", "refusal", "reasoning", "reasoning_content", "tool_calls", "role", "odd")
        },
    )
    choice = st.fixed_dictionaries(
        {},
        optional={
            "index": st.just(0) | anything,
            "delta": message | anything,
            "message": message | anything,
            "finish_reason": st.sampled_from([None, "stop", "length", "error", 5]) | anything,
            "logprobs": anything | st.fixed_dictionaries({"content": anything}),
            "stop_reason": anything,
        },
    )
    names = {
        "id": st.just("chatcmpl-1") | anything,
        "model": st.just("m") | anything,
        "created": st.just(1) | anything,
        "choices": st.lists(choice | anything, max_size=2) | anything,
        "usage": st.dictionaries(
            st.sampled_from(["prompt_tokens", "completion_tokens", "prompt_tokens_details"]), anything
        )
        | anything,
        "odd": anything,
    }
    return st.fixed_dictionaries({}, optional=names).map(change) | anything


@pytest.mark.parametrize("surface", SURFACES)
@without_deadline
@given(data=st.data())
def test_a_malformed_chunk_ends_the_stream_only_with_an_upstream_error(surface: Any, data: st.DataObject) -> None:
    chunks = data.draw(st.lists(malformed(lambda chunk: chunk), max_size=5))

    stream = events(streamed(surface, chunks, {**THINKING, "stream_options": {"include_usage": True}}))

    ended = {"message_stop", "response.completed", "response.incomplete", "error"}
    assert surface == "completions" or stream[-1]["type"] in ended


@pytest.mark.parametrize("surface", SURFACES)
@without_deadline
@given(data=st.data())
def test_a_malformed_answer_raises_only_an_upstream_error(surface: Any, data: st.DataObject) -> None:
    try:
        answer = CONVERSIONS[surface].answer(data.draw(malformed(lambda chat: chat)), {})
    except UpstreamError:
        return

    json.dumps(answer)


REQUESTS = {
    "messages": [
        "messages",
        "system",
        "tools",
        "tool_choice",
        "metadata",
        "thinking",
        "output_config",
        "output_format",
    ],
    "responses": ["input", "instructions", "tools", "tool_choice", "text", "reasoning", "include", "top_logprobs"],
    "completions": ["prompt", "suffix", "echo", "best_of", "n", "logprobs", "stream_options"],
}
KINDS = (
    *("text", "image", "document", "tool_use", "tool_result", "thinking", "message", "function_call", "reasoning"),
    *("function_call_output", "input_text", "input_image", "input_file", "function", "tool", "enabled", "json_schema"),
    *("base64", "url", "content"),
)
FIELDS = (
    *("content", "text", "source", "id", "name", "input", "schema", "format", "output", "input_schema", "arguments"),
    *("call_id", "tool_use_id", "data", "media_type", "url"),
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "user", "assistant", "text", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.fixed_dictionaries(
            {},
            optional={
                "type": st.sampled_from(KINDS) | inner,
                "role": st.sampled_from(["user", "assistant", "system", "developer"]) | inner,
                **dict.fromkeys(FIELDS, inner),
            },
        )
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("surface", SURFACES)
@without_deadline
@given(data=st.data())
def test_a_malformed_request_raises_only_a_field_error(surface: Any, data: st.DataObject) -> None:
    body = data.draw(st.fixed_dictionaries({}, optional=dict.fromkeys(REQUESTS[surface], values)))

    try:
        chat = CONVERSIONS[surface].to_chat(body)
    except FieldError:
        return

    assert all(message["role"] in ("system", "user", "assistant", "tool") for message in chat["messages"])
    json.dumps(chat)
