"""Thinking blocks: whose they are, and which of them Anthropic's models accept."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from router.wire.effort import calls_tools_unthinking
from router.wire.reasoning import State, is_sealed, opened

THINKING = ("redacted_thinking", "thinking")
"""The types of blocks with thinking."""

Body = Mapping[str, Any]
# A strategy of Anthropic's context management that is rejected where thinking is off.
_CLEARS_THINKING = "clear_thinking"


def state_in(block: Mapping[str, Any]) -> State | None:
    """What a chat server must get back of a thinking block; None for thinking that another service signed."""
    if block.get("type") == "redacted_thinking":
        return opened(block.get("data"))
    text, signature = block.get("thinking"), block.get("signature")
    state = opened(signature)
    if state is None and signature:
        return None
    return {**({"text": text} if isinstance(text, str) and text else {}), **(state or {})} or None


def without_foreign_thinking(body: Body, *, signed_only: bool) -> Body:
    """An Anthropic body without the thinking that the gateway converted from other models.

    `signed_only`: also without thinking that has no signature, which Anthropic rejects. See `without_thinking`.
    """
    return _without(body, lambda block: _is_sealed(block) or (signed_only and _is_unsigned(block)))


def without_thinking(body: Body) -> Body:
    """An Anthropic body without any earlier thinking: none of it was signed by the server that gets it.

    Where the running loop of tool calls began with thinking, thinking is turned off for this turn, since Anthropic
    rejects its answer otherwise. A body without such blocks is returned as it is. A message that contains nothing else
    is removed.
    """
    return _without(body, lambda block: block.get("type") in THINKING)


def with_thinking_off(body: Body) -> Body:
    """An Anthropic body without thinking, earlier and new."""
    off = {name: value for name, value in without_thinking(body).items() if name != "thinking"}
    context = off.get("context_management")
    edits = context.get("edits") if isinstance(context, Mapping) else None
    if isinstance(context, Mapping) and isinstance(edits, list):
        kept = [edit for edit in edits if not _clears_thinking(edit)]
        off["context_management"] = {**context, "edits": kept}
        if not kept:
            del off["context_management"]
    return off


def _without(body: Body, is_foreign: Callable[[Mapping[str, Any]], bool]) -> Body:
    messages = body.get("messages")
    if not isinstance(messages, list):
        return body
    kept = [_message_without(message, is_foreign) for message in messages]
    if all(map(operator.is_, kept, messages)):
        return body
    changed = {**body, "messages": [message for message in kept if message is not None]}
    return with_thinking_off(changed) if _must_begin_with_thinking(changed) else changed


def _message_without(message: Any, is_foreign: Callable[[Mapping[str, Any]], bool]) -> Any:
    """The message without such blocks, itself where it has none; None where nothing is left of it."""
    blocks = message.get("content") if _is_assistant(message) else None
    if not isinstance(blocks, list):
        return message
    kept = [block for block in blocks if not (isinstance(block, Mapping) and is_foreign(block))]
    if len(kept) == len(blocks):
        return message
    return {**message, "content": kept} if kept else None


def _must_begin_with_thinking(body: Body) -> bool:
    """Whether Anthropic rejects thinking because the running loop of tool calls has begun without it."""
    thinking = body.get("thinking")
    if not isinstance(thinking, Mapping) or thinking.get("type") != "enabled":
        return False
    turns: Sequence[Any] = body["messages"]
    return calls_tools_unthinking(turns) and not _is_assistant(turns[-1])


def _is_assistant(message: Any) -> bool:
    return isinstance(message, Mapping) and message.get("role") == "assistant"


def _is_sealed(block: Mapping[str, Any]) -> bool:
    if block.get("type") not in THINKING:
        return False
    return is_sealed(block.get("data" if block["type"] == "redacted_thinking" else "signature"))


def _is_unsigned(block: Mapping[str, Any]) -> bool:
    return block.get("type") == "thinking" and not block.get("signature")


def _clears_thinking(edit: Any) -> bool:
    return isinstance(edit, Mapping) and str(edit.get("type", "")).startswith(_CLEARS_THINKING)
