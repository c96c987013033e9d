"""Earlier turns of an Anthropic body that another server made, in the form that Anthropic's own service accepts."""

from __future__ import annotations

import hashlib
import operator
import re
from collections.abc import Mapping
from typing import Any

Body = Mapping[str, Any]
_CALL_ID = re.compile(r"[a-zA-Z0-9_-]+")
# Where a block of each type has the id of a tool call.
_IDS = {"tool_use": "id", "tool_result": "tool_use_id"}


def fitting_id(id_: str, pattern: str | re.Pattern[str], characters: int) -> str:
    """The id of a tool call if it matches `pattern`, else one of so many `characters`: the same for the same id."""
    if re.fullmatch(pattern, id_):
        return id_
    return hashlib.blake2b(id_.encode("utf-8", "replace"), digest_size=32).hexdigest()[:characters]


def as_anthropic_accepts(body: Body) -> Body:
    """An Anthropic body without empty texts, and with ids of tool calls that Anthropic accepts; itself where it has
    no others. A message that contains nothing else is removed.
    """
    messages = body.get("messages")
    if not isinstance(messages, list):
        return body
    kept = [_fit(message) for message in messages]
    if all(map(operator.is_, kept, messages)):
        return body
    return {**body, "messages": [message for message in kept if message is not None]}


def _fit(message: Any) -> Any:
    content = message.get("content") if isinstance(message, Mapping) else None
    if not isinstance(content, list):
        return message
    kept = [_fit_block(block) for block in content if not _is_empty(block)]
    if len(kept) == len(content) and all(map(operator.is_, kept, content)):
        return message
    return {**message, "content": kept} if kept else None


def _is_empty(block: Any) -> bool:
    if not isinstance(block, Mapping) or block.get("type") != "text":
        return False
    text = block.get("text")
    return isinstance(text, str) and not text.strip()


def _fit_block(block: Any) -> Any:
    field = _IDS.get(str(block.get("type"))) if isinstance(block, Mapping) else None
    id_ = block.get(field) if field else None
    if not isinstance(id_, str) or not id_ or _CALL_ID.fullmatch(id_):
        return block
    return {**block, field: fitting_id(id_, _CALL_ID, 40)}
