"""Thinking that Anthropic did not sign."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def without_unsigned_thinking(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """An Anthropic body as Anthropic takes it: thinking that another model did, and nobody signed, is left out.

    Clients send earlier answers back as they got them, and Anthropic refuses thinking without a signature of its own.
    A body that holds none is returned as it is. A turn that was nothing but such thinking goes altogether.
    """
    messages = body.get("messages")
    if not isinstance(messages, list) or not any(map(_has_unsigned, messages)):
        return body
    kept = []
    for message in messages:
        if not _has_unsigned(message):
            kept.append(message)
        elif blocks := [block for block in message["content"] if not _is_unsigned(block)]:
            kept.append({**message, "content": blocks})
    return {**body, "messages": kept}


def _has_unsigned(message: Any) -> bool:
    if not isinstance(message, Mapping) or message.get("role") != "assistant":
        return False
    content = message.get("content")
    return isinstance(content, list) and any(map(_is_unsigned, content))


def _is_unsigned(block: Any) -> bool:
    return isinstance(block, Mapping) and block.get("type") == "thinking" and block.get("signature") == ""
