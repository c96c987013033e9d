"""Reasoning items of Responses that the gateway made, and those of OpenAI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router.wire.reasoning import State, is_sealed, opened


def state_in(item: Mapping[str, Any]) -> State | None:
    """What a server must get back of a reasoning item; None for another service's, whose content is encrypted."""
    encrypted = item.get("encrypted_content")
    state = opened(encrypted)
    if state is None and encrypted:
        return None
    text = _text(item.get("content"))
    return {**({"text": text} if text else {}), **(state or {})} or None


def without_sealed_reasoning(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """A Responses body without the reasoning that the gateway converted, which the service cannot decrypt."""
    items = body.get("input")
    if not isinstance(items, list):
        return body
    kept = [item for item in items if not _is_sealed(item)]
    return body if len(kept) == len(items) else {**body, "input": kept}


def _is_sealed(item: Any) -> bool:
    return isinstance(item, Mapping) and item.get("type") == "reasoning" and is_sealed(item.get("encrypted_content"))


def _text(content: Any) -> str:
    parts = content if isinstance(content, list) else []
    texts = (part.get("text") for part in parts if isinstance(part, Mapping) and part.get("type") == "reasoning_text")
    return "".join(text for text in texts if isinstance(text, str))
