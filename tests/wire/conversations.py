"""Generated conversations as chat messages, and the same written in every protocol as its clients do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from router.formats.json import json_bytes
from router.wire import CONVERSIONS
from router.wire.reasoning import STATE
from tests.wire.chats import call_message, completion

MAKER = "card"
Message = dict[str, Any]
Body = dict[str, Any]
THINKING = {"thinking": {"type": "enabled", "budget_tokens": 2048}}

texts = st.text(min_size=1, max_size=6)
data = st.sampled_from(["AAAA", "AAEC", "/w=="])
images = st.one_of(
    data.map(lambda encoded: f"data:image/png;base64,{encoded}"), st.just("https://example.invalid/a.png")
).map(lambda url: {"type": "image_url", "image_url": {"url": url}})
arguments = st.dictionaries(texts, st.integers(-9, 9) | texts | st.none(), max_size=2).map(
    lambda value: json_bytes(value).decode()
)
blocks = st.builds(lambda text: {"type": "thinking", "thinking": text, "signature": "S"}, texts)
details = st.builds(lambda text: {"type": "reasoning.text", "text": text, "index": 0}, texts)


@st.composite
def user_turns(draw: Any) -> Message:
    parts = draw(st.lists(texts.map(lambda text: {"type": "text", "text": text}) | images, min_size=1, max_size=3))
    single = len(parts) == 1 and parts[0]["type"] == "text"
    return {"role": "user", "content": parts[0]["text"] if single else parts}


@st.composite
def assistant_turns(draw: Any, first_id: int) -> list[Message]:
    """An assistant's turn as its server sends it, and the results of its calls."""
    calls = draw(st.lists(st.tuples(st.sampled_from("fg"), arguments), max_size=2))
    text = draw(st.text(max_size=6)) if calls else draw(texts)
    turn: Message = {"role": "assistant", "content": text or None}
    if draw(st.booleans()):
        turn[draw(st.sampled_from(["reasoning", "reasoning_content"]))] = draw(texts)
    if calls:
        ids = [f"call_{first_id + number}" for number in range(len(calls))]
        turn["tool_calls"] = [call_message(id_, *call) for id_, call in zip(ids, calls, strict=True)]
        if draw(st.booleans()):
            turn["tool_calls"][0]["extra_content"] = {"google": {"thought_signature": draw(texts)}}
        if draw(st.booleans()):
            turn["thinking_blocks"] = draw(st.lists(blocks, min_size=1, max_size=2))
        if draw(st.booleans()):
            turn["reasoning_details"] = [draw(details)]
        return [turn, *({"role": "tool", "tool_call_id": id_, "content": draw(st.text(max_size=6))} for id_ in ids)]
    return [turn]


@st.composite
def conversations(draw: Any) -> list[Message]:
    """Chat messages that begin with a system message, if any, and end with the user's or a tool's."""
    messages: list[Message] = [{"role": "system", "content": draw(texts)}] if draw(st.booleans()) else []
    for number in range(draw(st.integers(1, 3))):
        messages.append(draw(user_turns()))
        for step in range(draw(st.integers(0, 2))):
            turn = draw(assistant_turns(10 * number + 3 * step))
            messages += turn
            if len(turn) == 1:
                break
    if messages[-1]["role"] == "assistant":
        messages.append(draw(user_turns()))
    return messages


def converted(messages: Sequence[Message], *, shows_thinking: bool = True) -> list[Message]:
    """The messages as they have to come back: what only its server may get again is the turn's state."""
    return [_with_state(message, shows_thinking) if message["role"] == "assistant" else message for message in messages]


def _with_state(message: Message, shows_thinking: bool) -> Message:
    turn = {"role": "assistant", "content": message["content"]}
    state: dict[str, Any] = {"by": MAKER}
    calls = message.get("tool_calls")
    for field in ("reasoning", "reasoning_content"):
        if field in message and (shows_thinking or calls):
            state |= {"field": field, "text": message[field]}
    state |= {field: message[field] for field in ("thinking_blocks", "reasoning_details") if field in message}
    if calls:
        extras = {call["id"]: {"extra_content": call["extra_content"]} for call in calls if "extra_content" in call}
        state |= {"calls": extras} if extras else {}
        turn["tool_calls"] = [{name: call[name] for name in ("id", "type", "function")} for call in calls]
    return turn if len(state) == 1 else {**turn, STATE: state}


def as_chat(messages: Sequence[Message], **_: Any) -> Body:
    return {"messages": list(messages)}


def as_messages(messages: Sequence[Message], *, asks: Mapping[str, Any] = THINKING) -> Body:
    body: Body = {"model": "m", "max_tokens": 64, "messages": [], **asks}
    for message in messages:
        role, content = message["role"], message["content"]
        if role == "system":
            body["system"] = content
        elif role == "assistant":
            answer = CONVERSIONS["messages"].answer(completion(**message), body, MAKER)
            body["messages"].append({"role": "assistant", "content": answer["content"]})
        elif role == "tool":
            block = {"type": "tool_result", "tool_use_id": message["tool_call_id"], "content": content}
            body["messages"].append({"role": "user", "content": [block]})
        else:
            blocks = content if isinstance(content, str) else [_block(part) for part in content]
            body["messages"].append({"role": "user", "content": blocks})
    return body


def as_responses(messages: Sequence[Message], **_: Any) -> Body:
    body: Body = {"model": "m", "input": []}
    for message in messages:
        role, content = message["role"], message["content"]
        if role == "system":
            body["instructions"] = content
        elif role == "assistant":
            body["input"] += CONVERSIONS["responses"].answer(completion(**message), body, MAKER)["output"]
        elif role == "tool":
            item = {"type": "function_call_output", "call_id": message["tool_call_id"], "output": content}
            body["input"].append(item)
        else:
            parts = content if isinstance(content, str) else [_item_part(part) for part in content]
            body["input"].append({"type": "message", "role": "user", "content": parts})
    return body


def _block(part: Message) -> Message:
    if part["type"] == "text":
        return part
    url = part["image_url"]["url"]
    if not url.startswith("data:"):
        return {"type": "image", "source": {"type": "url", "url": url}}
    media, _, encoded = url.removeprefix("data:").partition(";base64,")
    return {"type": "image", "source": {"type": "base64", "media_type": media, "data": encoded}}


def _item_part(part: Message) -> Message:
    if part["type"] == "text":
        return {"type": "input_text", "text": part["text"]}
    return {"type": "input_image", "image_url": part["image_url"]["url"]}


WRITERS: Mapping[str, Callable[..., Body]] = {"chat": as_chat, "messages": as_messages, "responses": as_responses}
