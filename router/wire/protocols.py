"""The wire protocols: their paths, and how their streams show content and completion."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from router.types import Api
from router.wire.sse import Event
from router.wire.streams.plain_events import CHAT_EVENTS, PlainEvents
from router.wire.streams.progress import (
    ChoicesProgress,
    MessageProgress,
    Progress,
    chat_has_content,
    completion_has_content,
    ends_message,
    ends_response,
    message_has_content,
    response_has_content,
)


class WireProtocol(Struct, frozen=True, eq=False):
    """One protocol. `path` follows the base URL.

    `progress` makes the reader of a stream that knows whether its parts are finished. `has_content`: an event contains
    a part of the answer, or states that the answer is empty. `texts` matches the texts of the answer in stream events,
    once each, escaped as JSON. `is_closing`: an event is the last of a stream. Only events that `matters` finds need to
    be decoded once the stream has content, and no event that `plain` knows. `supports_include_usage`: a stream reports
    its usage if `stream_options.include_usage` is set. `done_may_be_missing`: servers omit the closing event.
    """

    api: Api
    path: str
    progress: Callable[[], Progress]
    has_content: Callable[[Mapping[str, Any]], bool]
    texts: re.Pattern[bytes]
    is_closing: Callable[[Event], bool]
    matters: re.Pattern[bytes]
    supports_include_usage: bool = False
    done_may_be_missing: bool = False
    plain: PlainEvents | None = None


def _closes_choices(event: Event) -> bool:
    return event.is_done


def _closes_message(event: Event) -> bool:
    return event.value is not None and ends_message(event.value)


def _closes_response(event: Event) -> bool:
    return event.value is not None and ends_response(event.value)


def _pattern(*own: bytes, fields: tuple[bytes, ...] = ()) -> re.Pattern[bytes]:
    """Events that have usage, an error, or one of a protocol's `own` patterns. `fields` are patterns behind a quote,
    which then is looked for once for all of them.
    """
    fields = (rb'usage"\s*:\s*\{', rb'error"\s*:\s*[^n\s]', *fields)
    return re.compile(b"|".join((b'"(?:' + b"|".join(fields) + b")", rb"event: ?error", *own)))


# A later choice begins, or one finishes. Most chunks have neither, and are not decoded.
_CHOICES_MATTER = _pattern(rb"\[DONE\]", fields=(rb'finish_reason"\s*:\s*[^n\s]', rb'index"\s*:\s*[1-9]'))
_MESSAGE_MATTERS = _pattern(rb"message_stop", fields=(rb'stop_reason"\s*:\s*"',))
_RESPONSE_MATTERS = _pattern(rb"response\.(?:completed|incomplete|failed|cancelled)")


def _texts(*keys: str) -> re.Pattern[bytes]:
    # Possessive, so that a long text takes neither memory nor a second look.
    return re.compile(rb'"(?:%b)"\s*:\s*"([^"\\]*+(?:\\.[^"\\]*+)*+)' % "|".join(keys).encode())


CHAT = WireProtocol(
    "chat",
    "chat/completions",
    ChoicesProgress,
    chat_has_content,
    _texts("content", "reasoning_content", "reasoning", "refusal", "arguments", "transcript"),
    _closes_choices,
    _CHOICES_MATTER,
    supports_include_usage=True,
    done_may_be_missing=True,
    plain=CHAT_EVENTS,
)
COMPLETIONS = WireProtocol(
    "completions",
    "completions",
    ChoicesProgress,
    completion_has_content,
    _texts("text"),
    _closes_choices,
    _CHOICES_MATTER,
    supports_include_usage=True,
    done_may_be_missing=True,
)
EMBEDDINGS = WireProtocol(
    "embeddings", "embeddings", Progress, lambda _: True, re.compile(rb"(?!)"), lambda _: False, _pattern()
)
RESPONSES = WireProtocol(
    "responses",
    "responses",
    Progress,
    response_has_content,
    _texts("delta"),
    _closes_response,
    _RESPONSE_MATTERS,
)
MESSAGES = WireProtocol(
    "messages",
    "messages",
    MessageProgress,
    message_has_content,
    _texts("text", "thinking", "partial_json"),
    _closes_message,
    _MESSAGE_MATTERS,
)
PROTOCOLS: Mapping[Api, WireProtocol] = {
    protocol.api: protocol for protocol in (CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, MESSAGES)
}
