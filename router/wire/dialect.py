"""Differences between the chat completions of upstreams: which fields they accept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from router.wire.chat.transcript import content_of

_CACHE_CONTROL = "cache_control"


class Dialect(Struct, frozen=True):
    """The fields that an upstream's chat completions accept.

    `cache_control`: Anthropic's cache breakpoints. `max_completion_tokens`: as the output limit, in place of
    `max_tokens`. `reasoning_effort`: only where the model reasons.
    """

    cache_control: bool = True
    max_completion_tokens: bool = False
    reasoning_effort: bool = True


def adapt(chat_body: Mapping[str, Any], dialect: Dialect) -> Mapping[str, Any]:
    """A converted chat body in an upstream's dialect.

    Conversions keep `cache_control`, limit the output by `max_tokens` and may set `reasoning_effort`.
    """
    adapted = dict(chat_body)
    if dialect.max_completion_tokens and "max_tokens" in adapted:
        adapted["max_completion_tokens"] = adapted.pop("max_tokens")
    if not dialect.reasoning_effort:
        adapted.pop("reasoning_effort", None)
    if not dialect.cache_control:
        adapted.pop("cache_control", None)
        adapted["messages"] = [_message_without_cache_control(message) for message in chat_body["messages"]]
        if isinstance(adapted.get("tools"), list):
            adapted["tools"] = [_without_cache_control(tool) for tool in adapted["tools"]]
    return adapted


def _message_without_cache_control(message: Mapping[str, Any]) -> Mapping[str, Any]:
    content, calls = message.get("content"), message.get("tool_calls")
    has_marked_part, has_marked_call = _is_marked(content), _is_marked(calls)
    if not has_marked_part and not has_marked_call:
        return message
    cleaned = dict(message)
    if has_marked_part:
        cleaned["content"] = content_of(message["role"], [_without_cache_control(part) for part in message["content"]])
    if has_marked_call:
        cleaned["tool_calls"] = [_without_cache_control(call) for call in message["tool_calls"]]
    return cleaned


def _is_marked(items: Any) -> bool:
    return isinstance(items, list) and any(isinstance(item, Mapping) and _CACHE_CONTROL in item for item in items)


def _without_cache_control(item: Any) -> Any:
    """The item without its cache breakpoint. Items of the wrong type are left for the upstream to reject."""
    if not isinstance(item, Mapping):
        return item
    return {name: value for name, value in item.items() if name != _CACHE_CONTROL}
