"""Remove thinking that Anthropic did not sign."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def without_unsigned_thinking(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """An Anthropic body without the thinking of other models, which has no signature.

    Clients send earlier answers back unchanged, and Anthropic rejects thinking without its signature. A body without
    such thinking is returned as it is. A message that contains nothing else is removed.
    """
    messages = body.get("messages")
    if not isinstance(messages, list) or not any(map(_has_unsigned, messages)):
        return body
    kept_messages = []
    for message in messages:
        if not _has_unsigned(message):
            kept_messages.append(message)
        elif blocks := [block for block in message["content"] if not _is_unsigned(block)]:
            kept_messages.append({**message, "content": blocks})
    return {**body, "messages": kept_messages}


def _has_unsigned(message: Any) -> bool:
    if not isinstance(message, Mapping) or message.get("role") != "assistant":
        return False
    content = message.get("content")
    return isinstance(content, list) and any(map(_is_unsigned, content))


def _is_unsigned(block: Any) -> bool:
    return isinstance(block, Mapping) and block.get("type") == "thinking" and block.get("signature") == ""
