"""The pieces of a complete stream of any protocol that clients use, as one whole answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from router.formats.json import json_or_none
from router.types import Api
from router.wire.sse import events_of, read_event
from router.wire.streams.assembly import assembled

_LINES = ("ollama_chat", "ollama_generate")
# Of these fields of a line, the next line continues the text.
_CONTINUED = ("content", "thinking", "response")


def collected(api: Api, pieces: Iterable[bytes]) -> dict[str, Any]:
    """The whole answer that a complete stream, in pieces of whole events, wrote. Raises UpstreamError for none."""
    raw = b"".join(pieces)
    if api in _LINES:
        return _joined_lines(raw)
    events = (read_event(each).value for each in events_of(raw))
    return assembled(api, [event for event in events if event is not None])


def _joined_lines(raw: bytes) -> dict[str, Any]:
    whole: dict[str, Any] = {}
    message: dict[str, Any] = {}
    for line in raw.splitlines():
        value = json_or_none(line)
        if not isinstance(value, Mapping):
            continue
        piece = value.get("message")
        _continue(whole, {name: field for name, field in value.items() if name != "message"})
        if isinstance(piece, Mapping):
            _continue(message, piece)
    return {**whole, "message": message} if message else whole


def _continue(whole: dict[str, Any], part: Mapping[str, Any]) -> None:
    for name, value in part.items():
        before = whole.get(name)
        if name in _CONTINUED and isinstance(value, str) and isinstance(before, str):
            whole[name] = before + value
        elif name == "tool_calls" and isinstance(value, list) and isinstance(before, list):
            whole[name] = [*before, *value]
        else:
            whole[name] = value
