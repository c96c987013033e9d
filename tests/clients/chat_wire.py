"""OpenAI's chat, completions and embeddings protocols, as the fake provider implements them."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from tests.clients.scripted_model import (
    CREATED,
    PROMPT_TOKENS,
    ModelReply,
    ModelRequest,
    Tool,
    ToolCall,
    event,
    image_description,
    reply_to,
    served_model_name,
)

_FINISH_REASONS = {"stop": "stop", "length": "length", "stop_sequence": "stop", "tools": "tool_calls"}
_DONE = "data: [DONE]\n\n"


def chat(body: Mapping[str, Any]) -> dict[str, Any]:
    """A chat completion."""
    reply = reply_to(_model_request(body))
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": CREATED,
        "model": served_model_name(body["model"]),
        "choices": [_choice(index, reply, body) for index in range(body.get("n") or 1)],
        "usage": _usage(reply, body.get("n") or 1),
        "service_tier": "default",
        "system_fingerprint": f"fp_{body.get('seed', 0)}",
    }


def chat_events(body: Mapping[str, Any]) -> Iterator[str]:
    """A chat completion as a stream."""
    reply = reply_to(_model_request(body))
    wants_usage = (body.get("stream_options") or {}).get("include_usage")
    common = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": served_model_name(body["model"]),
        "system_fingerprint": f"fp_{body.get('seed', 0)}",
    }
    if wants_usage:
        common["usage"] = None
    indices = range(body.get("n") or 1)

    def chunk(index: int, delta: dict[str, Any], finish: str | None = None, **more: Any) -> str:
        return event({**common, "choices": [{"index": index, "delta": delta, "finish_reason": finish, **more}]})

    for index in indices:
        yield chunk(index, {"role": "assistant", "content": None if reply.calls else ""})
    for fragment in reply.fragments:
        for index in indices:
            yield chunk(index, {"content": fragment}, logprobs=_logprobs([fragment], body))
    for index in indices:
        for delta in _call_deltas(reply):
            yield chunk(index, {"tool_calls": [delta]})
    for index in indices:
        yield chunk(index, {}, _FINISH_REASONS[reply.finish])
    if wants_usage:
        yield event({**common, "choices": [], "usage": _usage(reply, len(indices))})
    yield _DONE


def completion(body: Mapping[str, Any]) -> dict[str, Any]:
    """A completion of one prompt, or of several."""
    replies = [reply_to(_completion_request(prompt, body)) for prompt in _prompts(body)]
    choices = [reply for reply in replies for _ in range(body.get("n") or 1)]
    return {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": CREATED,
        "model": served_model_name(body["model"]),
        "choices": [
            {
                "index": index,
                "text": reply.text + (body.get("suffix") or ""),
                "finish_reason": _FINISH_REASONS[reply.finish],
                "logprobs": None,
            }
            for index, reply in enumerate(choices)
        ],
        "usage": _usage(choices[0], len(choices)),
    }


def completion_events(body: Mapping[str, Any]) -> Iterator[str]:
    """A completion as a stream."""
    reply = reply_to(_completion_request(_prompts(body)[0], body))
    common = {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": CREATED,
        "model": served_model_name(body["model"]),
    }
    for fragment in reply.fragments:
        yield event({**common, "choices": [{"index": 0, "text": fragment, "finish_reason": None, "logprobs": None}]})
    last = {
        "index": 0,
        "text": body.get("suffix") or "",
        "finish_reason": _FINISH_REASONS[reply.finish],
        "logprobs": None,
    }
    yield event({**common, "choices": [last]})
    if (body.get("stream_options") or {}).get("include_usage"):
        yield event({**common, "choices": [], "usage": _usage(reply)})
    yield _DONE


def embeddings(body: Mapping[str, Any]) -> dict[str, Any]:
    """One vector a text: the length of the text, then 0.5 in every other dimension."""
    texts = body["input"]
    if isinstance(texts, str) or (texts and isinstance(texts[0], int)):
        texts = [texts]
    rows = [[float(len(text)), *[0.5] * ((body.get("dimensions") or 4) - 1)] for text in texts]
    # Many servers do not support base64, and openai-python's own tests, which use a small model, expect such a server.
    is_base64 = body.get("encoding_format") == "base64" and "large" in body["model"]
    return {
        "object": "list",
        "model": served_model_name(body["model"]),
        "data": [
            {
                "object": "embedding",
                "index": index,
                "embedding": base64.b64encode(struct.pack(f"<{len(row)}f", *row)).decode() if is_base64 else row,
            }
            for index, row in enumerate(rows)
        ],
        "usage": {"prompt_tokens": PROMPT_TOKENS, "total_tokens": PROMPT_TOKENS},
    }


def _model_request(body: Mapping[str, Any]) -> ModelRequest:
    messages = body["messages"]
    last_assistant = max((n for n, message in enumerate(messages) if message["role"] == "assistant"), default=-1)
    new_messages = messages[last_assistant + 1 :]
    user_messages = [message for message in messages if message["role"] == "user"] or messages[-1:]
    parts = _parts(user_messages[-1]["content"])
    choice = body.get("tool_choice")
    response_format = body.get("response_format") or {}
    stop = body.get("stop") or ()
    return ModelRequest(
        prompt=" ".join(part["text"] for part in parts if part["type"] == "text"),
        tool_results=[_text_of(message["content"]) for message in new_messages if message["role"] == "tool"],
        images=[image_description(part["image_url"]["url"]) for part in parts if part["type"] == "image_url"],
        tools=[
            Tool(tool["function"]["name"], tool["function"].get("parameters") or {})
            for tool in body.get("tools") or ()
            if tool["type"] == "function"
        ],
        tools_allowed=choice != "none",
        tool_required=choice == "required",
        required_tool=choice["function"]["name"] if isinstance(choice, Mapping) else None,
        parallel_calls=body.get("parallel_tool_calls") is not False,
        schema=response_format["json_schema"]["schema"] if response_format.get("type") == "json_schema" else None,
        json=response_format.get("type") == "json_object",
        max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
        stop=[stop] if isinstance(stop, str) else stop,
        system=" ".join(
            _text_of(message["content"])
            for message in messages
            if message["role"] in ("system", "developer") and message is not user_messages[-1]
        ),
    )


def _parts(content: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content or ())


def _text_of(content: Any) -> str:
    return " ".join(part["text"] for part in _parts(content) if part["type"] == "text")


def _choice(index: int, reply: ModelReply, body: Mapping[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None, "refusal": None}
    if reply.calls:
        message["tool_calls"] = [_tool_call(call) for call in reply.calls]
    return {
        "index": index,
        "message": message,
        "finish_reason": _FINISH_REASONS[reply.finish],
        "logprobs": _logprobs(list(reply.fragments), body),
    }


def _tool_call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _call_deltas(reply: ModelReply) -> Iterator[dict[str, Any]]:
    for index, call in enumerate(reply.calls):
        yield {"index": index, **_tool_call(call), "function": {"name": call.name, "arguments": ""}}
        for fragment in call.fragments:
            yield {"index": index, "function": {"arguments": fragment}}


def _logprobs(fragments: list[str], body: Mapping[str, Any]) -> dict[str, Any] | None:
    if not body.get("logprobs"):
        return None
    others = [
        {"token": f"other{rank}", "logprob": -2.0 - rank, "bytes": None}
        for rank in range(body.get("top_logprobs") or 0)
    ]
    return {
        "content": [
            {"token": fragment, "logprob": -0.5, "bytes": list(fragment.encode()), "top_logprobs": others}
            for fragment in fragments
        ],
        "refusal": None,
    }


def _usage(reply: ModelReply, times: int = 1) -> dict[str, Any]:
    output_tokens = reply.tokens * times
    return {
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": output_tokens,
        "total_tokens": PROMPT_TOKENS + output_tokens,
        "prompt_tokens_details": {"cached_tokens": 3, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _prompts(body: Mapping[str, Any]) -> list[str]:
    prompt = body.get("prompt", "")
    if isinstance(prompt, str):
        return [prompt]
    if prompt and isinstance(prompt[0], int):
        return [json.dumps(prompt)]
    return [text if isinstance(text, str) else json.dumps(text) for text in prompt]


def _completion_request(prompt: str, body: Mapping[str, Any]) -> ModelRequest:
    stop = body.get("stop") or ()
    return ModelRequest(
        prompt=prompt, max_tokens=body.get("max_tokens"), stop=[stop] if isinstance(stop, str) else stop
    )
