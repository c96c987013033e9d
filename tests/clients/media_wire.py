"""Endpoints beside chat, as the fake provider implements them: each has one answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.clients.scripted_model import CREATED, PROMPT_TOKENS

_CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)


def heard(_: Mapping[str, Any]) -> dict[str, Any]:
    """A transcription or a translation."""
    return {"text": "You said: hi"}


def images(_: Mapping[str, Any]) -> dict[str, Any]:
    """One picture."""
    return {"created": CREATED, "data": [{"b64_json": "iVBORw0KGgo="}]}


def moderation(body: Mapping[str, Any]) -> dict[str, Any]:
    """A verdict that nothing is wrong."""
    result = {
        "flagged": False,
        "categories": dict.fromkeys(_CATEGORIES, False),
        "category_scores": dict.fromkeys(_CATEGORIES, 0.01),
        "category_applied_input_types": {category: ["text"] for category in _CATEGORIES},
    }
    return {"id": "modr-1", "model": body["model"], "results": [result]}


def input_tokens(_: Mapping[str, Any]) -> dict[str, Any]:
    """The number of tokens of a request."""
    return {"object": "response.input_tokens", "input_tokens": PROMPT_TOKENS}


def compaction(_: Mapping[str, Any]) -> dict[str, Any]:
    """A compacted conversation."""
    usage = {
        "input_tokens": PROMPT_TOKENS,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 1,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": PROMPT_TOKENS + 1,
    }
    item = {"id": "cmp_0", "type": "compaction", "encrypted_content": "c2VjcmV0"}
    return {"id": "resp_1", "object": "response.compaction", "created_at": CREATED, "output": [item], "usage": usage}
