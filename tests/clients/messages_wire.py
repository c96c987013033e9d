"""Anthropic's messages protocol, as the provider's double speaks it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tests.clients.model import PROMPT_TOKENS, Ask, Reply, Tool, event, image, reply_to, served_by

_ENDS = {"stop": "end_turn", "length": "max_tokens", "stop_sequence": "stop_sequence", "tools": "tool_use"}
_THOUGHT = "Let me think."


def message(body: Mapping[str, Any]) -> dict[str, Any]:
    """A message."""
    reply = reply_to(_ask(body))
    ended = {"stop_reason": _ENDS[reply.ended], "stop_sequence": _stopped_by(body, reply)}
    return {**_message(body), "content": _blocks(body, reply), **ended, "usage": _usage(reply.tokens)}


def message_events(body: Mapping[str, Any]) -> Iterator[str]:
    """A message in pieces, with a ping as the real server sends."""
    for fields in _events(body):
        yield event(fields, fields["type"])


def token_count(_: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to `count_tokens`."""
    return {"input_tokens": PROMPT_TOKENS}


def _events(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    reply = reply_to(_ask(body))
    yield {"type": "message_start", "message": {**_message(body), "usage": _usage(1)}}
    yield {"type": "ping"}
    for index, block in enumerate(_blocks(body, reply)):
        empty, deltas = _pieces(block, reply)
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    ended = {"stop_reason": _ENDS[reply.ended], "stop_sequence": _stopped_by(body, reply)}
    yield {"type": "message_delta", "delta": ended, "usage": {"output_tokens": reply.tokens}}
    yield {"type": "message_stop"}


def _message(body: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": served_by(body["model"]),
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _usage(output_tokens: int) -> dict[str, int]:
    return {
        "input_tokens": PROMPT_TOKENS,
        "output_tokens": output_tokens,
        "cache_read_input_tokens": 3,
        "cache_creation_input_tokens": 0,
    }


def _blocks(body: Mapping[str, Any], reply: Reply) -> list[dict[str, Any]]:
    thinks = (body.get("thinking") or {}).get("type") in ("enabled", "adaptive")
    blocks = [{"type": "thinking", "thinking": _THOUGHT, "signature": "c2ln"}] if thinks else []
    if reply.text:
        blocks.append({"type": "text", "text": reply.text})
    return blocks + [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": json.loads(call.arguments)}
        for call in reply.calls
    ]


def _pieces(block: dict[str, Any], reply: Reply) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    if block["type"] == "text":
        return {**block, "text": ""}, [{"type": "text_delta", "text": piece} for piece in reply.pieces]
    if block["type"] == "thinking":
        signature = {"type": "signature_delta", "signature": block["signature"]}
        deltas = [{"type": "thinking_delta", "thinking": block["thinking"]}, signature]
        return {**block, "thinking": "", "signature": ""}, deltas
    (call,) = (call for call in reply.calls if call.id == block["id"])
    return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": piece} for piece in ("", *call.pieces)]


def _ask(body: Mapping[str, Any]) -> Ask:
    newest = body["messages"][-1]
    parts = [{"type": "text", "text": newest["content"]}] if isinstance(newest["content"], str) else newest["content"]
    choice = body.get("tool_choice") or {}
    system = body.get("system") or ""
    wanted = ((body.get("output_config") or {}).get("format") or body.get("output_format")) or {}
    return Ask(
        said=" ".join(part["text"] for part in parts if part["type"] == "text"),
        tool_results=[_words(part.get("content") or "") for part in parts if part["type"] == "tool_result"],
        images=[_image(part["source"]) for part in parts if part["type"] == "image"],
        tools=[Tool(tool["name"], tool.get("input_schema") or {}) for tool in body.get("tools") or ()],
        may_call=choice.get("type") != "none",
        must_call=choice.get("type") == "any",
        must_call_tool=choice.get("name"),
        many_calls=not choice.get("disable_parallel_tool_use"),
        schema=wanted.get("schema"),
        max_tokens=body["max_tokens"],
        stop=body.get("stop_sequences") or (),
        system=_words(system),
    )


def _words(content: Any) -> str:
    if isinstance(content, str):
        return content
    return " ".join(part["text"] for part in content if part["type"] == "text")


def _image(source: Mapping[str, str]) -> str:
    if source["type"] == "url":
        return source["url"]
    return image(f"data:{source['media_type']};base64,{source['data']}")


def _stopped_by(body: Mapping[str, Any], reply: Reply) -> str | None:
    if reply.ended != "stop_sequence":
        return None
    return next((stop for stop in body["stop_sequences"] if stop in _ask(body).said), None)
