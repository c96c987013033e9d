"""What only the server that made it can read: stored answers, conversations and items, encrypted reasoning.

Requests refer to it by id or send it back; here these references get names, under which the server is remembered.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from router.formats.json import encodable
from router.formats.text import late_pattern

# References that cannot be left out of a request: the field, the kind of its name.
_FIELDS: Mapping[str, str] = {"previous_response_id": "response", "conversation": "conversation"}
_REFERRING = frozenset({*_FIELDS, "input"})
# Items of a Responses input, with the field by which they refer to what a server made, and the kind of its name.
_ITEMS: Mapping[str, tuple[str, str]] = {
    "compaction": ("encrypted_content", "encrypted"),
    "compaction_summary": ("encrypted_content", "encrypted"),
    "context_compaction": ("encrypted_content", "encrypted"),
    "item_reference": ("id", "item"),
    "reasoning": ("encrypted_content", "encrypted"),
}
# The items without which the conversation remains the same.
_OPTIONAL_ITEMS = frozenset({"reasoning"})
_MAX_NAMES = 8

# Each begins with literal bytes, by which large answers are searched many times faster.
_RESPONSE_ID = late_pattern(rb'"response"\s*:\s*\{[^{}]*?"id"\s*:\s*"([^"\\]+)"')
_WHOLE_RESPONSE_ID = late_pattern(rb'\s*\{[^{}]*?"id"\s*:\s*"(resp_[^"\\]+)"')
_CONVERSATION_ID = late_pattern(rb'"conversation"\s*:\s*\{\s*"id"\s*:\s*"([^"\\]+)"')
_ITEM_ID = late_pattern(rb'"id"\s*:\s*"((?:msg|rs|fc|ctc|ws|fs|ci|cu|ig|mcp|cmp|lsh|sh|apc)_[^"\\]+)"')
_ENCRYPTED = late_pattern(rb'"encrypted_content"\s*:\s*"([^"\\]+)"')
_MADE: tuple[tuple[str, re.Pattern[bytes]], ...] = (
    ("response", _RESPONSE_ID),
    ("conversation", _CONVERSATION_ID),
    ("encrypted", _ENCRYPTED),
    ("item", _ITEM_ID),
)
"""What a Responses answer, whole or as events, contains that later requests may refer to: the kind of name, the id."""


class References(Struct, frozen=True):
    """What a request refers to. `names` has the newest first; `bound` is the path of a reference that cannot be left
    out, empty where there is none.
    """

    names: tuple[str, ...] = ()
    bound: str = ""


_NO_REFERENCES = References()


def references_in(body: Mapping[str, Any]) -> References:
    """What a body of any protocol refers to; only Responses bodies do."""
    if _REFERRING.isdisjoint(body):
        return _NO_REFERENCES
    names: list[str] = []
    bound = ""
    for field, kind in _FIELDS.items():
        value = body.get(field)
        value = value.get("id") if isinstance(value, Mapping) else value
        if isinstance(value, str) and value:
            names.append(hashed(kind, value))
            bound = bound or field
    items = body.get("input")
    for position, item in reversed(list(enumerate(items if isinstance(items, list) else ()))):
        for kind, text, is_optional in _reference(item):
            names.append(hashed(kind, text))
            bound = bound if is_optional else bound or f"input[{position}]"
    return References(tuple(dict.fromkeys(names))[:_MAX_NAMES], bound)


def without_encrypted_reasoning(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """A Responses body without the reasoning that another server encrypted; the same object where there is none.

    The ids of the other items are removed too: a server looks up an item with an id among those that it has stored.
    """
    items = body.get("input")
    if not isinstance(items, list) or not any(map(_is_encrypted_reasoning, items)):
        return body
    kept = [_without_id(item) for item in items if not _is_encrypted_reasoning(item)]
    return {**body, "input": kept}


def made_in(answer: bytes) -> tuple[str, ...]:
    """The names of what an answer of the Responses API contains; `answer` is its body, or whole events of a stream."""
    names: dict[str, None] = {}
    for kind, pattern in _MADE:
        found = pattern.findall(answer)
        if kind == "response" and (whole := _WHOLE_RESPONSE_ID.match(answer)):
            found.insert(0, whole[1])
        # Those at the end are the ones that the next request sends last.
        for value in found[-_MAX_NAMES:]:
            names[hashed(kind, value.decode("utf-8", "replace"))] = None
    return tuple(names)


def hashed(kind: str, name: str) -> str:
    """A short name for what a client or a server calls `name`."""
    digest = hashlib.blake2b(encodable(name).encode(), digest_size=16).hexdigest()
    return f"{kind}:{digest}"


def _reference(item: Any) -> Iterator[tuple[str, str, bool]]:
    """The kind and the value of what an item refers to, and whether the item can be left out."""
    if not isinstance(item, Mapping):
        return
    type_ = item.get("type")
    if type_ is None and item.keys() == {"id"}:
        type_ = "item_reference"
    if not isinstance(type_, str) or type_ not in _ITEMS:
        return
    field, kind = _ITEMS[type_]
    value = item.get(field)
    if isinstance(value, str) and value:
        yield kind, value, type_ in _OPTIONAL_ITEMS


def _is_encrypted_reasoning(item: Any) -> bool:
    return any(kind == "encrypted" and is_optional for kind, _, is_optional in _reference(item))


def _without_id(item: Any) -> Any:
    if not isinstance(item, Mapping) or "id" not in item or item.get("type") == "item_reference":
        return item
    return {name: value for name, value in item.items() if name != "id"}
