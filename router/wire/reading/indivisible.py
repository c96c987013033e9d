"""The fields of a request because of which only one upstream call can answer it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router.wire.texts import OBJECT

_SET = ("previous_response_id", "conversation", "background", "audio", "container")
"""What only one server has, or does once."""

_FIELDS = frozenset((*_SET, "seed", "store", "echo"))

TOOL_TURNS = "tool_turns"
"""The word for a conversation with calls of tools or their results."""

# A tuple, as the constants beside it: what a client states as a type may be an object, which no set can be asked for.
_TOOL_TYPES = ("tool_use", "tool_result", "function_call", "function_call_output", "custom_tool_call_output")


def indivisible_in(body: Mapping[str, Any]) -> frozenset[str]:
    """The names of these fields in a body of any protocol, and `TOOL_TURNS` where tools were called."""
    found: set[str] = set()
    # Most bodies have none of them.
    if not _FIELDS.isdisjoint(body):
        found |= {field for field in _SET if body.get(field)}
        # A seed asks for the same answer again, which several calls cannot give.
        found |= {field for field in ("seed",) if body.get(field) is not None}
        found |= {field for field in ("store", "echo") if body.get(field) is True}
    turns = body.get("messages") or body.get("input")
    if isinstance(turns, list) and any(map(_is_of_tool, turns)):
        found.add(TOOL_TURNS)
    return frozenset(found)


def _is_of_tool(message: Any) -> bool:
    if not isinstance(message, OBJECT):
        return False
    if message.get("role") in ("tool", "function") or message.get("tool_calls") or message.get("type") in _TOOL_TYPES:
        return True
    content = message.get("content")
    return isinstance(content, list) and any(
        isinstance(part, Mapping) and part.get("type") in _TOOL_TYPES for part in content
    )
