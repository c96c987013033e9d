"""The wire protocols: their paths, and how their streams show content and completion."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from router.types import Api


class WireProtocol(Struct, frozen=True, eq=False):
    """One protocol. `path` follows the base URL.

    `done` matches the event that completes a stream; `finished` matches the last event of an upstream that sends no
    `done`. `has_content`: an event contains a part of the answer, or states that the answer is empty.
    `texts` matches the texts of the answer in stream events, once each, escaped as JSON.
    `supports_include_usage`: a stream reports its usage if `stream_options.include_usage` is set.
    """

    api: Api
    path: str
    done: re.Pattern[bytes]
    finished: re.Pattern[bytes]
    has_content: Callable[[Mapping[str, Any]], bool]
    texts: re.Pattern[bytes]
    supports_include_usage: bool = False


def _chat_has_content(event: Mapping[str, Any]) -> bool:
    return any(
        choice.get("finish_reason") is not None or any(value for key, value in _delta(choice).items() if key != "role")
        for choice in _choices(event)
    )


def _completion_has_content(event: Mapping[str, Any]) -> bool:
    return any(choice.get("text") or choice.get("finish_reason") is not None for choice in _choices(event))


def _choices(event: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    choices = event.get("choices")
    return (choice for choice in choices if isinstance(choice, Mapping)) if isinstance(choices, list) else iter(())


def _delta(choice: Mapping[str, Any]) -> Mapping[str, Any]:
    delta = choice.get("delta")
    return delta if isinstance(delta, Mapping) else {}


def _message_has_content(event: Mapping[str, Any]) -> bool:
    return event.get("type") in ("content_block_delta", "content_block_stop", "message_delta")


def _response_has_content(event: Mapping[str, Any]) -> bool:
    kind = event.get("type")
    return isinstance(kind, str) and (kind.endswith((".delta", ".done")) or kind in _RESPONSE_ENDS)


_RESPONSE_ENDS = ("response.completed", "response.incomplete")
_NEVER = re.compile(rb"(?!)")
_DONE = re.compile(rb"(?:^|[\r\n])data: ?\[DONE\]")
_FINISHED = re.compile(rb'"finish_reason"\s*:\s*"')


def _texts(*keys: str) -> re.Pattern[bytes]:
    # Possessive, so that a long text takes neither memory nor a second look.
    return re.compile(rb'"(?:%b)"\s*:\s*"((?:[^"\\]++|\\.)*+)' % "|".join(keys).encode())


CHAT = WireProtocol(
    "chat",
    "chat/completions",
    _DONE,
    _FINISHED,
    _chat_has_content,
    _texts("content", "reasoning_content", "reasoning", "refusal", "arguments", "transcript"),
    supports_include_usage=True,
)
COMPLETIONS = WireProtocol(
    "completions",
    "completions",
    _DONE,
    _FINISHED,
    _completion_has_content,
    _texts("text"),
    supports_include_usage=True,
)
EMBEDDINGS = WireProtocol("embeddings", "embeddings", _NEVER, _NEVER, lambda _: True, _NEVER)
RESPONSES = WireProtocol(
    "responses",
    "responses",
    re.compile(rb'"type"\s*:\s*"response\.(?:completed|incomplete|failed)"'),
    _NEVER,
    _response_has_content,
    _texts("delta"),
)
MESSAGES = WireProtocol(
    "messages",
    "messages",
    re.compile(rb'"type"\s*:\s*"message_stop"'),
    _NEVER,
    _message_has_content,
    _texts("text", "thinking", "partial_json"),
)
PROTOCOLS: Mapping[Api, WireProtocol] = {
    protocol.api: protocol for protocol in (CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, MESSAGES)
}
