"""Loopback servers that are as strict about the second request of a tool loop as the real ones are about theirs.

The first request gets reasoning and a tool call, a request with the call's result gets `done`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.gateway.servers import served

REASONING = "private reasoning of the first server"
CALL = {"id": "call_0123", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
SIGNATURE = "EqQBCkYIBRgCKkA"
Body = dict[str, Any]
_PLAIN_FIELDS = {"role", "content", "tool_calls", "tool_call_id", "name"}
_CALL_FIELDS = {"id", "type", "function", "index"}


@dataclass
class Kind:
    """A kind of server: `gives` with its first answer, and what is `wrong` with a body, if anything."""

    provider: str
    model: str
    gives: Callable[[], Body]
    wrong: Callable[[Body], str | None]
    anthropic: bool = False


def _tool_turns(body: Body) -> list[Body]:
    return [m for m in body["messages"] if m["role"] == "assistant" and m.get("tool_calls")]


def _unknown_fields(body: Body, *known: str, call_fields: set[str] = _CALL_FIELDS) -> str | None:
    for message in body["messages"]:
        for name in message.keys() - _PLAIN_FIELDS - set(known):
            return f"property '{name}' of a message is not known"
        for call in message.get("tool_calls") or ():
            for name in call.keys() - call_fields:
                return f"property '{name}' of a call is not known"
    return None


def _needs_reasoning(name: str) -> Callable[[Body], str | None]:
    def wrong(body: Body) -> str | None:
        is_off = body.get("thinking") == {"type": "disabled"}
        if not is_off and any(turn.get(name) != REASONING for turn in _tool_turns(body)):
            return f"Missing `{name}` field in the assistant message"
        return _unknown_fields(body, name)

    return wrong


def _gemini(body: Body) -> str | None:
    for turn in _tool_turns(body):
        extra = turn["tool_calls"][0].get("extra_content") or {}
        if extra.get("google", {}).get("thought_signature") not in (SIGNATURE, "skip_thought_signature_validator"):
            return "Function call is missing a thought_signature"
    return _unknown_fields(body, call_fields=_CALL_FIELDS | {"extra_content"})


_DETAILS = [
    {"type": "reasoning.text", "text": REASONING, "signature": SIGNATURE, "index": 0},
    {"type": "reasoning.encrypted", "data": "xyz", "index": 1},
]


def _openrouter(body: Body) -> str | None:
    if any(turn.get("reasoning_details") not in (None, _DETAILS) for turn in _tool_turns(body)):
        return "the reasoning details were changed"
    return _unknown_fields(body, "reasoning", "reasoning_content", "reasoning_details")


def _vllm(body: Body) -> str | None:
    if "system" in [message["role"] for message in body["messages"]][1:]:
        return "System message must be at the beginning."
    return _unknown_fields(body, "reasoning", "reasoning_content")


def _mistral(body: Body) -> str | None:
    ids = [call["id"] for turn in _tool_turns(body) for call in turn["tool_calls"]]
    if any(len(id_) != 9 or not id_.isalnum() for id_ in ids):
        return "Tool call id must be a-z, A-Z, 0-9, with a length of 9."
    if ids != [message["tool_call_id"] for message in body["messages"] if message["role"] == "tool"]:
        return "a result without its call"
    return _unknown_fields(body)


def _claude(body: Body) -> str | None:
    thinks = (body.get("thinking") or {}).get("type") == "enabled"
    if thinks and body["thinking"]["budget_tokens"] >= body["max_tokens"]:
        return "`max_tokens` must be greater than `thinking.budget_tokens`."
    for position, message in enumerate(body["messages"]):
        blocks = message["content"] if isinstance(message["content"], list) else []
        for block in blocks:
            if block["type"] == "thinking" and block.get("signature") != SIGNATURE:
                return f"messages.{position}.content.0: Invalid `signature` in `thinking` block"
            if block["type"] == "redacted_thinking" and block.get("data") != "xyz":
                return f"messages.{position}.content.0: Invalid `data` in `redacted_thinking` block"
        kinds = [block["type"] for block in blocks]
        if thinks and "tool_use" in kinds and kinds[0] not in ("thinking", "redacted_thinking"):
            return (
                f"messages.{position}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`"
            )
    return None


KINDS = {
    "deepseek": Kind(
        "deepseek", "deepseek-chat", lambda: {"reasoning_content": REASONING}, _needs_reasoning("reasoning_content")
    ),
    "kimi": Kind(
        "moonshot", "kimi-k2.5", lambda: {"reasoning_content": REASONING}, _needs_reasoning("reasoning_content")
    ),
    "vllm": Kind("hosted_vllm", "qwen3", lambda: {"reasoning": REASONING}, _vllm),
    "gemini": Kind(
        "openai_like",
        "gemini-3-pro",
        lambda: {"tool_calls": [{**CALL, "extra_content": {"google": {"thought_signature": SIGNATURE}}}]},
        _gemini,
    ),
    "openrouter": Kind(
        "openrouter", "x/y", lambda: {"reasoning": REASONING, "reasoning_details": _DETAILS}, _openrouter
    ),
    "mistral": Kind("mistral", "mistral-large", lambda: {"tool_calls": [{**CALL, "id": "abcDEF123"}]}, _mistral),
    "claude": Kind("anthropic", "claude-sonnet-4-5", dict, _claude, anthropic=True),
}


@dataclass
class StrictUpstream:
    """A server of one kind. `bodies` are the requests, in order."""

    kind: Kind
    url: str = ""
    bodies: list[Body] = field(default_factory=list)

    async def respond(self, request: Request) -> Response:
        body = json.loads(await request.body())
        self.bodies.append(body)
        if problem := self.kind.wrong(body):
            error = {"message": problem, "type": "invalid_request_error", "code": None}
            return JSONResponse({"type": "error", "error": error}, 400)
        is_last = "tool_result" in json.dumps(body) if self.kind.anthropic else body["messages"][-1]["role"] == "tool"
        if self.kind.anthropic:
            return _anthropic(is_last, body.get("stream", False))
        message: Body = {"role": "assistant", "content": "done"}
        if not is_last:
            message |= {"content": "", "tool_calls": [CALL], **self.kind.gives()}
        return _chat(message, body.get("stream", False))


@contextlib.contextmanager
def strict_server(name: str) -> Iterator[StrictUpstream]:
    upstream = StrictUpstream(KINDS[name])
    routes = [Route(path, upstream.respond, methods=["POST"]) for path in ("/v1/chat/completions", "/v1/messages")]
    with served(Starlette(routes=routes)) as url:
        upstream.url = url
        yield upstream


def _chat(message: Body, stream: bool) -> Response:
    finish = "tool_calls" if message.get("tool_calls") else "stop"
    head = {"id": "chatcmpl-1", "created": 1, "model": "m"}
    if not stream:
        choice = {"index": 0, "message": message, "finish_reason": finish}
        usage = {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}
        return JSONResponse({**head, "object": "chat.completion", "choices": [choice], "usage": usage})
    calls = [{"index": 0, **call} for call in message.get("tool_calls", ())]
    # Reasoning comes in halves, and before the call, as servers send it.
    deltas: list[Body] = [{"role": "assistant"}]
    for name in ("reasoning_content", "reasoning"):
        if text := message.get(name):
            deltas += [{name: text[:9]}, {name: text[9:]}]
    deltas += [{"reasoning_details": [entry]} for entry in message.get("reasoning_details", ())]
    deltas += [{"tool_calls": calls}] if calls else [{"content": message["content"]}]
    choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": finish})
    chunks = [{**head, "object": "chat.completion.chunk", "choices": [choice]} for choice in choices]
    lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
    return Response("".join([*lines, "data: [DONE]\n\n"]), media_type="text/event-stream")


def _anthropic(is_last: bool, stream: bool) -> Response:
    blocks: list[Body] = [{"type": "text", "text": "done"}]
    if not is_last:
        blocks = [
            {"type": "thinking", "thinking": REASONING, "signature": SIGNATURE},
            {"type": "redacted_thinking", "data": "xyz"},
            {"type": "tool_use", "id": CALL["id"], "name": "f", "input": {"a": 1}},
        ]
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "c", "stop_sequence": None}
    usage = {"input_tokens": 5, "output_tokens": 4}
    reason = "end_turn" if is_last else "tool_use"
    if not stream:
        return JSONResponse({**message, "content": blocks, "stop_reason": reason, "usage": usage})
    start = {**message, "content": [], "stop_reason": None, "usage": usage}
    events: list[Body] = [{"type": "message_start", "message": start}]
    for index, block in enumerate(blocks):
        shown, deltas = _pieces(block)
        events.append({"type": "content_block_start", "index": index, "content_block": shown})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    events.append({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 4}})
    events.append({"type": "message_stop"})
    lines = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events]
    return Response("".join(lines), media_type="text/event-stream")


def _pieces(block: Body) -> tuple[Body, list[Body]]:
    match block["type"]:
        case "thinking":
            text = {"type": "thinking_delta", "thinking": block["thinking"]}
            return {**block, "thinking": "", "signature": ""}, [
                text,
                {"type": "signature_delta", "signature": block["signature"]},
            ]
        case "tool_use":
            delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
            return {**block, "input": {}}, [delta]
        case "text":
            return {**block, "text": ""}, [{"type": "text_delta", "text": block["text"]}]
    return block, []
