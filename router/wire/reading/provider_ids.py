"""Ids of what providers keep for the gateway's account: answers, conversations, files, containers, vector stores.

The account is the operator's, so a provider lets every client of the gateway use every id. Here are the ids in requests
and answers, so that the gateway can remember whose they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from router.formats.json import json_or_none

_USED = frozenset(
    {
        *(
            "batch_id",
            "container_id",
            "conversation_id",
            "file_id",
            "file_ids",
            "input_file_id",
            "previous_response_id",
        ),
        *("response_id", "vector_store_id", "vector_store_ids"),
    }
)
"""Fields whose value is such an id, or a list of them, wherever they are."""

_OBJECTS = frozenset({"container", "conversation"})
"""Fields whose value is such an id, or an object with one."""

# What a model or a tool wrote, and the client's own names.
_CONTENTS = frozenset({"arguments", "description", "input_schema", "metadata", "output_schema", "parameters", "schema"})
_REFERENCE = "item_reference"
_MAX_DEPTH, _MAX_MADE = 12, 500
_ID = r'"((?:[^"\\]){1,200})"'
_MADE = tuple(
    re.compile(pattern.encode())
    for pattern in (
        rf'"(?:file_id|container_id|conversation_id|vector_store_id|batch_id)"\s*:\s*{_ID}',
        rf'"(?:container|conversation)"\s*:\s*\{{\s*"id"\s*:\s*{_ID}',
        r'"id"\s*:\s*"([a-z]{2,12}_[^"\\]{1,200})"',
        r'"audio"\s*:\s*\{[^{}]*?"id"\s*:\s*"([^"\\]{1,200})"',
    )
)


def ids_used(body: Mapping[str, Any]) -> dict[str, str]:
    """The ids to which a body of any protocol refers, each with the path of its field."""
    return {id_: path for path, id_ in _used(body, "", 0)}


def ids_made(answer: bytes) -> tuple[str, ...]:
    """The ids in an answer of any protocol, its body or whole events, at most 500."""
    found = (match[1] for pattern in _MADE for match in pattern.finditer(answer))
    return tuple(dict.fromkeys(id_.decode("utf-8", "replace") for id_ in found))[:_MAX_MADE]


def id_of_body(answer: bytes) -> str | None:
    """The id of an object that was created, such as a file."""
    created = json_or_none(answer)
    id_ = created.get("id") if isinstance(created, dict) else None
    return id_ if isinstance(id_, str) and id_ else None


def _used(value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    # Decoded JSON has no other mappings than `dict`.
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, list):
        for position, inner in enumerate(value):
            if isinstance(inner, dict | list):
                yield from _used(inner, f"{path}[{position}]", depth + 1)
        return
    is_tool_call = value.get("type") in ("tool_use", "server_tool_use", "mcp_tool_use")
    for name, inner in value.items():
        place = f"{path}.{name}" if path else name
        if name in _USED:
            for id_ in inner if isinstance(inner, list) else (inner,):
                if isinstance(id_, str) and id_:
                    yield place, id_
        elif (name in _OBJECTS and (id_ := _id_in(inner))) or (
            name == "audio" and value.get("role") == "assistant" and (id_ := _id_in(inner))
        ):
            yield place, id_
        elif isinstance(inner, dict | list) and name not in _CONTENTS and not (is_tool_call and name == "input"):
            yield from _used(inner, place, depth + 1)
    if id_ := _stored_item(value):
        yield (f"{path}.id" if path else "id"), id_


def _id_in(value: Any) -> str | None:
    id_ = value.get("id") if isinstance(value, dict) else value
    # `auto` makes a new container.
    return id_ if isinstance(id_, str) and id_ and id_ != "auto" else None


def _stored_item(item: Mapping[str, Any]) -> str | None:
    """The id of an item of a Responses input that stands for what the server has stored; None for any other."""
    type_, id_ = item.get("type"), item.get("id")
    is_reference = type_ == _REFERENCE or item.keys() == {"id"} or item.keys() == {"id", "type"}
    if type_ == "reasoning" and not item.get("encrypted_content") and not item.get("content"):
        is_reference = True
    return id_ if is_reference and isinstance(id_, str) and id_ else None
