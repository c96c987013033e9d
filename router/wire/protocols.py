"""What each protocol's answers say: that content comes, that all is said, what was used, what went wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from router.types import Api, Usage

_DATA = b"data:"


class WireProtocol(Struct, frozen=True, eq=False):
    """One protocol. `path` follows the base URL. `done` finds the event after which a stream is complete, `finished`
    what an upstream that leaves that event out says last.

    `shows` tells whether an event carries content, or says that there is none.
    """

    api: Api
    path: str
    done: re.Pattern[bytes]
    finished: re.Pattern[bytes]
    shows: Callable[[Mapping[str, Any]], bool]
    supports_include_usage: bool = False


def events_of(piece: bytes) -> Iterator[bytes]:
    """The events of a piece of a stream that holds only whole ones; each ends with its blank line."""
    separator = b"\r\n\r\n" if b"\r\n\r\n" in piece else b"\n\n"
    *whole, rest = piece.split(separator)
    for event in whole:
        yield event + separator
    if rest:
        yield rest


def data_of(event: bytes) -> Any:
    """The JSON that an event carries; None where it carries none, or something else."""
    lines = [line[len(_DATA) :].strip() for line in event.splitlines() if line.startswith(_DATA)]
    if not lines:
        return None
    try:
        return msgspec.json.decode(b"\n".join(lines))
    except (ValueError, RecursionError):
        return None


def usage_in(said: Mapping[str, Any], before: Usage | None = None) -> Usage | None:
    """The usage that an answer or an event tells, in any of the protocols; `before` is what earlier events told."""
    for holder in (said, said.get("response"), said.get("message")):
        told = holder.get("usage") if isinstance(holder, Mapping) else None
        if isinstance(told, Mapping):
            return _usage(told, before or Usage(0, 0))
    return before


def _usage(told: Mapping[str, Any], before: Usage) -> Usage:
    cached = told.get("cache_read_input_tokens")
    if cached is not None or "cache_creation_input_tokens" in told:
        # Anthropic counts what its cache read and wrote apart from the input.
        read, written = _count(cached), _count(told.get("cache_creation_input_tokens"))
        given = _count(told.get("input_tokens")) + read + written
        return Usage(given or before.input_tokens, _count(told.get("output_tokens")) or before.output_tokens, read)
    details = told.get("prompt_tokens_details") or told.get("input_tokens_details")
    return Usage(
        _count(told.get("prompt_tokens", told.get("input_tokens"))) or before.input_tokens,
        _count(told.get("completion_tokens", told.get("output_tokens"))) or before.output_tokens,
        _count(details.get("cached_tokens")) if isinstance(details, Mapping) else before.cached_input_tokens,
    )


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _chat_shows(event: Mapping[str, Any]) -> bool:
    return any(
        choice.get("finish_reason") is not None or any(value for key, value in _delta(choice).items() if key != "role")
        for choice in _choices(event)
    )


def _completion_shows(event: Mapping[str, Any]) -> bool:
    return any(choice.get("text") or choice.get("finish_reason") is not None for choice in _choices(event))


def _choices(event: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    choices = event.get("choices")
    return (choice for choice in choices if isinstance(choice, Mapping)) if isinstance(choices, list) else iter(())


def _delta(choice: Mapping[str, Any]) -> Mapping[str, Any]:
    delta = choice.get("delta")
    return delta if isinstance(delta, Mapping) else {}


def _message_shows(event: Mapping[str, Any]) -> bool:
    return event.get("type") in ("content_block_delta", "content_block_stop", "message_delta")


def _response_shows(event: Mapping[str, Any]) -> bool:
    kind = event.get("type")
    return isinstance(kind, str) and (kind.endswith((".delta", ".done")) or kind in _RESPONSE_ENDS)


_RESPONSE_ENDS = ("response.completed", "response.incomplete")
_NEVER = re.compile(rb"(?!)")
_DONE = re.compile(rb"(?:^|[\r\n])data: ?\[DONE\]")
_FINISHED = re.compile(rb'"finish_reason"\s*:\s*"')

CHAT = WireProtocol("chat", "chat/completions", _DONE, _FINISHED, _chat_shows, supports_include_usage=True)
COMPLETIONS = WireProtocol(
    "completions", "completions", _DONE, _FINISHED, _completion_shows, supports_include_usage=True
)
EMBEDDINGS = WireProtocol("embeddings", "embeddings", _NEVER, _NEVER, lambda _: True)
RESPONSES = WireProtocol(
    "responses",
    "responses",
    re.compile(rb'"type"\s*:\s*"response\.(?:completed|incomplete|failed)"'),
    _NEVER,
    _response_shows,
)
MESSAGES = WireProtocol("messages", "messages", re.compile(rb'"type"\s*:\s*"message_stop"'), _NEVER, _message_shows)
PROTOCOLS: Mapping[Api, WireProtocol] = {
    each.api: each for each in (CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, MESSAGES)
}
