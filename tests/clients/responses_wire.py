"""OpenAI's responses protocol, as the fake provider implements it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tests.clients.scripted_model import (
    CREATED,
    PROMPT_TOKENS,
    ModelReply,
    ModelRequest,
    Tool,
    event,
    image_description,
    reply_to,
    served_model_name,
)

# Request fields that the response repeats.
_ECHOED = (
    "background",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "temperature",
    "text",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
)


def response(body: Mapping[str, Any]) -> dict[str, Any]:
    """A response."""
    reply = reply_to(_model_request(body))
    return _response(body, reply, "incomplete" if reply.finish == "length" else "completed", _items(reply))


def response_events(body: Mapping[str, Any]) -> Iterator[str]:
    """A response as a stream."""
    reply = reply_to(_model_request(body))
    for number, fields in enumerate(_events(body, reply)):
        yield event({**fields, "sequence_number": number}, fields["type"])


def _events(body: Mapping[str, Any], reply: ModelReply) -> Iterator[dict[str, Any]]:
    started_response = _response(body, reply, "in_progress", [])
    yield {"type": "response.created", "response": started_response}
    yield {"type": "response.in_progress", "response": started_response}
    items = _items(reply)
    for index, item in enumerate(items):
        position = {"item_id": item["id"], "output_index": index}
        if item["type"] == "message":
            yield from _message_events(item, position, reply)
        else:
            call = reply.calls[index]
            started = {**item, "arguments": "", "status": "in_progress"}
            yield {"type": "response.output_item.added", "output_index": index, "item": started}
            for fragment in call.fragments:
                yield {"type": "response.function_call_arguments.delta", **position, "delta": fragment}
            done = {"name": call.name, "arguments": call.arguments}
            yield {"type": "response.function_call_arguments.done", **position, **done}
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    status = "incomplete" if reply.finish == "length" else "completed"
    yield {"type": f"response.{status}", "response": _response(body, reply, status, items)}


def _message_events(item: dict[str, Any], position: dict[str, Any], reply: ModelReply) -> Iterator[dict[str, Any]]:
    started = {**item, "content": [], "status": "in_progress"}
    yield {"type": "response.output_item.added", "output_index": position["output_index"], "item": started}
    position = {**position, "content_index": 0}
    empty = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    yield {"type": "response.content_part.added", **position, "part": empty}
    for fragment in reply.fragments:
        yield {"type": "response.output_text.delta", **position, "delta": fragment, "logprobs": []}
    yield {"type": "response.output_text.done", **position, "text": reply.text, "logprobs": []}
    yield {"type": "response.content_part.done", **position, "part": item["content"][0]}


def _model_request(body: Mapping[str, Any]) -> ModelRequest:
    items = body.get("input") or ""
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    user_items = [item for item in items if item.get("role") == "user"]
    parts = _parts(user_items[-1]["content"]) if user_items else []
    system_items = [item for item in items if item.get("role") in ("system", "developer")]
    choice = body.get("tool_choice")
    response_format = (body.get("text") or {}).get("format") or {}
    return ModelRequest(
        prompt=_text_of(parts),
        tool_results=[_result(item["output"]) for item in items if item.get("type") == "function_call_output"],
        images=[image_description(part["image_url"]) for part in parts if part["type"] == "input_image"],
        tools=[
            Tool(tool["name"], tool.get("parameters") or {})
            for tool in body.get("tools") or ()
            if tool["type"] == "function"
        ],
        tools_allowed=choice != "none",
        tool_required=choice == "required",
        required_tool=choice.get("name") if isinstance(choice, Mapping) else None,
        parallel_calls=body.get("parallel_tool_calls") is not False,
        schema=response_format["schema"] if response_format.get("type") == "json_schema" else None,
        json=response_format.get("type") == "json_object",
        max_tokens=body.get("max_output_tokens"),
        system=" ".join(
            filter(None, [body.get("instructions"), *(_text_of(item["content"]) for item in system_items)])
        ),
    )


def _parts(content: Any) -> list[dict[str, Any]]:
    return [{"type": "input_text", "text": content}] if isinstance(content, str) else content


def _text_of(content: Any) -> str:
    return " ".join(part["text"] for part in _parts(content) if part["type"] == "input_text")


def _result(output: Any) -> str:
    return output if isinstance(output, str) else json.dumps(output)


def _items(reply: ModelReply) -> list[dict[str, Any]]:
    if reply.calls:
        return [
            {
                "id": f"fc_{index}",
                "type": "function_call",
                "call_id": call.id,
                "name": call.name,
                "arguments": call.arguments,
                "status": "completed",
            }
            for index, call in enumerate(reply.calls)
        ]
    part = {"type": "output_text", "text": reply.text, "annotations": [], "logprobs": []}
    return [{"id": "msg_0", "type": "message", "role": "assistant", "status": "completed", "content": [part]}]


def _response(body: Mapping[str, Any], reply: ModelReply, status: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    is_finished = status != "in_progress"
    echoed = {name: body[name] for name in _ECHOED if name in body}
    conversation = body.get("conversation")
    if isinstance(conversation, str):
        echoed["conversation"] = {"id": conversation}
    if "reasoning" in echoed and echoed["reasoning"].get("context") == "auto":
        echoed["reasoning"] = {**echoed["reasoning"], "context": "current_turn"}
    usage = {
        "input_tokens": PROMPT_TOKENS,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0},
        "output_tokens": reply.tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": PROMPT_TOKENS + reply.tokens,
    }
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": CREATED,
        "completed_at": CREATED + 1 if status == "completed" else None,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "model": served_model_name(body.get("model", "unnamed")),
        "output": items,
        "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
        "service_tier": "default",
        "store": body.get("store", True),
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": [{"strict": None, "parameters": None, **tool} for tool in body.get("tools") or ()],
        "usage": usage if is_finished else None,
        **echoed,
    }
