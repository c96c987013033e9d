"""Reasoning on its way to the client and back: only the server that made it may get it again.

A conversion has one place for what a protocol has no field for: an opaque text that clients return unchanged (the
signature of a thinking block, the data of a redacted one, a reasoning item's encrypted content). The gateway writes a
state there, with a prefix by which it recognizes its own. A state states which card's server made it.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from router.formats.json import json_bytes
from router.wire.chat.answer import objects

State = dict[str, Any]
"""What a server gave with a turn, and who made it.

`by`: the card's `id_without_effort`; absent where nothing shows it. `text`: the reasoning; `field`: the field it came
in.
`reasoning_details`, `thinking_blocks`: as they came. `calls`: the opaque fields of tool calls, by the call's id.
"""

STATE = "route_state"
"""The field of a converted assistant message that holds its state. No upstream gets it."""

TEXT_FIELDS = ("reasoning_content", "reasoning")
LIST_FIELDS = ("reasoning_details", "thinking_blocks")
CALL_FIELDS = ("extra_content",)
"""The fields of a tool call that hold a signature: Gemini's `extra_content.google.thought_signature`."""

_PREFIX = "pulvinar1."
# Parts of a list entry that arrive in pieces.
_PIECES = ("text", "summary", "thinking")
# Fields that an entry gets last.
_LAST = ("signature", "data")


def sealed(state: Mapping[str, Any]) -> str:
    """The state as an opaque text of letters, digits, `-`, `_` and one dot."""
    return _PREFIX + base64.urlsafe_b64encode(json_bytes(state)).decode().rstrip("=")


def is_sealed(text: Any) -> bool:
    """Whether the gateway made this text."""
    return isinstance(text, str) and text.startswith(_PREFIX)


def opened(text: Any) -> State | None:
    """The state in a text that the gateway made; None for every other, and for a damaged one."""
    if not is_sealed(text):
        return None
    encoded = text[len(_PREFIX) :]
    try:
        state = msgspec.json.decode(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    except (ValueError, RecursionError):
        return None
    return state if isinstance(state, dict) and _is_valid(state) else None


def joined(states: Iterable[State]) -> State:
    """The state of a turn whose parts came back in several places."""
    whole: State = {}
    for state in states:
        for name, value in state.items():
            if name == "text" or name in LIST_FIELDS:
                whole[name] = whole[name] + value if name in whole else value
            elif name == "calls":
                whole[name] = {**whole.get(name, {}), **value}
            else:
                whole[name] = value
    return whole


class StateReader:
    """Collects the state of an answer from its message or from the deltas of its stream. `maker`: see `State.by`."""

    def __init__(self, maker: str) -> None:
        self._maker = maker
        self._field = TEXT_FIELDS[0]
        self._text: list[str] = []
        self._lists: dict[str, list[dict[str, Any]]] = {}
        self._calls: dict[str, dict[str, Any]] = {}
        self._ids: dict[Any, str] = {}

    def read(self, message: Any) -> None:
        """Add a message or delta. Parts of the wrong type are ignored."""
        if not self._maker or not isinstance(message, dict):
            return
        for field in TEXT_FIELDS:
            text = message.get(field)
            if isinstance(text, str) and text:
                self._field = field
                self._text.append(text)
                break
        for field in LIST_FIELDS:
            for entry in objects(message.get(field)):
                add_piece(self._lists.setdefault(field, []), entry)
        for position, call in enumerate(objects(message.get("tool_calls"))):
            index = call.get("index", position)
            if isinstance(call.get("id"), str) and call["id"]:
                self._ids[str(index)] = call["id"]
            extra = {field: call[field] for field in CALL_FIELDS if call.get(field)}
            if extra and str(index) in self._ids:
                self._calls.setdefault(self._ids[str(index)], {}).update(extra)

    @property
    def seal(self) -> str:
        """The mark of reasoning whose text the client sees; empty without a maker."""
        return sealed({"by": self._maker, "field": self._field}) if self._maker else ""

    def take(self, *, text_is_shown: bool) -> str:
        """The sealed state that the client has not been given yet; empty where there is none."""
        state: State = {}
        if self._text and not text_is_shown:
            state |= {"field": self._field, "text": "".join(self._text)}
        state |= {field: entries for field, entries in self._lists.items() if entries}
        if self._calls:
            state["calls"] = self._calls
        self._text, self._lists, self._calls = [], {}, {}
        return sealed({"by": self._maker, **state}) if state else ""


def add_piece(entries: list[dict[str, Any]], piece: Mapping[str, Any]) -> None:
    """Append an entry, or add it to the last where it continues that."""
    piece = {name: value for name, value in piece.items() if value is not None and (value or name not in _LAST)}
    last = entries[-1] if entries else None
    is_other = last is None or any(last.get(name) != piece.get(name) for name in ("type", "index"))
    if last is None or is_other or any(name in last for name in _LAST):
        entries.append(piece)
        return
    for name, value in piece.items():
        if name in _PIECES and isinstance(value, str) and isinstance(last.get(name), str):
            last[name] += value
        else:
            last[name] = value


def _is_valid(state: Mapping[str, Any]) -> bool:
    return (
        all(isinstance(state.get(name, ""), str) for name in ("by", "field", "text"))
        and all(len(objects(state.get(name, []))) == len(state.get(name, [])) for name in LIST_FIELDS)
        and isinstance(state.get("calls", {}), dict)
        and all(isinstance(extra, dict) for extra in state.get("calls", {}).values())
    )
