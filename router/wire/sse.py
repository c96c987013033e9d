"""Server-sent events: write, split and decode them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from router.formats.json import json_bytes, json_or_none


def event(value: dict[str, Any]) -> bytes:
    """An event whose name is in `event:` and in the data, as in the Anthropic and Responses protocols."""
    name: str = value["type"]
    return b"event: " + name.encode() + b"\ndata: " + json_bytes(value) + b"\n\n"


def data(value: Any) -> bytes:
    """An event without a name."""
    return b"data: " + json_bytes(value) + b"\n\n"


DONE = b"data: [DONE]\n\n"
_DATA = b"data:"


def events_of(chunk: bytes) -> Iterator[bytes]:
    """The events in a chunk of whole events, each with its final blank line."""
    separator = b"\r\n\r\n" if b"\r\n\r\n" in chunk else b"\n\n"
    *whole, rest = chunk.split(separator)
    for event in whole:
        yield event + separator
    if rest:
        yield rest


def data_of(event: bytes) -> Any:
    """The decoded JSON in the data of an event; None where there is none, or it is invalid."""
    lines = [line[len(_DATA) :].strip() for line in event.splitlines() if line.startswith(_DATA)]
    return json_or_none(b"\n".join(lines)) if lines else None
