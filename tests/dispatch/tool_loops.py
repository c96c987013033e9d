"""Clients of every protocol that call a tool and send the conversation back, with more or less of what they got."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from router.types import Api

Body = dict[str, Any]
_PARAMETERS = {"type": "object", "properties": {"a": {"type": "integer"}}}
_CHAT_TOOLS = [{"type": "function", "function": {"name": "f", "parameters": _PARAMETERS}}]


@dataclass(frozen=True)
class Client:
    """`first` is the body of the first request; `second` that of the next, from the answer's turn."""

    api: Api
    first: Body
    second: Callable[[Any], Body]


def turn_of(api: Api, answer: bytes, stream: bool) -> Any:
    """The assistant's turn in an answer: a chat message, Anthropic's content or a list of output items."""
    if not stream:
        whole = json.loads(answer)
        return {"chat": lambda: whole["choices"][0]["message"], "messages": lambda: whole["content"]}.get(
            api, lambda: whole["output"]
        )()
    events = [
        json.loads(line.removeprefix("data: "))
        for line in answer.decode().splitlines()
        if line.startswith("data: ") and line != "data: [DONE]"
    ]
    if api == "responses":
        return events[-1]["response"]["output"]
    return _content(events) if api == "messages" else _message(events)


def _content(events: list[Body]) -> list[Body]:
    """Anthropic's content, put together as its SDK does."""
    blocks: list[Body] = []
    for event in events:
        if event["type"] == "content_block_start":
            blocks.append(dict(event["content_block"]))
        delta = event.get("delta", {})
        match delta.get("type"):
            case "text_delta":
                blocks[-1]["text"] += delta["text"]
            case "thinking_delta":
                blocks[-1]["thinking"] += delta["thinking"]
            case "signature_delta":
                blocks[-1]["signature"] = delta["signature"]
            case "input_json_delta":
                blocks[-1]["json"] = blocks[-1].get("json", "") + delta["partial_json"]
    for block in blocks:
        if "json" in block:
            block["input"] = json.loads(block.pop("json"))
    return blocks


def _message(events: list[Body]) -> Body:
    """A chat message, put together as clients do that keep unknown fields."""
    message: Body = {"role": "assistant", "content": None}
    for event in events:
        for choice in event["choices"]:
            for name, value in choice["delta"].items():
                if name == "tool_calls":
                    _add_calls(message.setdefault("tool_calls", []), value)
                elif name == "thinking_blocks":
                    _add_thinking(message.setdefault(name, []), value)
                elif isinstance(value, list):
                    message[name] = message.get(name, []) + value
                elif isinstance(value, str) and name != "role":
                    message[name] = (message.get(name) or "") + value
    return message


def _add_calls(calls: list[Body], deltas: list[Body]) -> None:
    for delta in deltas:
        if delta.get("id"):
            calls.append({"function": {"arguments": ""}, **{k: v for k, v in delta.items() if k != "index"}})
        else:
            calls[-1]["function"]["arguments"] += delta["function"].get("arguments") or ""


def _add_thinking(blocks: list[Body], deltas: list[Body]) -> None:
    for delta in deltas:
        if blocks and delta["type"] == "thinking" and "signature" not in blocks[-1]:
            blocks[-1]["thinking"] += delta.get("thinking") or ""
            if delta.get("signature"):
                blocks[-1]["signature"] = delta["signature"]
        else:
            blocks.append({k: v for k, v in delta.items() if v})


def _chat(keep: Callable[[Body], Body]) -> Client:
    first: Body = {"tools": _CHAT_TOOLS, "messages": [{"role": "user", "content": "hi"}]}

    def second(turn: Any) -> Body:
        result = {"role": "tool", "tool_call_id": turn["tool_calls"][0]["id"], "content": "ok"}
        return {**first, "messages": [*first["messages"], keep(turn), result]}

    return Client("chat", {**first, "reasoning_effort": "high", "max_tokens": 4000}, second)


def _plain(turn: Body) -> Body:
    calls = [{name: call[name] for name in ("id", "type", "function")} for call in turn["tool_calls"]]
    return {"role": "assistant", "content": turn.get("content") or "", "tool_calls": calls}


def _messages(**fields: Any) -> Client:
    tools = [{"name": "f", "input_schema": _PARAMETERS}]
    first = {"max_tokens": 4000, "tools": tools, "messages": [{"role": "user", "content": "hi"}], **fields}

    def second(turn: Any) -> Body:
        id_ = next(block["id"] for block in turn if block["type"] == "tool_use")
        result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": id_, "content": "ok"}]}
        return {**first, "messages": [*first["messages"], {"role": "assistant", "content": turn}, result]}

    return Client("messages", first, second)


def _responses(keep: Callable[[Body], Body], **fields: Any) -> Client:
    tools = [{"type": "function", "name": "f", "parameters": _PARAMETERS}]
    user = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
    first = {"tools": tools, "store": False, "reasoning": {"effort": "high"}, "input": [user], **fields}

    def second(turn: Any) -> Body:
        id_ = next(item["call_id"] for item in turn if item["type"] == "function_call")
        result = {"type": "function_call_output", "call_id": id_, "output": "ok"}
        return {**first, "input": [user, *map(keep, turn), result]}

    return Client("responses", first, second)


def _as_codex(item: Body) -> Body:
    """Codex keeps no ids where nothing is stored, and no visible text beside encrypted content."""
    kept = {name: value for name, value in item.items() if name not in ("id", "status")}
    return {**kept, "content": None} if item["type"] == "reasoning" and item.get("content") is None else kept


CLIENTS = {
    "chat": _chat(lambda turn: turn),
    "chat without unknown fields": _chat(_plain),
    "messages": _messages(thinking={"type": "enabled", "budget_tokens": 2000}),
    "messages without thinking": _messages(),
    "responses": _responses(lambda item: item),
    "codex": _responses(
        _as_codex,
        instructions="You are Codex",
        include=["reasoning.encrypted_content"],
        prompt_cache_key="019a",
        parallel_tool_calls=False,
        tool_choice="auto",
    ),
}
