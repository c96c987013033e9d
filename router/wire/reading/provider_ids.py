"""Ids of what providers keep for the gateway's account: answers, conversations, files, containers, vector stores.

The account is the operator's, so a provider lets every client of the gateway use every id. Here are the ids in requests
and answers, so that the gateway can remember whose they are.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from router.formats.json import json_or_none
from router.types import Api
from router.wire.sse import events_of, read_event

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
_MAX_DEPTH, _MAX_MADE = 8, 500
# Answers repeat parts of the request, and contain what a model wrote: an id there shows nothing.
_WRITTEN = _CONTENTS | {"action", "attributes", "input", "queries", "results", "tools", "text"}
_OUTPUTS = ("output", "content")
# What an answer with such ids contains. Of other protocols no request refers to a whole answer, so most have none.
_MARKS: Mapping[Api, re.Pattern[bytes]] = {
    "responses": re.compile(rb'"id"|_id"'),
    "messages": re.compile(rb'"container"|"(?:container|file)_id"'),
    "chat": re.compile(rb'"audio"'),
}
_PARTS = ("item", "content_block", "annotation", "part")


def ids_used(body: Mapping[str, Any]) -> dict[str, str]:
    """The ids to which a body of any protocol refers, each with the path of its field."""
    return {id_: path for path, id_ in _used(body, "")}


def ids_made(answer: bytes, api: Api) -> tuple[str, ...]:
    """The ids in an answer of the protocol `api` to which requests can refer, at most 500.

    `answer` is its body, or whole events. They are read only where providers put them: what the client or the model
    wrote may contain the ids of others.
    """
    mark = _MARKS.get(api)
    if mark is None or not mark.search(answer):
        return ()
    if answer.lstrip()[:1] == b"{":
        values = [json_or_none(answer)]
    else:
        values = [read_event(event).value for event in events_of(answer)]
    names = ("id", *_OBJECTS) if api == "responses" else tuple(_OBJECTS)
    found = (id_ for value in values if isinstance(value, dict) for id_ in _made(value, names))
    return tuple(itertools.islice(dict.fromkeys(found), _MAX_MADE))


def id_of_body(answer: bytes) -> str | None:
    """The id of an object that was created, such as a file."""
    created = json_or_none(answer)
    id_ = created.get("id") if isinstance(created, dict) else None
    return id_ if isinstance(id_, str) and id_ else None


def _made(value: dict[str, Any], names: tuple[str, ...]) -> Iterator[str]:
    """The ids in a whole answer, or in the decoded data of an event. `names` are its fields with such ids."""
    for holder in (value, value.get("response"), value.get("message")):
        if isinstance(holder, dict):
            yield from filter(None, (_id_in(holder.get(name)) for name in names))
            for name in _OUTPUTS:
                yield from _made_in(holder.get(name), 0)
    for name in _PARTS:
        yield from _made_in(value.get(name), 0)
    choices = value.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        for name in ("message", "delta"):
            spoken = choice.get(name) if isinstance(choice, dict) else None
            if isinstance(spoken, dict) and (id_ := _id_in(spoken.get("audio"))):
                yield id_


def _made_in(value: Any, depth: int) -> Iterator[str]:
    """The ids in an item of an answer, and in the parts of it that the provider made."""
    if isinstance(value, list):
        for inner in value:
            yield from _made_in(inner, depth)
    elif isinstance(value, dict) and depth <= _MAX_DEPTH:
        for name, inner in value.items():
            if name in ("id", "container_id", "file_id"):
                yield from filter(None, (_id_in(inner),))
            elif name not in _WRITTEN:
                yield from _made_in(inner, depth + 1)


def _used(value: Any, path: str) -> Iterator[tuple[str, str]]:
    # Decoded JSON has no other mappings than `dict`.
    if isinstance(value, list):
        for position, inner in enumerate(value):
            if isinstance(inner, dict | list):
                yield from _used(inner, f"{path}[{position}]")
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
            yield from _used(inner, place)
    if path.startswith("input[") and (id_ := _stored_item(value)):
        yield f"{path}.id", id_


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
