"""What one upstream's chat completions take and another's refuse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from router.wire.chat.transcript import content_of

_MARK = "cache_control"


class Dialect(Struct, frozen=True):
    """How an upstream's chat completions differ from the common core.

    `cache_control`: Anthropic's cache marks may stay where the client put them. `completion_limit`: the output is
    bounded by `max_completion_tokens`, else by `max_tokens`. `reasons`: `reasoning_effort` may be sent.
    """

    cache_control: bool = True
    completion_limit: bool = False
    reasons: bool = True


def adapt(chat_body: Mapping[str, Any], dialect: Dialect) -> Mapping[str, Any]:
    """A converted chat body as an upstream of this dialect takes it.

    Conversions keep cache marks, bound the output by `max_tokens` and state `reasoning_effort`.
    """
    adapted = dict(chat_body)
    if dialect.completion_limit and "max_tokens" in adapted:
        adapted["max_completion_tokens"] = adapted.pop("max_tokens")
    if not dialect.reasons:
        adapted.pop("reasoning_effort", None)
    if not dialect.cache_control:
        adapted.pop("cache_control", None)
        adapted["messages"] = [_without_marks(message) for message in chat_body["messages"]]
        if "tools" in adapted:
            adapted["tools"] = [_without_mark(tool) for tool in adapted["tools"]]
    return adapted


def _without_marks(message: Mapping[str, Any]) -> Mapping[str, Any]:
    content, calls = message.get("content"), message.get("tool_calls")
    marked = isinstance(content, list) and any(_MARK in part for part in content)
    if not marked and not (calls and any(_MARK in call for call in calls)):
        return message
    unmarked = dict(message)
    if marked:
        unmarked["content"] = content_of(message["role"], [_without_mark(part) for part in message["content"]])
    if calls:
        unmarked["tool_calls"] = [_without_mark(call) for call in calls]
    return unmarked


def _without_mark(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name != _MARK}
