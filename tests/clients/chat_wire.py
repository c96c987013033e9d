"""OpenAI's chat, completions and embeddings protocols, as the provider's double speaks them."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from tests.clients.model import (
    CREATED,
    PROMPT_TOKENS,
    Ask,
    Reply,
    Tool,
    ToolCall,
    event,
    image,
    reply_to,
    served_by,
)

_ENDS = {"stop": "stop", "length": "length", "stop_sequence": "stop", "tools": "tool_calls"}
_DONE = "data: [DONE]\n\n"


def chat(body: Mapping[str, Any]) -> dict[str, Any]:
    """A chat completion."""
    reply = reply_to(_ask(body))
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": CREATED,
        "model": served_by(body["model"]),
        "choices": [_choice(index, reply, body) for index in range(body.get("n") or 1)],
        "usage": _usage(reply, body.get("n") or 1),
        "service_tier": "default",
        "system_fingerprint": f"fp_{body.get('seed', 0)}",
    }


def chat_events(body: Mapping[str, Any]) -> Iterator[str]:
    """A chat completion in pieces."""
    reply = reply_to(_ask(body))
    wants_usage = (body.get("stream_options") or {}).get("include_usage")
    common = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": served_by(body["model"]),
        "system_fingerprint": f"fp_{body.get('seed', 0)}",
    }
    if wants_usage:
        common["usage"] = None
    indices = range(body.get("n") or 1)

    def chunk(index: int, delta: dict[str, Any], finish: str | None = None, **more: Any) -> str:
        return event({**common, "choices": [{"index": index, "delta": delta, "finish_reason": finish, **more}]})

    for index in indices:
        yield chunk(index, {"role": "assistant", "content": None if reply.calls else ""})
    for piece in reply.pieces:
        for index in indices:
            yield chunk(index, {"content": piece}, logprobs=_logprobs([piece], body))
    for index in indices:
        for delta in _call_deltas(reply):
            yield chunk(index, {"tool_calls": [delta]})
    for index in indices:
        yield chunk(index, {}, _ENDS[reply.ended])
    if wants_usage:
        yield event({**common, "choices": [], "usage": _usage(reply, len(indices))})
    yield _DONE


def completion(body: Mapping[str, Any]) -> dict[str, Any]:
    """A completion of a text, or of each of several."""
    replies = [reply_to(_completion_ask(prompt, body)) for prompt in _prompts(body)]
    choices = [reply for reply in replies for _ in range(body.get("n") or 1)]
    return {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": CREATED,
        "model": served_by(body["model"]),
        "choices": [
            {
                "index": index,
                "text": reply.text + (body.get("suffix") or ""),
                "finish_reason": _ENDS[reply.ended],
                "logprobs": None,
            }
            for index, reply in enumerate(choices)
        ],
        "usage": _usage(choices[0], len(choices)),
    }


def completion_events(body: Mapping[str, Any]) -> Iterator[str]:
    """A completion in pieces."""
    reply = reply_to(_completion_ask(_prompts(body)[0], body))
    common = {"id": "cmpl-1", "object": "text_completion", "created": CREATED, "model": served_by(body["model"])}
    for piece in reply.pieces:
        yield event({**common, "choices": [{"index": 0, "text": piece, "finish_reason": None, "logprobs": None}]})
    last = {"index": 0, "text": body.get("suffix") or "", "finish_reason": _ENDS[reply.ended], "logprobs": None}
    yield event({**common, "choices": [last]})
    if (body.get("stream_options") or {}).get("include_usage"):
        yield event({**common, "choices": [], "usage": _usage(reply)})
    yield _DONE


def embeddings(body: Mapping[str, Any]) -> dict[str, Any]:
    """One vector a text: the text's length, then a half in every other dimension."""
    given = body["input"]
    texts = [given] if isinstance(given, str) or (given and isinstance(given[0], int)) else given
    rows = [[float(len(text)), *[0.5] * ((body.get("dimensions") or 4) - 1)] for text in texts]
    # Many servers know no base64; openai-python's own tests, which ask for a small model, expect one of those.
    as_text = body.get("encoding_format") == "base64" and "large" in body["model"]
    return {
        "object": "list",
        "model": served_by(body["model"]),
        "data": [
            {
                "object": "embedding",
                "index": index,
                "embedding": base64.b64encode(struct.pack(f"<{len(row)}f", *row)).decode() if as_text else row,
            }
            for index, row in enumerate(rows)
        ],
        "usage": {"prompt_tokens": PROMPT_TOKENS, "total_tokens": PROMPT_TOKENS},
    }


def _ask(body: Mapping[str, Any]) -> Ask:
    messages = body["messages"]
    newest = max((n for n, message in enumerate(messages) if message["role"] == "assistant"), default=-1)
    since = messages[newest + 1 :]
    human = [message for message in messages if message["role"] == "user"] or messages[-1:]
    parts = _parts(human[-1]["content"])
    choice = body.get("tool_choice")
    wanted = body.get("response_format") or {}
    stop = body.get("stop") or ()
    return Ask(
        said=" ".join(part["text"] for part in parts if part["type"] == "text"),
        tool_results=[_words(message["content"]) for message in since if message["role"] == "tool"],
        images=[image(part["image_url"]["url"]) for part in parts if part["type"] == "image_url"],
        tools=[
            Tool(tool["function"]["name"], tool["function"].get("parameters") or {})
            for tool in body.get("tools") or ()
            if tool["type"] == "function"
        ],
        may_call=choice != "none",
        must_call=choice == "required",
        must_call_tool=choice["function"]["name"] if isinstance(choice, Mapping) else None,
        many_calls=body.get("parallel_tool_calls") is not False,
        schema=wanted["json_schema"]["schema"] if wanted.get("type") == "json_schema" else None,
        json=wanted.get("type") == "json_object",
        max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
        stop=[stop] if isinstance(stop, str) else stop,
        system=" ".join(
            _words(message["content"])
            for message in messages
            if message["role"] in ("system", "developer") and message is not human[-1]
        ),
    )


def _parts(content: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content or ())


def _words(content: Any) -> str:
    return " ".join(part["text"] for part in _parts(content) if part["type"] == "text")


def _choice(index: int, reply: Reply, body: Mapping[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None, "refusal": None}
    if reply.calls:
        message["tool_calls"] = [_tool_call(call) for call in reply.calls]
    return {
        "index": index,
        "message": message,
        "finish_reason": _ENDS[reply.ended],
        "logprobs": _logprobs(list(reply.pieces), body),
    }


def _tool_call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _call_deltas(reply: Reply) -> Iterator[dict[str, Any]]:
    for index, call in enumerate(reply.calls):
        yield {"index": index, **_tool_call(call), "function": {"name": call.name, "arguments": ""}}
        for piece in call.pieces:
            yield {"index": index, "function": {"arguments": piece}}


def _logprobs(pieces: list[str], body: Mapping[str, Any]) -> dict[str, Any] | None:
    if not body.get("logprobs"):
        return None
    others = [
        {"token": f"other{rank}", "logprob": -2.0 - rank, "bytes": None}
        for rank in range(body.get("top_logprobs") or 0)
    ]
    return {
        "content": [
            {"token": piece, "logprob": -0.5, "bytes": list(piece.encode()), "top_logprobs": others} for piece in pieces
        ],
        "refusal": None,
    }


def _usage(reply: Reply, times: int = 1) -> dict[str, Any]:
    said = reply.tokens * times
    return {
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": said,
        "total_tokens": PROMPT_TOKENS + said,
        "prompt_tokens_details": {"cached_tokens": 3, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _prompts(body: Mapping[str, Any]) -> list[str]:
    prompt = body.get("prompt", "")
    if isinstance(prompt, str):
        return [prompt]
    if prompt and isinstance(prompt[0], int):
        return [json.dumps(prompt)]
    return [each if isinstance(each, str) else json.dumps(each) for each in prompt]


def _completion_ask(prompt: str, body: Mapping[str, Any]) -> Ask:
    stop = body.get("stop") or ()
    return Ask(said=prompt, max_tokens=body.get("max_tokens"), stop=[stop] if isinstance(stop, str) else stop)
