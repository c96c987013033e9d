"""Convert chat completions to Anthropic messages, whole or as events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from router.formats.json import encodable, json_bytes
from router.types import Usage
from router.wire.chat.answer import Finish, arguments_in, finish_of, identity
from router.wire.chat.blocks import Block, blocks_of
from router.wire.chat.stream_writer import StreamWriter, only_choice
from router.wire.reasoning import StateReader
from router.wire.sse import event
from router.wire.usage import usage_in

_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
_ERROR_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_CODES = {"rate_limit_exceeded": 429, "upstream_timeout": 504, "overloaded": 529}
_DELTAS = {
    "thinking": ("thinking_delta", "thinking"),
    "text": ("text_delta", "text"),
    "refusal": ("text_delta", "text"),
    "tool": ("input_json_delta", "partial_json"),
}


def answer(chat: Mapping[str, Any], body: Mapping[str, Any], maker: str = "") -> dict[str, Any]:
    """See `Conversion.answer`."""
    choice = only_choice(chat)
    id_, model, _ = identity(chat)
    state = StateReader(maker)
    blocks = blocks_of(choice.get("message"), id_, state, shows_thinking=_wants_thinking(body))
    calls = any(block.kind == "tool" for block in blocks)
    refusal = "".join(block.text for block in blocks if block.kind == "refusal")
    return {
        **_message(id_, model),
        "content": [_block(block, block.text, state.seal) for block in blocks],
        **_stop_fields(finish_of(choice) or Finish("stop"), calls, refusal),
        "usage": _usage(usage_in(chat)),
    }


class MessageEvents(StreamWriter):
    """See `EventWriter`."""

    def __init__(self, body: Mapping[str, Any], maker: str = "") -> None:
        super().__init__(maker)
        self._wants_thinking = _wants_thinking(body)
        self._refusal = ""

    def fail(self, message: str, kind: str, code: str | None) -> bytes:
        """See `EventWriter.fail`."""
        status = int(code) if code and code.isdecimal() and len(code) == 3 else _CODES.get(code or "", 500)
        return event({"type": "error", "error": {"type": _error_type(status), "message": encodable(message)}})

    @property
    def _shows_thinking(self) -> bool:
        return self._wants_thinking

    def _start_events(self, id_: str, model: str, created: int) -> Sequence[bytes]:
        usage = _usage(self._usage)
        return (event({"type": "message_start", "message": {**_message(id_, model), "usage": usage}}),)

    def on_start(self, block: Block) -> bytes:
        """See `BlockWriter.on_start`."""
        kind, field = _DELTAS.get(block.kind, ("", ""))
        head = f'event: content_block_delta\ndata: {{"type":"content_block_delta","index":{block.index},'
        block.head = f'{head}"delta":{{"type":"{kind}","{field}":'.encode()
        start = {"type": "content_block_start", "index": block.index, "content_block": _block(block, "")}
        return event(start)

    def on_delta(self, block: Block, text: str) -> bytes:
        """See `BlockWriter.on_delta`."""
        return block.head + json_bytes(text) + b"}}\n\n"

    def on_stop(self, block: Block) -> bytes:
        """See `BlockWriter.on_stop`."""
        if block.kind == "refusal":
            self._refusal += block.text
        stop = event({"type": "content_block_stop", "index": block.index})
        seal = self._state.seal if block.kind == "thinking" else ""
        if not seal:
            return stop
        delta = {"type": "signature_delta", "signature": seal}
        return event({"type": "content_block_delta", "index": block.index, "delta": delta}) + stop

    def _end_events(self, finish: Finish, usage: Usage | None, has_calls: bool) -> Sequence[bytes]:
        stop_fields = _stop_fields(finish, has_calls, self._refusal)
        delta = {"type": "message_delta", "delta": stop_fields, "usage": _usage(usage)}
        return event(delta), event({"type": "message_stop"})


def error(status: int, message: str, _kind: str, _code: str | None, _param: str | None) -> bytes:
    """See `Conversion.error`; Anthropic's errors have neither code nor param, and their type is that of the status."""
    shape = {"type": _error_type(status), "message": encodable(message)}
    return json_bytes({"type": "error", "error": shape})


def _message(id_: str, model: str) -> dict[str, Any]:
    return {
        "id": f"msg_{id_}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _block(block: Block, text: str, seal: str = "") -> dict[str, Any]:
    if block.kind == "thinking":
        # Clients send the block back unchanged; the seal shows whose thinking it is.
        return {"type": "thinking", "thinking": text, "signature": seal}
    if block.kind == "state":
        return {"type": "redacted_thinking", "data": block.name}
    if block.kind == "tool":
        return {"type": "tool_use", "id": block.id, "name": block.name, "input": arguments_in(text)}
    return {"type": "text", "text": text}


def _stop_fields(finish: Finish, has_calls: bool, refusal: str) -> dict[str, Any]:
    # OpenAI's finish reason is `stop` where one named tool was forced.
    reason = "tool_use" if has_calls and finish.reason == "stop" else _STOP_REASONS.get(finish.reason, "end_turn")
    if refusal:
        reason = "refusal"
    if reason == "end_turn" and finish.sequence is not None:
        return {"stop_reason": "stop_sequence", "stop_sequence": finish.sequence}
    stop_fields: dict[str, Any] = {"stop_reason": reason, "stop_sequence": None}
    if reason == "refusal":
        stop_fields["stop_details"] = {"type": "refusal", "category": None, "explanation": refusal or None}
    return stop_fields


def _usage(usage: Usage | None) -> dict[str, Any]:
    """Anthropic's `usage` object, whose input tokens exclude cache reads and writes."""
    usage = usage or Usage(0, 0)
    fields: dict[str, Any] = {
        "input_tokens": usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens,
        "output_tokens": usage.output_tokens,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_input_tokens,
    }
    if usage.cache_write_tokens:
        long = usage.cache_write_1h_tokens
        fields["cache_creation"] = {
            "ephemeral_5m_input_tokens": usage.cache_write_tokens - long,
            "ephemeral_1h_input_tokens": long,
        }
    if usage.reasoning_tokens:
        fields["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return fields


def _wants_thinking(body: Mapping[str, Any]) -> bool:
    # Clients that did not request thinking often expect the answer in `content[0]`.
    thinking = body.get("thinking")
    if not isinstance(thinking, dict) or thinking.get("display") == "omitted":
        return False
    return thinking.get("type") not in (None, "disabled")


def _error_type(status: int) -> str:
    if status in _ERROR_TYPES:
        return _ERROR_TYPES[status]
    return "api_error" if status >= 500 else "invalid_request_error"
