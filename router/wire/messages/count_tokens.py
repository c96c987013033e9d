"""What of an Anthropic request costs input, for counting it with a tokenizer at hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from router.formats.json import encodable, json_bytes
from router.wire.dialect import Dialect, adapt
from router.wire.messages.request import to_chat

IMAGE_TOKENS = 1_600
"""What Anthropic counts at most for an image that it does not shrink: 1.15 megapixels at 750 pixels a token."""
DOCUMENT_TOKENS = 3_000
"""The upper end of what Anthropic states for a page of a PDF. Its pages are not counted."""
MESSAGE_TOKENS = 4
"""The marks around one message, as OpenAI's models have them; other chat templates are near."""


class InputParts(Struct, frozen=True):
    """`texts` are to be counted by a tokenizer; `other_tokens` is the allowance for all that is no text."""

    texts: tuple[str, ...]
    other_tokens: int


def count_input(body: Mapping[str, Any]) -> InputParts:
    """What an upstream that speaks chat would read of an Anthropic body. Raises FieldError as `to_chat` does."""
    chat = adapt(to_chat(body), Dialect(cache_control=False))
    texts: list[str] = []
    other = 0
    for message in chat["messages"]:
        other += MESSAGE_TOKENS
        content = message["content"]
        for part in [{"type": "text", "text": content}] if isinstance(content, str) else content or ():
            if part["type"] == "text":
                texts.append(part["text"])
            else:
                other += DOCUMENT_TOKENS if part["type"] == "file" else IMAGE_TOKENS
        for call in message.get("tool_calls", ()):
            texts += (call["function"]["name"], call["function"]["arguments"])
    # Templates write tools and schemas as JSON.
    written = [*(tool["function"] for tool in chat.get("tools", ()))]
    # A client may have sent any `response_format` of its own.
    form = chat.get("response_format")
    if isinstance(form, Mapping) and isinstance(form.get("json_schema"), Mapping):
        written.append(form["json_schema"].get("schema"))
    texts += (json_bytes(entry).decode() for entry in written)
    return InputParts(tuple(encodable(text) for text in texts if text), other)
