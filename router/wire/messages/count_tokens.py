"""The parts of an Anthropic request that count as input tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from router.formats.json import encodable, json_bytes
from router.wire.dialect import Dialect, adapt
from router.wire.messages.request import to_chat

IMAGE_TOKENS = 1_600
"""Anthropic's maximum for an image that is not resized: 1.15 megapixels at 750 pixels per token."""
DOCUMENT_TOKENS = 3_000
"""The upper end of Anthropic's range for one page of a PDF. Pages are not counted."""
MESSAGE_TOKENS = 4
"""The special tokens around one message of OpenAI's models; other chat templates need about as many."""


class InputParts(Struct, frozen=True):
    """`texts` are counted by a tokenizer; `other_tokens` is the estimate for images, documents and special tokens."""

    texts: tuple[str, ...]
    other_tokens: int


def count_input(body: Mapping[str, Any]) -> InputParts:
    """The input that a chat upstream would receive for an Anthropic body. Raises FieldError as `to_chat` does."""
    chat = adapt(to_chat(body), Dialect(cache_control=False)).body
    texts: list[str] = []
    other_tokens = 0
    for message in chat["messages"]:
        other_tokens += MESSAGE_TOKENS
        content = message["content"]
        for part in [{"type": "text", "text": content}] if isinstance(content, str) else content or ():
            if part["type"] == "text":
                texts.append(part["text"])
            else:
                other_tokens += DOCUMENT_TOKENS if part["type"] == "file" else IMAGE_TOKENS
        for call in message.get("tool_calls", ()):
            texts += (call["function"]["name"], call["function"]["arguments"])
    # Chat templates write tools and schemas as JSON.
    schemas = [*(tool["function"] for tool in chat.get("tools", ()))]
    # A client may also have sent a `response_format`, of any type.
    response_format = chat.get("response_format")
    if isinstance(response_format, Mapping) and isinstance(response_format.get("json_schema"), Mapping):
        schemas.append(response_format["json_schema"].get("schema"))
    texts += (json_bytes(entry).decode() for entry in schemas)
    return InputParts(tuple(encodable(text) for text in texts if text), other_tokens)
