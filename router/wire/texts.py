"""The texts in a request body of any protocol: read them, or replace those of the user."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from router.types import Api

HUMAN_FIELDS: Mapping[str, Api] = {"messages": "chat", "input": "responses", "prompt": "completions"}
"""The fields that contain the user's messages, with the protocol that has them; Anthropic's messages share chat's."""

OBJECT = (dict, Mapping)
"""What an object is. Decoded JSON has no other mappings than `dict`, for which a check is several times faster."""

_TEXT_FIELDS = ("instructions", "system", "messages", "input", "prompt", "content", "text")
_FIELDS_BESIDE = frozenset(_TEXT_FIELDS) - {"content"}
_MAX_DEPTH = 8


def human_texts(body: Mapping[str, Any]) -> Iterator[str]:
    """The texts of the user's messages, one for each text part."""
    for field in HUMAN_FIELDS:
        value = body.get(field)
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            for message in value:
                yield from _texts_of_message(message)


def map_human_texts(body: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """`body` with `change` applied to every text of the user's messages. A part whose text becomes empty is dropped,
    since some providers reject empty texts, unless no part would remain.
    """
    return {field: _changed(value, change) if field in HUMAN_FIELDS else value for field, value in body.items()}


def newest_human_texts(body: Mapping[str, Any]) -> tuple[str, ...]:
    """The texts of the user's newest message that has any, one for each text part; empty where there is none."""
    place = _newest(body)
    if place is None:
        return ()
    field, position = place
    value: Any = body[field]
    return (value,) if position is None else tuple(_texts_of_message(value[position]))


def with_newest_human_texts(body: Mapping[str, Any], texts: Iterable[str]) -> dict[str, Any]:
    """`body` with these texts in place of `newest_human_texts`. Empty parts are dropped as in `map_human_texts`."""
    place = _newest(body)
    if place is None:
        return dict(body)
    (field, position), remaining = place, iter(texts)
    value = body[field]
    if position is None:
        return {**body, field: next(remaining)}
    changed = _changed_message(value[position], lambda _: next(remaining))
    return {**body, field: [*value[:position], changed, *value[position + 1 :]]}


def _newest(body: Mapping[str, Any]) -> tuple[str, int | None] | None:
    """The field and the position of the user's newest message that has a text; no position where it is the field."""
    for field in HUMAN_FIELDS:
        value = body.get(field)
        if isinstance(value, str) and value.strip():
            return field, None
        messages = value if isinstance(value, list) else []
        for position in reversed(range(len(messages))):
            if any(text.strip() for text in _texts_of_message(messages[position])):
                return field, position
    return None


def all_text(body: Any) -> str:
    """All texts in a body of any protocol, joined by line breaks."""
    # Most are messages with a text.
    is_plain = type(body) is dict and type(body.get("content")) is str and _FIELDS_BESIDE.isdisjoint(body)
    return body["content"] if is_plain else _all_text(body, 0)


def _texts_of_message(message: Any) -> list[str]:
    if not isinstance(message, Mapping) or message.get("role") != "user":
        return []
    content = message.get("content")
    if isinstance(content, str):
        return [content]
    parts = content if isinstance(content, list) else []
    texts = (part.get("text") for part in parts if isinstance(part, Mapping))
    return [text for text in texts if isinstance(text, str)]


def _changed(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    return [_changed_message(message, change) for message in value] if isinstance(value, list) else value


def _changed_message(message: Any, change: Callable[[str], str]) -> Any:
    if not _texts_of_message(message):
        return message
    content = message["content"]
    if isinstance(content, str):
        return {**message, "content": change(content)}
    parts = [_changed_part(part, change) for part in content]
    remaining = [part for part, old in zip(parts, content, strict=True) if part is old or part["text"].strip()]
    return {**message, "content": remaining or parts}


def _changed_part(part: Any, change: Callable[[str], str]) -> Any:
    text = part.get("text") if isinstance(part, Mapping) else None
    if not isinstance(text, str):
        return part
    changed = change(text)
    return part if changed == text else {**part, "text": changed}


def _all_text(value: Any, depth: int) -> str:
    if depth > _MAX_DEPTH:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(filter(None, [_all_text(item, depth + 1) for item in value]))
    if isinstance(value, OBJECT):
        texts = [value[field] for field in _TEXT_FIELDS if field in value]
        is_one = len(texts) == 1 and type(texts[0]) is str and depth + 2 <= _MAX_DEPTH
        return texts[0] if is_one else _all_text(texts, depth + 1)
    return ""
