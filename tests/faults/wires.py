"""Responses of a healthy model server in each protocol: one short response, as one body and as events.

The text of every response is TEXT. `{id}` is replaced by the number of the call, so that mixed responses are noticed.
"""

from __future__ import annotations

import json
from typing import Any

from msgspec import Struct

TEXT = "Hello there"
_PARTS = ("Hello", " there")


class Wire(Struct, frozen=True):
    """One protocol. The events of a stream come in four groups: before any content, the content, the end, an error.

    `harmless` are events without content that an upstream may send before the first. `counted` is the usage event, in
    protocols in which a client must request it. `whole_empty` and `stream_empty` are a response without any content.
    """

    whole: bytes
    head: tuple[bytes, ...]
    content: tuple[bytes, ...]
    tail: tuple[bytes, ...]
    error: bytes
    error_event: bytes
    harmless: tuple[bytes, ...] = ()
    counted: bytes = b""
    whole_empty: bytes = b"{}"
    stream_empty: tuple[bytes, ...] = ()


def _data(content: Any) -> bytes:
    return b"data: " + json.dumps(content, separators=(",", ":")).encode() + b"\n\n"


def _event(content: dict[str, Any]) -> bytes:
    kind: str = content["type"]
    return b"event: " + kind.encode() + b"\n" + _data(content)


_DONE = b"data: [DONE]\n\n"
_ERROR = {"message": "the model is on fire", "type": "server_error", "param": None, "code": "internal_error"}
_USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}


def _chunk(**fields: Any) -> bytes:
    return _data({"id": "c-{id}", "object": "chat.completion.chunk", "created": 1, "model": "served", **fields})


def _delta(delta: dict[str, Any], finish: str | None = None) -> bytes:
    return _chunk(choices=[{"index": 0, "delta": delta, "finish_reason": finish}])


_COMPLETION = {"id": "c-{id}", "object": "chat.completion", "created": 1, "model": "served", "usage": _USAGE}
_CHOICE = {"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}

CHAT = Wire(
    whole=json.dumps({**_COMPLETION, "choices": [_CHOICE]}).encode(),
    head=(_delta({"role": "assistant", "content": ""}),),
    content=tuple(_delta({"content": part}) for part in _PARTS),
    tail=(_delta({}, "stop"), _DONE),
    error=json.dumps({"error": _ERROR}).encode(),
    error_event=_data({"error": _ERROR}),
    # The first chunk of Azure.
    harmless=(_chunk(choices=[], prompt_filter_results=[{"prompt_index": 0}]),),
    counted=_chunk(choices=[], usage=_USAGE),
    whole_empty=json.dumps({**_COMPLETION, "choices": []}).encode(),
    stream_empty=(_chunk(choices=[]), _DONE),
)

_ANTHROPIC_ERROR = {"type": "error", "error": {"type": "api_error", "message": "the model is on fire"}}
_MESSAGE: dict[str, Any] = {"id": "msg_{id}", "type": "message", "role": "assistant", "model": "served"}

MESSAGES = Wire(
    whole=json.dumps(
        {
            **_MESSAGE,
            "content": [{"type": "text", "text": TEXT}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 5, "output_tokens": 2},
        }
    ).encode(),
    head=(
        _event(
            {
                "type": "message_start",
                "message": {
                    **_MESSAGE,
                    "content": [],
                    "stop_reason": None,
                    "stop_sequence": None,
                    "usage": {"input_tokens": 5, "output_tokens": 0},
                },
            }
        ),
        _event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
    ),
    content=tuple(
        _event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": part}})
        for part in _PARTS
    ),
    tail=(
        _event({"type": "content_block_stop", "index": 0}),
        _event(
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                "usage": {"output_tokens": 2},
            }
        ),
        _event({"type": "message_stop"}),
    ),
    error=json.dumps(_ANTHROPIC_ERROR).encode(),
    error_event=_event(_ANTHROPIC_ERROR),
    harmless=(_event({"type": "ping"}),),
)

_TEXT_COMPLETION = {"id": "t-{id}", "object": "text_completion", "created": 1, "model": "served"}


def _text_chunk(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
    return _data({**_TEXT_COMPLETION, "choices": [choice]})


COMPLETIONS = Wire(
    whole=json.dumps(
        {
            **_TEXT_COMPLETION,
            "choices": [{"index": 0, "text": TEXT, "logprobs": None, "finish_reason": "stop"}],
            "usage": _USAGE,
        }
    ).encode(),
    head=(),
    content=tuple(_text_chunk(part) for part in _PARTS),
    tail=(_text_chunk("", "stop"), _DONE),
    error=json.dumps({"error": _ERROR}).encode(),
    error_event=_data({"error": _ERROR}),
    counted=_data({**_TEXT_COMPLETION, "choices": [], "usage": _USAGE}),
)

EMBEDDINGS = Wire(
    whole=json.dumps(
        {
            "object": "list",
            "model": "served",
            "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -0.5, 0.125]}],
            "usage": {"prompt_tokens": 5, "total_tokens": 5},
        }
    ).encode(),
    head=(),
    content=(),
    tail=(),
    error=json.dumps({"error": _ERROR}).encode(),
    error_event=b"",
)

WIRES = {
    "chat/completions": CHAT,
    "messages": MESSAGES,
    "completions": COMPLETIONS,
    "embeddings": EMBEDDINGS,
}
