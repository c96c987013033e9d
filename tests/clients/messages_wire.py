"""Anthropic's messages protocol, as the fake provider implements it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tests.clients.scripted_model import (
    PROMPT_TOKENS,
    ModelReply,
    ModelRequest,
    Tool,
    event,
    image_description,
    reply_to,
    served_model_name,
)

_FINISH_REASONS = {"stop": "end_turn", "length": "max_tokens", "stop_sequence": "stop_sequence", "tools": "tool_use"}
_THOUGHT = "Let me think."


def message(body: Mapping[str, Any]) -> dict[str, Any]:
    """A message."""
    reply = reply_to(_model_request(body))
    finish = {"stop_reason": _FINISH_REASONS[reply.finish], "stop_sequence": _stop_sequence(body, reply)}
    return {**_message(body), "content": _blocks(body, reply), **finish, "usage": _usage(reply.tokens)}


def message_events(body: Mapping[str, Any]) -> Iterator[str]:
    """A message as a stream, with a ping as the real server sends it."""
    for fields in _events(body):
        yield event(fields, fields["type"])


def token_count(_: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to `count_tokens`."""
    return {"input_tokens": PROMPT_TOKENS}


def _events(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    reply = reply_to(_model_request(body))
    yield {"type": "message_start", "message": {**_message(body), "usage": _usage(1)}}
    yield {"type": "ping"}
    for index, block in enumerate(_blocks(body, reply)):
        empty, deltas = _block_and_deltas(block, reply)
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    finish = {"stop_reason": _FINISH_REASONS[reply.finish], "stop_sequence": _stop_sequence(body, reply)}
    yield {"type": "message_delta", "delta": finish, "usage": {"output_tokens": reply.tokens}}
    yield {"type": "message_stop"}


def _message(body: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": served_model_name(body["model"]),
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


def _blocks(body: Mapping[str, Any], reply: ModelReply) -> list[dict[str, Any]]:
    thinks = (body.get("thinking") or {}).get("type") in ("enabled", "adaptive")
    blocks = [{"type": "thinking", "thinking": _THOUGHT, "signature": "c2ln"}] if thinks else []
    if reply.text:
        blocks.append({"type": "text", "text": reply.text})
    return blocks + [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": json.loads(call.arguments)}
        for call in reply.calls
    ]


def _block_and_deltas(block: dict[str, Any], reply: ModelReply) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    if block["type"] == "text":
        return {**block, "text": ""}, [{"type": "text_delta", "text": fragment} for fragment in reply.fragments]
    if block["type"] == "thinking":
        signature = {"type": "signature_delta", "signature": block["signature"]}
        deltas = [{"type": "thinking_delta", "thinking": block["thinking"]}, signature]
        return {**block, "thinking": "", "signature": ""}, deltas
    (call,) = (call for call in reply.calls if call.id == block["id"])
    return {**block, "input": {}}, [
        {"type": "input_json_delta", "partial_json": fragment} for fragment in ("", *call.fragments)
    ]


def _model_request(body: Mapping[str, Any]) -> ModelRequest:
    # Claude Code sends a system message after the user's.
    last_message = next(message for message in reversed(body["messages"]) if message["role"] != "system")
    parts = (
        [{"type": "text", "text": last_message["content"]}]
        if isinstance(last_message["content"], str)
        else last_message["content"]
    )
    choice = body.get("tool_choice") or {}
    system = body.get("system") or ""
    response_format = ((body.get("output_config") or {}).get("format") or body.get("output_format")) or {}
    return ModelRequest(
        prompt=" ".join(part["text"] for part in parts if part["type"] == "text"),
        tool_results=[_text_of(part.get("content") or "") for part in parts if part["type"] == "tool_result"],
        images=[_image(part["source"]) for part in parts if part["type"] == "image"],
        tools=[Tool(tool["name"], tool.get("input_schema") or {}) for tool in body.get("tools") or ()],
        tools_allowed=choice.get("type") != "none",
        tool_required=choice.get("type") == "any",
        required_tool=choice.get("name"),
        parallel_calls=not choice.get("disable_parallel_tool_use"),
        schema=response_format.get("schema"),
        max_tokens=body["max_tokens"],
        stop=body.get("stop_sequences") or (),
        system=_text_of(system),
    )


def _text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    return " ".join(part["text"] for part in content if part["type"] == "text")


def _image(source: Mapping[str, str]) -> str:
    if source["type"] == "url":
        return source["url"]
    return image_description(f"data:{source['media_type']};base64,{source['data']}")


def _stop_sequence(body: Mapping[str, Any], reply: ModelReply) -> str | None:
    if reply.finish != "stop_sequence":
        return None
    return next((stop for stop in body["stop_sequences"] if stop in _model_request(body).prompt), None)
