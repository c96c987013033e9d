"""What an error of a server shows about its dialect: rows that are missing in the tables, read from its own words."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from router.wire.dialect.rules import FIELDS, Dialect
from router.wire.effort import THINKING_OFF, thinking_scale
from router.wire.reasoning import LIST_FIELDS, TEXT_FIELDS

Body = Mapping[str, Any]
# Compiled when a server first sends an error: together they take long, and most gateways see none.
_compiled = functools.cache(functools.partial(re.compile, flags=re.IGNORECASE))
_Q = r"[\\\"'`]{0,4}"
# The paths of fields. They begin where a word does, so that a long word is read once.
_PATHS = rf"(?<![\w.\[\]])([\w.\[\]]+(?:{_Q}, ?{_Q}[\w.\[\]]+)*)"
# The errors of servers that reject fields, whose paths are the first group.
_REJECTED = tuple(
    pattern.replace("~", _Q).replace("PATHS", _PATHS)
    for pattern in (
        r"unsupported (?:parameter|value): ~PATHS",
        r"(?:unrecognized|unknown) (?:request )?(?:argument|field|name|parameter)s?(?: supplied)?:? ~PATHS",
        r"property ~PATHS~ is unsupported",
        r"extra inputs are not permitted,? field: ~PATHS",
        r"~PATHS~: extra inputs are not permitted",
        r"unexpected keyword argument ~PATHS",
        r"~PATHS~ (?:is|are) (?:deprecated|not supported) (?:with|by|for) this model",
        r"invalid ~PATHS~: only .{1,20} is allowed",
        r"tools with ~PATHS~ are not supported",
        r"does not support (thinking|reasoning)\b",
        r"\b(think) value .{1,20} is not supported",
        r"does not support parameters?:? \[?~PATHS",
        r"~PATHS~ may only be set to 1 when thinking",
        r"temperature~ and ~(top_p)~ cannot both be specified",
    )
)
# The same with the path as a list.
_LOCATED = (
    r'"type"\s*:\s*"extra_forbidden"\s*,\s*"loc"\s*:\s*\[([^\]]{0,200})\]',
    r'"loc"\s*:\s*\[([^\]]{0,200})\]\s*,\s*"msg"\s*:\s*"extra fields not permitted',
)
# These reject one value of a field, or a field beside another; other requests may have it.
_ONCE = re.compile(
    r"unsupported value(?!.{0,6}reasoning_effort.{0,24}\bnone\b)|when thinking|cannot both|tools with|think value"
    r"|non-streaming",
    re.IGNORECASE,
)
_LIMITS = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
# The largest output limit of the model.
_MOST = tuple(
    pattern.replace("~", _Q)
    for pattern in (
        r"at most (\d+) (?:completion|output) tokens",
        r"max_\w*tokens~ must be less than or equal to ~(\d+)",
        r"valid range of max_?tokens~ is \[\d+, ?(\d+)\]",
        r"max_tokens: \d+ > (\d+), which is the maximum allowed number of output tokens",
        r"max_\w*tokens~ \(\d+\) exceeds the model'?s limit of (\d+)",
        r"maximum tokens you requested exceeds the model limit of (\d+)",
    )
)
# The context, and the input that has to fit in it together with the output.
_ROOM = tuple(
    pattern.replace("~", _Q)
    for pattern in (
        r"context length is (?P<context>\d+) tokens and your request has (?P<input>\d+) input tokens",
        r"context length is (?P<context>\d+) tokens\. however, you requested (?:about )?\d+ tokens "
        r"\((?P<input>\d+) (?:in the messages|of text input)",
        r"passed (?P<input>\d+) input tokens and requested \d+ output tokens\. however, the model'?s context length is "
        r"only (?P<context>\d+)",
        r"exceed context limit: (?P<input>\d+) \+ \d+ > (?P<context>\d+)",
        r"~inputs~ tokens \+ ~max_new_tokens~ must be <= (?P<context>\d+)\. given: (?P<input>\d+)",
    )
)
_LEAST_ROOM_TOKENS = 2048
"""With less room for the answer than this, the request needs a card with more context."""

_THINKING_FIELDS = ("enable_thinking", "reasoning", "reasoning_effort", "thinking")
# What an error calls by another name than the field has.
_NAMED = {"think": _THINKING_FIELDS, "thinking": _THINKING_FIELDS, "reasoning": _THINKING_FIELDS}
_REASONING = (*TEXT_FIELDS, *LIST_FIELDS)
_NO_REASONING = r"reasoning_content.{0,60}(?:is missing|must be passed back)|missing .{0,2}reasoning_content"
# The lowest efforts first.
_LEVELS = ("minimal", "low")
_VALUE = "unsupported value"
_ABOUT_THINKING = r"reasoning|thinking|budget 0"
_ROWS: tuple[tuple[str, Mapping[str, Any]], ...] = (
    (r"system (?:message|role)s?\b.{0,40}(?:beginning|first)", {"system": "leading"}),
    (
        r"(?:invalid|unexpected|unknown|unsupported).{0,40}\bdeveloper\b",
        {"developer": False},
    ),
    (
        r"sequence, expected a string|content\b.{0,60}should be a valid string",
        {"plain_texts": True},
    ),
    (
        r"roles must alternate|should alternate with assistant|does not support successive",
        {"alternating": True},
    ),
    (_NO_REASONING, {"requires_reasoning": True, "thinking_off": THINKING_OFF}),
    # Alibaba's words, before those of others.
    (
        r"tool_choice parameter does not support .{0,60}thinking",
        {"thinks_with_forced_tool": False, "thinking_off": {"enable_thinking": False}},
    ),
    (
        r"thinking.{0,40} not support this tool_choice",
        {"thinks_with_forced_tool": False, "thinking_off": THINKING_OFF},
    ),
    (
        r"enable_thinking must be set to false",
        {"thinks": False, "thinking_off": {"enable_thinking": False}},
    ),
)
SIGNATURE = re.compile(
    r"invalid.{0,20}(?:signature|data).{0,20}thinking|thinking.{0,40}signature|thinking.{0,80}cannot be modified",
    re.IGNORECASE,
)


def learned_dialect(error: str, body: Body, dialect: Dialect) -> Dialect | None:
    """The dialect as this error of a server to a chat body shows it; None where the error shows nothing new."""
    paths = _rejected_paths(error)
    changes = _least_effort(error, paths, body, dialect)
    for path in () if changes else paths:
        for field in _NAMED.get(path[-1].lower(), (path[-1],)):
            changes = _added(changes, _without((*path[:-1], field), body, dialect))
    changes |= _limited(error, body, dialect)
    for pattern, row in _ROWS:
        if _compiled(pattern).search(error):
            changes |= row
    learned = msgspec.structs.replace(dialect, **changes)
    return None if learned == dialect else learned


def _least_effort(error: str, paths: Sequence[tuple[str, ...]], body: Body, dialect: Dialect) -> dict[str, Any]:
    """The lowest effort of a model that rejects "none"; empty for an error that concerns something else.

    `paths` are those that the error rejects: a whole field for thinking can be left out like any other.
    """
    is_field = any(path[-1] not in _THINKING_FIELDS for path in paths) or not _compiled(_VALUE).search(error)
    if (paths and is_field) or not dialect.least_effort or thinking_scale(body) > 0:
        return {}
    if not _compiled(_ABOUT_THINKING).search(error) or _compiled(_NO_REASONING).search(error):
        return {}
    return {"least_effort": next((level for level in _LEVELS if _compiled(rf"\b{level}\b").search(error)), "")}


def is_lasting(error: str) -> bool:
    """Whether this error shows something that holds for every request."""
    return not _ONCE.search(error) and _room_tokens(error) is None


def without_signed_thinking(error: str, dialect: Dialect) -> Dialect | None:
    """The dialect for a conversation whose thinking another server signed; None for another error."""
    if not dialect.signs_thinking or not SIGNATURE.search(error):
        return None
    return msgspec.structs.replace(dialect, reasoning_fields=frozenset())


def unthinking(error: str, dialect: Dialect) -> Dialect | None:
    """The dialect for a conversation in which reasoning is missing that nobody has; None for another error."""
    if not dialect.thinks or not dialect.thinking_off or not _compiled(_NO_REASONING).search(error):
        return None
    return msgspec.structs.replace(dialect, thinks=False)


def rejected_fields(error: str) -> tuple[str, ...]:
    """The names of fields that an error rejects, in its own words."""
    return tuple(dict.fromkeys(path[-1] for path in _rejected_paths(error) if _is_whole_field(path)))


def _rejected_paths(error: str) -> list[tuple[str, ...]]:
    """The paths of what an error rejects: a field, or a part of one, such as of a tool."""
    named = (match[1] for pattern in _REJECTED for match in _compiled(pattern).finditer(error))
    paths = [name for names in named for name in re.split(r"[^\w.\[\]]+", names)]
    paths += [match[1] for pattern in _LOCATED for match in _compiled(pattern).finditer(error)]
    found = (tuple(re.findall(r"\w+", path)) for path in paths)
    return list(dict.fromkeys(path for path in found if path))


def _is_whole_field(path: tuple[str, ...]) -> bool:
    return len(path) == 1 or (len(path) == 2 and path[0] == "body")


def largest_output_limit(error: str) -> int | None:
    """The largest output limit of the model in tokens; None where the error states none."""
    return next((int(match[1]) for pattern in _MOST if (match := _compiled(pattern).search(error))), None)


def _added(changes: dict[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Both changes; sets are united."""
    united = {name: changes[name] | value for name, value in more.items() if name in changes and name == "rejects"}
    return {**changes, **more, **united}


def _limited(error: str, body: Body, dialect: Dialect) -> dict[str, Any]:
    """The bounds of the output limit, where the error states that the body's is too large."""
    most = largest_output_limit(error) or _room_tokens(error)
    stated = [name for name in _LIMITS if isinstance(body.get(name), int)]
    if not most or not stated or most >= body[stated[0]]:
        return {}
    return {"bounds": {**dialect.bounds, **dict.fromkeys(stated, (1, most))}}


def _room_tokens(error: str) -> int | None:
    """The room for the answer beside the input; None where the error states none that is worth an answer."""
    match = next(filter(None, (_compiled(pattern).search(error) for pattern in _ROOM)), None)
    room = int(match["context"]) - int(match["input"]) if match else 0
    return room if room >= _LEAST_ROOM_TOKENS else None


def _without(path: tuple[str, ...], body: Body, dialect: Dialect) -> dict[str, Any]:
    """The changes for a server that rejects the field at the end of `path`."""
    field = path[-1]
    if field in _REASONING:
        known = frozenset(_REASONING) if dialect.reasoning_fields is None else dialect.reasoning_fields
        return {"reasoning_fields": known - {field}}
    if field == "cache_control":
        return {"cache_control": False}
    if not _is_whole_field(path) or field not in body:
        # A part of a field that the server does support, such as a tool's.
        return {}
    if field in _LIMITS:
        return {"output_limit": _LIMITS[field]}
    return {"rejects": dialect.rejects | {field}} if field in FIELDS else {}
