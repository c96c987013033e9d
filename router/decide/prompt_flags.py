"""Flags in a prompt, such as `[Flag: smallest model]`: found, read and stripped before dispatch."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from router.decide.fields import FIELD_NAMES
from router.decide.flags import Flags, parse_flags
from router.decide.goals import GOALS
from router.errors import CallerError, did_you_mean
from router.wire import CONVERSIONS, ChatRequest, Turn
from router.wire.texts import HUMAN_FIELDS, human_texts, map_human_texts

_MAX_MARKS = 100
_LONGEST_NAME = 20
_WORD = re.compile(r"[A-Za-z_]+")
# No two repeats that could match the same blanks: a prompt is untrusted, and must not make this slow.
_IN_PROMPT = re.compile(r"\[\s*flags?\s*:([^\[\]]*)\]", re.IGNORECASE)
_LINE_END = re.compile(r"[ \t]*(?:\r?\n)?")


def extract_flags(request: ChatRequest) -> tuple[ChatRequest, Flags]:
    """The request without the `[Flag: …]` marks of its user turns, and the flags in them; a later mark overrides.

    A mark whose first word is no flag, nor nearly one, is text: packet dumps contain `[Flags: 0x002]`. Raises FlagError
    for any other mark that cannot be read, and CallerError where the prompt contains nothing but marks.
    """
    marks = [mark[1] for text in _texts_of(request) for mark in _marks(text)]
    if not marks:
        return request, Flags()
    flags = Flags()
    for mark in marks:
        flags = flags.overridden_by(parse_flags(mark))
    turns = tuple(Turn(turn.role, _without_marks(turn.text)) if turn.role == "user" else turn for turn in request.turns)
    if request.modalities == {"text"} and not any(turn.text.strip() for turn in turns):
        raise CallerError("the prompt is empty")
    body = map_human_texts(request.body, _without_marks)
    return msgspec.structs.replace(request, turns=turns, body=body, chat_body=_chat_body(request, body)), flags


def _chat_body(request: ChatRequest, body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if request.api == "chat":
        return body
    return None if request.native_only else CONVERSIONS[request.api].to_chat(body)


def _texts_of(request: ChatRequest) -> Iterator[str]:
    """What the human wrote, part by part: a mark does not span two."""
    if any(field in request.body for field in HUMAN_FIELDS):
        return human_texts(request.body)
    return (turn.text for turn in request.turns if turn.role == "user")


def _marks(text: str) -> Iterator[re.Match[str]]:
    found = (mark for mark in _IN_PROMPT.finditer(text) if _speaks_of_flags(mark[1]))
    return itertools.islice(found, _MAX_MARKS)


def _speaks_of_flags(mark: str) -> bool:
    mark = mark.strip()
    word = _WORD.match(mark)
    if word is None:
        return not mark or mark.startswith("!")
    return len(word[0]) <= _LONGEST_NAME and _is_nearly_a_name(word[0].lower())


@functools.lru_cache(maxsize=4096)
def _is_nearly_a_name(word: str) -> bool:
    known = (*FIELD_NAMES, *GOALS)
    return word in known or bool(did_you_mean(word, known))


def _without_marks(text: str) -> str:
    """`text` without its marks and the blanks before each; a line that held nothing else goes as a whole."""
    kept: list[str] = []
    at, starts_line = 0, True
    for mark in _marks(text):
        before = text[at : mark.start()].rstrip(" \t")
        kept.append(before)
        at = mark.end()
        if before:
            starts_line = before.endswith("\n")
        if starts_line and (blank := _LINE_END.match(text, at)):
            at = blank.end()
    return "".join((*kept, text[at:]))
