"""Server-sent events: written as bytes, split into whole events, decoded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from router.formats.json import json_bytes, json_or_none


def event(value: dict[str, Any]) -> bytes:
    """An event that carries its name twice, as Anthropic and the Responses protocol have it."""
    name: str = value["type"]
    return b"event: " + name.encode() + b"\ndata: " + json_bytes(value) + b"\n\n"


def data(value: Any) -> bytes:
    """An event without a name."""
    return b"data: " + json_bytes(value) + b"\n\n"


DONE = b"data: [DONE]\n\n"
_DATA = b"data:"


def events_of(piece: bytes) -> Iterator[bytes]:
    """The events in a piece of a stream that contains only whole ones; each ends with its blank line."""
    separator = b"\r\n\r\n" if b"\r\n\r\n" in piece else b"\n\n"
    *whole, rest = piece.split(separator)
    for event in whole:
        yield event + separator
    if rest:
        yield rest


def data_of(event: bytes) -> Any:
    """The JSON in an event's data; None where there is none, or something that is no JSON."""
    lines = [line[len(_DATA) :].strip() for line in event.splitlines() if line.startswith(_DATA)]
    return json_or_none(b"\n".join(lines)) if lines else None
