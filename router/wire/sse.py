"""Server-sent events as bytes."""

from __future__ import annotations

from typing import Any

from router.formats.json import json_bytes


def event(value: dict[str, Any]) -> bytes:
    """An event that carries its name twice, as Anthropic and the Responses protocol have it."""
    name: str = value["type"]
    return b"event: " + name.encode() + b"\ndata: " + json_bytes(value) + b"\n\n"


def data(value: Any) -> bytes:
    """An event without a name."""
    return b"data: " + json_bytes(value) + b"\n\n"


DONE = b"data: [DONE]\n\n"
