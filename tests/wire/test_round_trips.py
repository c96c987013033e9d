"""What a client gets and sends back arrives at the server as it left it, in every pair of protocols."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.errors import FieldError
from router.wire import CONVERSIONS, Dialect
from router.wire.dialect import adapt
from router.wire.reasoning import STATE
from tests.wire.chats import chunk, events
from tests.wire.conversations import (
    MAKER,
    THINKING,
    WRITERS,
    as_messages,
    as_responses,
    assistant_turns,
    conversations,
    converted,
)

# The time of an example depends on the load of the machine.
without_deadline = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def to_chat(protocol: Any, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The chat messages of a body; of a chat body its own."""
    return list(body["messages"] if protocol == "chat" else CONVERSIONS[protocol].to_chat(body)["messages"])


def as_answered(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Converted messages with what their server gets back."""
    unbound = [_returned(message) if STATE in message else message for message in messages]
    return [
        {**message, "content": message["content"] or None} if "tool_calls" in message else message
        for message in unbound
    ]


def _returned(message: dict[str, Any]) -> dict[str, Any]:
    state = message[STATE]
    turn = {name: value for name, value in message.items() if name != STATE}
    if "text" in state:
        turn[state["field"]] = state["text"]
    turn |= {name: state[name] for name in ("thinking_blocks", "reasoning_details") if name in state}
    if "calls" in state:
        turn["tool_calls"] = [{**call, **state["calls"].get(call["id"], {})} for call in turn["tool_calls"]]
    return turn


@pytest.mark.parametrize("protocol", ["messages", "responses"])
@without_deadline
@given(messages=conversations())
def test_a_conversation_comes_back_as_it_was_answered(protocol: str, messages: list[dict[str, Any]]) -> None:
    assert to_chat(protocol, WRITERS[protocol](messages)) == converted(messages)


# Generating a conversation takes ten times as long as converting it, so each is converted in every way.
@without_deadline
@given(messages=conversations())
def test_a_conversation_survives_two_protocols(messages: list[dict[str, Any]]) -> None:
    for first, second in itertools.product(WRITERS, repeat=2):
        once = as_answered(to_chat(first, WRITERS[first](messages)))
        twice = as_answered(to_chat(second, WRITERS[second](once)))

        assert twice == once == messages, (first, second)


@without_deadline
@given(messages=conversations())
def test_thinking_that_the_client_did_not_ask_for_comes_back_with_the_calls(messages: list[dict[str, Any]]) -> None:
    body = as_messages(messages, asks={})

    assert to_chat("messages", body) == converted(messages, shows_thinking=False)
    assert all(block["type"] != "thinking" for turn in body["messages"] for block in turn["content"] if "type" in block)


@pytest.mark.parametrize("protocol", ["messages", "responses"])
@without_deadline
@given(messages=conversations())
def test_no_other_server_gets_what_one_made(protocol: str, messages: list[dict[str, Any]]) -> None:
    chat = CONVERSIONS[protocol].to_chat(WRITERS[protocol](messages))  # type: ignore[index]

    own = adapt(chat, Dialect(), MAKER).body["messages"]
    foreign = adapt(chat, Dialect(), "another").body["messages"]

    bare = [{name: value for name, value in message.items() if name != STATE} for message in converted(messages)]
    assert foreign == bare
    for message, original in zip(own, messages, strict=True):
        if "tool_calls" in original:
            assert message == original


@pytest.mark.parametrize("protocol", ["messages", "responses"])
@without_deadline
@given(turn=assistant_turns(0), cut=st.integers(0, 6))
def test_a_streamed_turn_comes_back_as_a_whole_one(protocol: Any, turn: list[dict[str, Any]], cut: int) -> None:
    message = turn[0]
    deltas: list[dict[str, Any]] = []
    for name in ("reasoning", "reasoning_content", "content"):
        if text := message.get(name):
            deltas += [{name: text[:cut]}, {name: text[cut:]}]
        if name == "reasoning_content":
            lists = ("reasoning_details", "thinking_blocks")
            deltas += [{name: [entry]} for name in lists for entry in message.get(name, ())]
    calls = message.get("tool_calls", ())
    deltas += [{"tool_calls": [{"index": number, **call}]} for number, call in enumerate(calls)]
    writer = CONVERSIONS[protocol].events(THINKING, MAKER)
    written = [event for delta in deltas for event in writer.feed(chunk(**delta))]
    written += writer.feed(chunk("tool_calls" if calls else "stop"))
    stream = events(b"".join([*written, *writer.end()]))

    back = _from_stream(protocol, stream)

    user = {"role": "user", "content": "hi"}
    assert to_chat(protocol, back) == [user, *converted(turn[:1])]


@pytest.mark.parametrize("protocol", ["messages", "responses"])
def test_what_streams_after_a_call_comes_back_with_its_turn(protocol: Any) -> None:
    calls = [{"id": f"c{n}", "type": "function", "function": {"name": "f", "arguments": "{}"}} for n in (0, 1)]
    signed = {"type": "reasoning.encrypted", "data": "S", "index": 0}
    deltas: list[dict[str, Any]] = [
        {"reasoning": "Hm."},
        {"tool_calls": [{"index": 0, **calls[0]}]},
        {"content": "\n"},
        {"tool_calls": [{"index": 1, **calls[1]}]},
        {"reasoning_details": [signed]},
    ]
    writer = CONVERSIONS[protocol].events(THINKING, MAKER)
    written = [event for delta in deltas for event in writer.feed(chunk(**delta))]
    written += writer.feed(chunk("tool_calls"))
    back = _from_stream(protocol, events(b"".join([*written, *writer.end()])))
    if protocol == "responses":
        back["input"] += [{"type": "function_call_output", "call_id": call["id"], "output": "1"} for call in calls]
    else:
        results = [{"type": "tool_result", "tool_use_id": call["id"], "content": "1"} for call in calls]
        back["messages"].append({"role": "user", "content": results})

    turns = as_answered(to_chat(protocol, back))

    reasoning = {"reasoning": "Hm.", "reasoning_details": [signed]}
    turn = {"role": "assistant", "content": "\n", "tool_calls": calls, **reasoning}
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "1"} for call in calls]
    assert turns == [{"role": "user", "content": "hi"}, turn, *results]


def _from_stream(protocol: str, stream: list[dict[str, Any]]) -> dict[str, Any]:
    """The body that continues after the stream."""
    user = {"role": "user", "content": "hi"}
    if protocol == "responses":
        return {"input": [user, *stream[-1]["response"]["output"]]}
    blocks: list[dict[str, Any]] = []
    for event in stream:
        if event["type"] == "content_block_start":
            blocks.append({**event["content_block"], "json": ""})
        elif event["type"] == "content_block_delta":
            kind, value = (event["delta"][name] for name in event["delta"])
            field = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}.get(
                kind, "json"
            )
            blocks[-1][field] += value
    for block in blocks:
        text = block.pop("json")
        if block["type"] == "tool_use":
            block["input"] = json.loads(text)
    return {"messages": [user, {"role": "assistant", "content": blocks}]}


FOREIGN = {
    "messages": [
        {"type": "server_tool_use", "id": "1", "name": "web_search", "input": {}},
        {"type": "container_upload", "file_id": "f"},
        {"type": "document", "source": {"type": "url", "url": "https://example.invalid/a.pdf"}},
        {"type": "image", "source": {"type": "file", "file_id": "f"}},
    ],
    "responses": [
        {"type": "web_search_call", "id": "1"},
        {"type": "item_reference", "id": "1"},
        {"type": "message", "role": "user", "content": [{"type": "input_file", "file_id": "f"}]},
        {"type": "local_shell_call", "id": "1", "call_id": "1", "action": {"type": "exec", "command": ["ls"]}},
    ],
}


@pytest.mark.parametrize("protocol", FOREIGN)
@without_deadline
@given(data=st.data())
def test_what_chat_has_no_counterpart_for_is_refused_by_its_place(protocol: Any, data: st.DataObject) -> None:
    messages = data.draw(conversations())
    body = as_messages(messages) if protocol == "messages" else as_responses(messages)
    field = "messages" if protocol == "messages" else "input"
    place = data.draw(st.integers(0, len(body[field])))
    before, after = body[field][:place], body[field][place:]
    for item in FOREIGN[protocol]:
        entry = {"role": "user", "content": [item]} if protocol == "messages" else item

        with pytest.raises(FieldError) as raised:
            CONVERSIONS[protocol].to_chat({**body, field: [*before, entry, *after]})

        assert raised.value.param.startswith(f"{field}[{place}]"), item
