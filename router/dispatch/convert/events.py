"""Server-sent events as bytes."""

from __future__ import annotations

import json
from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode


def json_bytes(value: Any) -> bytes:
    """`value` as JSON."""
    try:
        return _encode(value)
    except UnicodeEncodeError:
        # Half of a surrogate pair, from a text cut inside an emoji: only its escape is valid UTF-8.
        return json.dumps(value, separators=(",", ":")).encode("ascii")


def event(value: dict[str, Any]) -> bytes:
    """An event that carries its name twice, as Anthropic and the Responses protocol have it."""
    name: str = value["type"]
    return b"event: " + name.encode() + b"\ndata: " + json_bytes(value) + b"\n\n"


def data(value: Any) -> bytes:
    """An event without a name."""
    return b"data: " + json_bytes(value) + b"\n\n"


DONE = b"data: [DONE]\n\n"
