"""What holds for any stream that an upstream may send."""

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

THINK = {"thinking": {"type": "enabled", "budget_tokens": 2048}}
# How long an example takes says how busy the machine is.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

SURFACES = ("messages", "responses", "completions")

_anthropic: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
_openai: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)

words = st.text(min_size=1, max_size=5)
arguments = st.dictionaries(words, st.one_of(st.integers(-9, 9), words, st.none()), max_size=3).map(json.dumps)


@st.composite
def said(draw: Any) -> tuple[str, str, list[tuple[str, str]], list[dict[str, Any]]]:
    """An answer: its reasoning, text and calls, and deltas that bring them in pieces, mixed in any order."""
    thought, text = draw(st.text(max_size=12)), draw(st.text(max_size=12))
    calls = draw(st.lists(st.tuples(st.sampled_from("fgh"), arguments), max_size=3))
    strands = [
        [{"reasoning_content": piece} for piece in pieces(draw, thought)],
        [{"content": piece} for piece in pieces(draw, text)],
    ]
    for slot, (name, given_arguments) in enumerate(calls):
        begun = {"tool_calls": [call_delta(slot, "", id=f"call-{slot}", name=name)]}
        grown = [{"tool_calls": [call_delta(slot, piece)]} for piece in pieces(draw, given_arguments)]
        strands.append([begun, *grown])
    return thought, text, calls, draw(mixed(strands))


def pieces(draw: Any, text: str) -> list[str]:
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=4)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@st.composite
def mixed(draw: Any, strands: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    strands = [list(strand) for strand in strands if strand]
    order = []
    while strands:
        strand = draw(st.sampled_from(strands))
        order.append(strand.pop(0))
        strands = [strand for strand in strands if strand]
    return order


def a_stream(deltas: list[dict[str, Any]], calls: list[Any]) -> list[dict[str, Any]]:
    return [*(chunk(**delta) for delta in deltas), chunk("tool_calls" if calls else "stop"), usage_chunk()]


@unhurried
@given(said())
def test_any_stream_becomes_well_formed_anthropic_events(answer: Any) -> None:
    thought, text, calls, deltas = answer

    stream = events(streamed("messages", a_stream(deltas, calls), THINK))

    for event in stream:
        _anthropic.validate_python(event)
    opened, closed, at = 0, 0, {"thinking": "", "text": "", "tool_use": ""}
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
            piece = event["delta"][{"thinking": "thinking", "text": "text", "tool_use": "partial_json"}[kinds[-1]]]
            at[kinds[-1]] += piece
            inputs[-1] += piece
    assert opened == closed
    assert (at["thinking"], at["text"]) == (thought, text)
    grown = [json.loads(given) for given, kind in zip(inputs, kinds, strict=True) if kind == "tool_use"]
    assert sorted(map(json.dumps, grown)) == sorted(json.dumps(json.loads(given)) for _, given in calls)


@unhurried
@given(said())
def test_any_stream_becomes_well_formed_response_events(answer: Any) -> None:
    thought, text, calls, deltas = answer

    stream = events(streamed("responses", a_stream(deltas, calls)))

    for event in stream:
        _openai.validate_python(event)
    assert [event["sequence_number"] for event in stream] == list(range(len(stream)))
    added = [event["output_index"] for event in stream if event["type"] == "response.output_item.added"]
    assert added == list(range(len(added)))
    grown: dict[str, str] = {}
    for event in stream:
        if "delta" in event:
            grown[event["item_id"]] = grown.get(event["item_id"], "") + event["delta"]
    output = stream[-1]["response"]["output"]
    assert [item["id"] for item in output] == [
        event["item"]["id"] for event in stream if event["type"] == "response.output_item.added"
    ]
    for item in output:
        shown = item["arguments"] if item["type"] == "function_call" else item["content"][0]["text"]
        assert shown == grown.get(item["id"], "")
    assert "".join(item["content"][0]["text"] for item in output if item["type"] == "message") == text
    assert "".join(item["content"][0]["text"] for item in output if item["type"] == "reasoning") == thought
    assert sorted((item["name"], item["arguments"]) for item in output if item["type"] == "function_call") == sorted(
        calls
    )


@unhurried
@given(said())
def test_any_stream_keeps_its_text_as_a_legacy_completion(answer: Any) -> None:
    _, text, calls, deltas = answer

    stream = streamed("completions", a_stream(deltas, calls))

    Completion.model_validate(events(stream)[-1])
    assert "".join(event["choices"][0]["text"] for event in events(stream)) == text
    assert stream.endswith(b"data: [DONE]\n\n")


@unhurried
@given(said())
def test_a_whole_answer_says_what_its_stream_says(answer: Any) -> None:
    thought, text, calls, _ = answer
    tool_calls = [call_message(f"call-{slot}", *call) for slot, call in enumerate(calls)]
    whole = completion("stop", reasoning_content=thought, content=text, tool_calls=tool_calls)
    slotted = [{"index": slot, **call} for slot, call in enumerate(tool_calls)]
    chunks = [chunk(reasoning_content=thought, content=text, tool_calls=slotted), chunk("stop"), usage_chunk()]

    answered = CONVERSIONS["responses"].answer(whole, {})

    assert answered == events(streamed("responses", chunks))[-1]["response"]
    Response.model_validate(answered)


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


def spoiled(told: Callable[[Any], Any]) -> st.SearchStrategy[Any]:
    """Chunks and completions in which anything may stand anywhere."""
    say = st.fixed_dictionaries(
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
            "delta": say | anything,
            "message": say | anything,
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
    return st.fixed_dictionaries({}, optional=names).map(told) | anything


@pytest.mark.parametrize("surface", SURFACES)
@unhurried
@given(data=st.data())
def test_no_chunk_breaks_the_stream_but_as_an_upstream_error(surface: Any, data: st.DataObject) -> None:
    chunks = data.draw(st.lists(spoiled(lambda chunk: chunk), max_size=5))

    stream = events(streamed(surface, chunks, {**THINK, "stream_options": {"include_usage": True}}))

    ended = {"message_stop", "response.completed", "response.incomplete", "error"}
    assert surface == "completions" or stream[-1]["type"] in ended


@pytest.mark.parametrize("surface", SURFACES)
@unhurried
@given(data=st.data())
def test_no_whole_answer_breaks_but_as_an_upstream_error(surface: Any, data: st.DataObject) -> None:
    try:
        answered = CONVERSIONS[surface].answer(data.draw(spoiled(lambda chat: chat)), {})
    except UpstreamError:
        return

    json.dumps(answered)


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
inside = st.recursive(
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
@unhurried
@given(data=st.data())
def test_no_body_breaks_but_as_the_callers_error(surface: Any, data: st.DataObject) -> None:
    body = data.draw(st.fixed_dictionaries({}, optional=dict.fromkeys(REQUESTS[surface], inside)))

    try:
        chat = CONVERSIONS[surface].to_chat(body)
    except FieldError:
        return

    assert all(message["role"] in ("system", "user", "assistant", "tool") for message in chat["messages"])
    json.dumps(chat)
