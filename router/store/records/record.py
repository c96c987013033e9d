"""One request as the store remembers it."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from router.formats.json import encodable
from router.types import Outcome


class DecisionRecord(Struct, frozen=True, omit_defaults=True):
    """What a decision was made from and what it was, so that it can be made again.

    `vector` holds the little-endian float32 of `Features.vector`. `catalogue`, `settings` and `unavailable` name
    snapshots by their fingerprints: the cards and what probes told of them, the policy, and why cards could not be
    called (empty where all could). `day` is the ISO date that ages counted from, empty where none did; `kept` the card
    that the conversation had; `release` the release that decided. Quality, cost and latency are the chosen card's
    forecast.
    """

    policy: str
    settings: str
    flags: str
    artifact: str
    catalogue: str
    unavailable: str
    day: str
    card: str
    fallbacks: tuple[str, ...]
    guard: str
    quality: float
    quality_std: float
    cost_usd: float | None
    latency_ms: float | None
    vector: bytes
    input_tokens: int
    modalities: tuple[str, ...] = ("text",)
    needs: tuple[str, ...] = ()
    output_limit: int | None = None
    kept: str | None = None
    release: str = ""


class Record(Struct, frozen=True, omit_defaults=True):
    """One request, and what came of it.

    `id` is unique: of two records with the same id the first is kept. `at` is in seconds since 1970, UTC. `asked` is
    the client's `model`. `key` is the id of the client's key, never the key. `prompt` is the request's body, and only
    there where prompts are asked for.
    """

    id: str
    at: float
    surface: str
    asked: str
    stream: bool
    outcome: Outcome
    key: str | None = None
    session: str | None = None
    decision: DecisionRecord | None = None
    prompt: bytes | None = None


class Snapshot(Struct, frozen=True):
    """What many decisions were made from, kept once. `content` is compressed JSON, which `fingerprint` is a hash of."""

    fingerprint: str
    content: bytes


class Entry(Struct, frozen=True, omit_defaults=True):
    """A line of the journal: one of the two."""

    record: Record | None = None
    snapshot: Snapshot | None = None


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Entry)


def write_entry(entry: Entry) -> bytes:
    """One line of JSON, with its end."""
    try:
        return _ENCODER.encode(entry) + b"\n"
    except UnicodeEncodeError:
        # A client may send half a surrogate pair; its request has been answered all the same.
        return _ENCODER.encode(_encodable(msgspec.to_builtins(entry))) + b"\n"


def read_entry(line: bytes) -> Entry:
    """The inverse of `write_entry`. Raises ValueError (msgspec's DecodeError is one) for a line that is damaged."""
    return _DECODER.decode(line)


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, dict):
        return {key: _encodable(inner) for key, inner in value.items()}
    return [_encodable(inner) for inner in value] if isinstance(value, list | tuple) else value
