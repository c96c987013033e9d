"""JSON that may hold half of a surrogate pair: what remains of an emoji when a text is cut inside it.

msgspec neither reads nor writes such text; the standard library does both, more slowly.
"""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode


def json_bytes(value: Any) -> bytes:
    """`value` as JSON in UTF-8, with `null` for numbers that are not finite."""
    try:
        return _encode(value)
    except UnicodeEncodeError:
        # Only the escape of half of a surrogate pair is valid UTF-8.
        return json.dumps(_writable(value), separators=(",", ":"), allow_nan=False).encode("ascii")


def read_json(raw: bytes) -> Any:
    """The value of a JSON text. Raises ValueError (msgspec's and UnicodeDecodeError among them), and RecursionError."""
    try:
        return msgspec.json.decode(raw)
    except msgspec.DecodeError:
        if b"\\u" not in raw:
            raise
        return json.loads(raw.decode("utf-8"), parse_constant=_reject_constant, parse_float=_finite)


def json_or_none(raw: bytes) -> Any:
    """The value of a JSON text that an upstream sent, Infinity and NaN allowed; None where `raw` is no JSON."""
    try:
        return msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        try:
            return json.loads(raw)
        except (ValueError, RecursionError):
            return None


def encodable(text: str) -> str:
    """`text` with lone surrogates, which JSON may carry but no tokenizer, file or answer takes, as question marks."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _writable(value: Any) -> Any:
    """`value` with None in place of numbers that are not finite, as msgspec writes them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _writable(inner) for key, inner in value.items()}
    return [*map(_writable, value)] if isinstance(value, list | tuple) else value


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text} is out of range")
    return number


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")
