"""OpenAI's responses protocol, as the provider's double speaks it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tests.clients.model import CREATED, PROMPT_TOKENS, Ask, Reply, Tool, event, image, reply_to, served_by

# What the answer repeats of the question, where it was asked.
_REPEATED = (
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
    reply = reply_to(_ask(body))
    return _response(body, reply, "incomplete" if reply.ended == "length" else "completed", _items(reply))


def response_events(body: Mapping[str, Any]) -> Iterator[str]:
    """A response in pieces."""
    reply = reply_to(_ask(body))
    for number, fields in enumerate(_events(body, reply)):
        yield event({**fields, "sequence_number": number}, fields["type"])


def _events(body: Mapping[str, Any], reply: Reply) -> Iterator[dict[str, Any]]:
    begun = _response(body, reply, "in_progress", [])
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    items = _items(reply)
    for index, item in enumerate(items):
        place = {"item_id": item["id"], "output_index": index}
        if item["type"] == "message":
            yield from _message_events(item, place, reply)
        else:
            call = reply.calls[index]
            started = {**item, "arguments": "", "status": "in_progress"}
            yield {"type": "response.output_item.added", "output_index": index, "item": started}
            for piece in call.pieces:
                yield {"type": "response.function_call_arguments.delta", **place, "delta": piece}
            done = {"name": call.name, "arguments": call.arguments}
            yield {"type": "response.function_call_arguments.done", **place, **done}
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    status = "incomplete" if reply.ended == "length" else "completed"
    yield {"type": f"response.{status}", "response": _response(body, reply, status, items)}


def _message_events(item: dict[str, Any], place: dict[str, Any], reply: Reply) -> Iterator[dict[str, Any]]:
    started = {**item, "content": [], "status": "in_progress"}
    yield {"type": "response.output_item.added", "output_index": place["output_index"], "item": started}
    place = {**place, "content_index": 0}
    empty = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    yield {"type": "response.content_part.added", **place, "part": empty}
    for piece in reply.pieces:
        yield {"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []}
    yield {"type": "response.output_text.done", **place, "text": reply.text, "logprobs": []}
    yield {"type": "response.content_part.done", **place, "part": item["content"][0]}


def _ask(body: Mapping[str, Any]) -> Ask:
    given = body.get("input") or ""
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    human = [item for item in items if item.get("role") == "user"]
    parts = _parts(human[-1]["content"]) if human else []
    told = [item for item in items if item.get("role") in ("system", "developer")]
    choice = body.get("tool_choice")
    wanted = (body.get("text") or {}).get("format") or {}
    return Ask(
        said=_words(parts),
        tool_results=[_result(item["output"]) for item in items if item.get("type") == "function_call_output"],
        images=[image(part["image_url"]) for part in parts if part["type"] == "input_image"],
        tools=[
            Tool(tool["name"], tool.get("parameters") or {})
            for tool in body.get("tools") or ()
            if tool["type"] == "function"
        ],
        may_call=choice != "none",
        must_call=choice == "required",
        must_call_tool=choice.get("name") if isinstance(choice, Mapping) else None,
        many_calls=body.get("parallel_tool_calls") is not False,
        schema=wanted["schema"] if wanted.get("type") == "json_schema" else None,
        json=wanted.get("type") == "json_object",
        max_tokens=body.get("max_output_tokens"),
        system=" ".join(filter(None, [body.get("instructions"), *(_words(item["content"]) for item in told)])),
    )


def _parts(content: Any) -> list[dict[str, Any]]:
    return [{"type": "input_text", "text": content}] if isinstance(content, str) else content


def _words(content: Any) -> str:
    return " ".join(part["text"] for part in _parts(content) if part["type"] == "input_text")


def _result(output: Any) -> str:
    return output if isinstance(output, str) else json.dumps(output)


def _items(reply: Reply) -> list[dict[str, Any]]:
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


def _response(body: Mapping[str, Any], reply: Reply, status: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    ended = status != "in_progress"
    repeated = {name: body[name] for name in _REPEATED if name in body}
    conversation = body.get("conversation")
    if isinstance(conversation, str):
        repeated["conversation"] = {"id": conversation}
    if "reasoning" in repeated and repeated["reasoning"].get("context") == "auto":
        repeated["reasoning"] = {**repeated["reasoning"], "context": "current_turn"}
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
        "model": served_by(body.get("model", "unnamed")),
        "output": items,
        "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
        "service_tier": "default",
        "store": body.get("store", True),
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": [{"strict": None, "parameters": None, **tool} for tool in body.get("tools") or ()],
        "usage": usage if ended else None,
        **repeated,
    }
