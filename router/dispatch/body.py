"""The client's JSON body as an upstream may see it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

# `route` is the gateway's own; the others would choose another upstream or another account.
_NEVER_FORWARDED = ("route", "api_base", "base_url", "api_key")
_OWN_METADATA = "route_flags"


def for_upstream(body: Mapping[str, Any], model: str) -> dict[str, Any]:
    """`body` with the upstream's name of the model, without what is meant for the gateway; else as it was."""
    forwarded = {**body, "model": model}
    for field in _NEVER_FORWARDED:
        forwarded.pop(field, None)
    metadata = forwarded.get("metadata")
    if isinstance(metadata, Mapping) and _OWN_METADATA in metadata:
        others = {key: value for key, value in metadata.items() if key != _OWN_METADATA}
        forwarded["metadata"] = others
        if not others:
            del forwarded["metadata"]
    return forwarded


def encode(body: Mapping[str, Any]) -> bytes:
    """`body` as JSON."""
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError:
        # Half of a surrogate pair, from a text cut inside an emoji: only its escape is valid UTF-8.
        return json.dumps(body, separators=(",", ":")).encode("ascii")
