"""What an error of a server shows about its dialect: rows that are missing in the tables, read from its own words."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from router.types import Api
from router.wire.dialect.rules import FIELDS, Dialect
from router.wire.messages.thinking import with_thinking_off, without_thinking
from router.wire.reading.stored import without_encrypted_reasoning
from router.wire.reasoning import LIST_FIELDS, TEXT_FIELDS

Body = Mapping[str, Any]
_Q = r"[\\\"'`]{0,4}"
# The path of a field. It begins where the word does, so that a long word is read once.
_PATH = r"(?<![\w.\[\]])([\w.\[\]]+)"
# The errors of servers that reject a field, whose path is the first group.
_REJECTED = tuple(
    re.compile(pattern.replace("~", _Q).replace("PATH", _PATH), re.IGNORECASE)
    for pattern in (
        r"unsupported (?:parameter|value): ~PATH",
        r"(?:unrecognized|unknown) (?:request )?(?:argument|field|name|parameter)s?(?: supplied)?:? ~PATH",
        r"property ~PATH~ is unsupported",
        r"extra inputs are not permitted,? field: ~PATH",
        r"~PATH~: extra inputs are not permitted",
        r'"type"\s*:\s*"extra_forbidden"\s*,\s*"loc"\s*:\s*\[([^\]]{0,200})\]',
        r'"loc"\s*:\s*\[([^\]]{0,200})\]\s*,\s*"msg"\s*:\s*"extra fields not permitted',
        r"unexpected keyword argument ~PATH",
        r"~PATH~ (?:is|are) not supported (?:with|by|for) this model",
        r"does not support parameters?:? \[?~PATH",
        r"~PATH~ may only be set to 1 when thinking",
        r"temperature~ and ~(top_p)~ cannot both be specified",
    )
)
# These reject one value of a field, or a field beside another; other requests may have it.
_ONCE = re.compile(r"unsupported value|when thinking|cannot both", re.IGNORECASE)
_LIMITS = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
_REASONING = (*TEXT_FIELDS, *LIST_FIELDS)
_ROWS: tuple[tuple[re.Pattern[str], Mapping[str, Any]], ...] = (
    (re.compile(r"system (?:message|role)s?\b.{0,40}(?:beginning|first)", re.IGNORECASE), {"system": "leading"}),
    (
        re.compile(r"(?:invalid|unexpected|unknown|unsupported).{0,40}\bdeveloper\b", re.IGNORECASE),
        {"developer": False},
    ),
)
_SIGNATURE = re.compile(
    r"invalid.{0,20}(?:signature|data).{0,20}thinking|thinking.{0,40}signature|thinking.{0,80}cannot be modified",
    re.IGNORECASE,
)
_NATIVE: tuple[tuple[Api, re.Pattern[str], Callable[[Body], Body]], ...] = (
    ("messages", _SIGNATURE, without_thinking),
    ("messages", re.compile(r"expected ~thinking~.{0,60}but found".replace("~", _Q), re.IGNORECASE), with_thinking_off),
    (
        "responses",
        re.compile(r"invalid_encrypted_content|encrypted content.{0,60}(?:decrypt|verif)", re.IGNORECASE),
        without_encrypted_reasoning,
    ),
)


def learned_dialect(error: str, body: Body, dialect: Dialect) -> Dialect | None:
    """The dialect as this error of a server to a chat body shows it; None where the error shows nothing new."""
    changes: dict[str, Any] = {}
    for pattern in _REJECTED:
        for match in pattern.finditer(error):
            changes |= _without(re.findall(r"\w+", match[1]), body, dialect)
    for pattern, row in _ROWS:
        if pattern.search(error):
            changes |= row
    learned = msgspec.structs.replace(dialect, **changes)
    return None if learned == dialect else learned


def is_lasting(error: str) -> bool:
    """Whether this error shows something that holds for every request."""
    return not _ONCE.search(error)


def without_signed_thinking(error: str, dialect: Dialect) -> Dialect | None:
    """The dialect for a conversation whose thinking another server signed; None for another error."""
    if not dialect.signs_thinking or not _SIGNATURE.search(error):
        return None
    return msgspec.structs.replace(dialect, reasoning_fields=frozenset())


def corrected_body(api: Api, error: str, body: Body) -> Body | None:
    """A native body that the server may accept after this error to it; None where the error shows no correction."""
    for of_api, pattern, correct in _NATIVE:
        if of_api == api and pattern.search(error):
            corrected = correct(body)
            return None if corrected is body else corrected
    return None


def _without(path: list[str], body: Body, dialect: Dialect) -> dict[str, Any]:
    """The changes for a server that rejects the field at the end of `path`."""
    field = path[-1] if path else ""
    if field in _REASONING:
        known = frozenset(_REASONING) if dialect.reasoning_fields is None else dialect.reasoning_fields
        return {"reasoning_fields": known - {field}}
    if field == "cache_control":
        return {"cache_control": False}
    if path not in ([field], ["body", field]) or field not in body:
        # A part of a field that the server does support, such as a tool's.
        return {}
    if field in _LIMITS:
        return {"output_limit": _LIMITS[field]}
    return {"rejects": dialect.rejects | {field}} if field in FIELDS else {}
