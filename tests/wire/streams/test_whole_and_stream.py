"""Whole answers as streams of one piece, and streams as whole answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import UpstreamError
from router.types import Api
from router.wire.protocols import PROTOCOLS
from router.wire.sse import events_of, read_event
from router.wire.streams.assembly import assembled
from router.wire.streams.one_piece import one_piece
from router.wire.usage import usage_in

CALLS = [
    {"id": "call_1", "type": "function", "function": {"name": "now", "arguments": '{"zone":"UTC"}'}},
    {"id": "call_2", "type": "function", "function": {"name": "add", "arguments": "{}"}},
]
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def chat(*choices: Mapping[str, Any]) -> dict[str, Any]:
    indexed = [{"index": index, "finish_reason": "stop", **choice} for index, choice in enumerate(choices)]
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "system_fingerprint": "fp",
        "choices": indexed,
        "usage": USAGE,
    }


def said(content: str | None, **fields: Any) -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": content, **fields}}


MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [
        {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
        {"type": "redacted_thinking", "data": "opaque"},
        {"type": "text", "text": "Hello"},
        {"type": "tool_use", "id": "toolu_1", "name": "now", "input": {"zone": ["UTC"]}},
        {"type": "tool_use", "id": "toolu_2", "name": "add", "input": {}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {"input_tokens": 7, "output_tokens": 3, "cache_read_input_tokens": 2},
}
RESPONSE: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "status": "completed",
    "model": "m",
    "output": [
        {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}],
        },
        {
            "id": "fc_1",
            "type": "function_call",
            "status": "completed",
            "call_id": "c",
            "name": "now",
            "arguments": "{}",
        },
    ],
    "usage": {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10},
}
LOGPROBS = {"content": [{"token": "Hello", "logprob": -0.1, "bytes": None, "top_logprobs": []}], "refusal": None}
ANSWERS: dict[str, tuple[Api, dict[str, Any]]] = {
    "text": ("chat", chat(said("Hello"))),
    "several choices": ("chat", chat(said("Hello"), {**said("Hi"), "finish_reason": "length"})),
    "tool calls": ("chat", chat({**said(None, tool_calls=CALLS), "finish_reason": "tool_calls"})),
    "reasoning": ("chat", chat(said("Hello", reasoning_content="Hm."))),
    "reasoning details": ("chat", chat(said("Hello", reasoning_details=[{"type": "reasoning.text", "text": "Hm."}]))),
    "refusal": ("chat", chat(said(None, refusal="No."))),
    "logprobs": ("chat", chat({**said("Hello"), "logprobs": LOGPROBS})),
    "completion": (
        "completions",
        {
            "id": "cmpl-1",
            "object": "text_completion",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "text": "Hello", "logprobs": None, "finish_reason": "stop"}],
            "usage": USAGE,
        },
    ),
    "message": ("messages", MESSAGE),
    "response": ("responses", RESPONSE),
}


def decoded(api: Api, stream: bytes) -> list[dict[str, Any]]:
    """The events of a stream, which must be complete, and the closing event the last."""
    protocol, progress = PROTOCOLS[api], PROTOCOLS[api].progress()
    events = [read_event(raw) for raw in events_of(stream)]
    values = [event.value for event in events if event.value is not None]
    for value in values:
        progress.read(value)
    assert progress.is_finished
    assert [protocol.is_closing(event) for event in events] == [False] * (len(events) - 1) + [True]
    assert any(map(protocol.has_content, values))
    return values


@pytest.mark.parametrize(("api", "answer"), ANSWERS.values(), ids=ANSWERS)
def test_a_whole_answer_is_the_result_of_its_stream_of_one_piece(api: Api, answer: dict[str, Any]) -> None:
    assert assembled(api, decoded(api, one_piece(api, answer))) == answer


@pytest.mark.parametrize(("api", "answer"), ANSWERS.values(), ids=ANSWERS)
def test_a_stream_of_one_piece_has_the_usage(api: Api, answer: dict[str, Any]) -> None:
    usage = None
    for value in decoded(api, one_piece(api, answer)):
        usage = usage_in(value, usage)
    assert usage == usage_in(answer)


def test_a_whole_answer_without_a_finish_reason_is_complete() -> None:
    answer = chat({**said("Hello"), "finish_reason": None})
    assert assembled("chat", decoded("chat", one_piece("chat", answer)))["choices"][0]["finish_reason"] == "stop"


texts = st.text(alphabet=st.characters(codec="utf-8"), max_size=8)


@given(st.lists(texts, min_size=1, max_size=4), st.lists(texts, max_size=3), st.lists(texts, min_size=1, max_size=3))
def test_the_parts_of_interleaved_choices_are_joined(first: list[str], second: list[str], arguments: list[str]) -> None:
    def part(index: int, **delta: Any) -> dict[str, Any]:
        return {"id": "c1", "choices": [{"index": index, "delta": delta, "finish_reason": ""}]}

    begun = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}
    events = [part(0, role="assistant", content=""), part(1, role="assistant", content="", tool_calls=[begun])]
    for position in range(max(len(first), len(second), len(arguments))):
        events += [part(0, content=text) for text in first[position : position + 1]]
        events += [part(1, reasoning_content=text) for text in second[position : position + 1]]
        pieces = arguments[position : position + 1]
        events += [part(1, tool_calls=[{"index": 0, "function": {"arguments": text}}]) for text in pieces]
    events += [{"id": "c1", "choices": [{"index": index, "delta": {}, "finish_reason": "stop"}]} for index in (0, 1)]
    one, two = assembled("chat", events)["choices"]
    assert one["message"]["content"] == "".join(first)
    assert two["message"].get("reasoning_content", "") == "".join(second)
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "".join(arguments)}}
    assert two["message"]["tool_calls"] == [call]
    assert (one["finish_reason"], two["finish_reason"]) == ("stop", "stop")


def test_two_calls_of_one_index_are_told_apart_by_their_ids() -> None:
    calls = [{"index": 0, "id": id_, "function": {"name": "f", "arguments": "{}"}} for id_ in ("a", "b")]
    events = [{"choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}]} for call in calls]
    message = assembled("chat", events)["choices"][0]["message"]
    assert [call["id"] for call in message["tool_calls"]] == ["a", "b"]


def message_of(*deltas: Mapping[str, Any]) -> dict[str, Any]:
    events = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    message: dict[str, Any] = assembled("chat", events)["choices"][0]["message"]
    return message


def test_calls_in_pieces_without_an_index_are_whole() -> None:
    pieces: list[dict[str, Any]] = [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x"'}},
        {"function": {"arguments": ": 1}"}},
        {"id": "b", "type": "function", "function": {"name": "f", "arguments": ""}},
        {"id": "b", "function": {"arguments": "{}"}},
        {"function": {"name": "g", "arguments": "{}"}},
    ]

    calls = message_of(*({"tool_calls": [piece]} for piece in pieces))["tool_calls"]

    assert [(call.get("id"), call["function"]["name"], call["function"]["arguments"]) for call in calls] == [
        ("a", "f", '{"x": 1}'),
        ("b", "f", "{}"),
        (None, "g", "{}"),
    ]
    assert all("index" not in call for call in calls)


def test_thinking_in_pieces_without_an_index_is_one_signed_block() -> None:
    pieces = [
        {"type": "thinking", "thinking": "I "},
        {"type": "thinking", "thinking": "think", "signature": None},
        {"type": "thinking", "thinking": "", "signature": "S"},
        {"type": "redacted_thinking", "data": "R"},
    ]

    assert message_of(*({"thinking_blocks": [piece]} for piece in pieces))["thinking_blocks"] == [
        {"type": "thinking", "thinking": "I think", "signature": "S"},
        {"type": "redacted_thinking", "data": "R"},
    ]


def test_a_message_whose_arguments_are_not_json_is_an_error_of_the_upstream() -> None:
    events = [
        {"type": "message_start", "message": {**MESSAGE, "content": []}},
        {"type": "content_block_start", "index": 0, "content_block": {**MESSAGE["content"][3], "input": {}}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": '{"a'}},
    ]
    with pytest.raises(UpstreamError, match="arguments"):
        assembled("messages", events)


@pytest.mark.parametrize(
    ("api", "events"),
    [
        ("chat", [{"choices": [{"message": []}]}]),
        ("chat", [{"choices": [{"message": "x", "delta": {"content": "y"}}]}]),
        ("messages", [{"type": "message_start", "message": {"id": "m"}}, {"type": "content_block_delta", "index": {}}]),
        (
            "messages",
            [{"type": "message_start", "message": {"usage": [1]}}, {"type": "message_delta", "usage": {"a": 1}}],
        ),
        (
            "messages",
            [
                {"type": "message_start", "message": {"id": "m"}},
                {"type": "content_block_start", "content_block": {"citations": 1}},
                {"type": "content_block_delta", "delta": {"type": "citations_delta", "citation": {}}},
            ],
        ),
    ],
)
def test_fields_of_the_wrong_type_in_a_stream_are_left_out(api: Api, events: list[Mapping[str, Any]]) -> None:
    assert assembled(api, events)
