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
from router.wire.chat.request import ChatRequest, Turn

_MAX_MARKS = 100
_LONGEST_NAME = 20
# Where the protocols hold what the human said.
_SAID_IN = ("messages", "input", "prompt")
_WORD = re.compile(r"[A-Za-z_]+")
# No two repeats that could match the same blanks: a prompt is untrusted, and must not make this slow.
_IN_PROMPT = re.compile(r"\[\s*flags?\s*:([^\[\]]*)\]", re.IGNORECASE)
_LINE_END = re.compile(r"[ \t]*(?:\r?\n)?")


def extract_flags(request: ChatRequest) -> tuple[ChatRequest, Flags]:
    """The request without the `[Flag: …]` marks of its user turns, and what they say; a later mark overrides.

    A mark whose first word is no flag, nor nearly one, is text: packet dumps have `[Flags: 0x002]`. Raises FlagError
    for any other that cannot be read, and CallerError where nothing but marks was said.
    """
    marks = [mark[1] for text in _texts_of(request) for mark in _marks(text)]
    if not marks:
        return request, Flags()
    spoken = Flags()
    for mark in marks:
        spoken = spoken.overridden_by(parse_flags(mark))
    turns = tuple(Turn(turn.role, _without_marks(turn.text)) if turn.role == "user" else turn for turn in request.turns)
    if request.modalities == {"text"} and not any(turn.text.strip() for turn in turns):
        raise CallerError("the prompt is empty")
    said = {field: _said_without_marks(request.body[field]) for field in _SAID_IN if field in request.body}
    return msgspec.structs.replace(request, turns=turns, body={**request.body, **said}), spoken


def _texts_of(request: ChatRequest) -> Iterator[str]:
    """What the human said, part by part: a mark does not span two."""
    fields = [request.body[field] for field in _SAID_IN if field in request.body]
    if not fields:
        yield from (turn.text for turn in request.turns if turn.role == "user")
    for said in fields:
        if isinstance(said, str):
            yield said
        elif isinstance(said, list):
            yield from (text for message in said if isinstance(message, Mapping) for text in _human_texts(message))


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


def _human_texts(message: Mapping[str, Any]) -> list[str]:
    content = message.get("content")
    if message.get("role") != "user" or not isinstance(content, str | list):
        return []
    parts = [{"text": content}] if isinstance(content, str) else content
    texts = [part.get("text") for part in parts if isinstance(part, Mapping)]
    return [text for text in texts if isinstance(text, str)]


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


def _said_without_marks(said: Any) -> Any:
    if isinstance(said, str):
        return _without_marks(said)
    return [_message_without_marks(message) for message in said] if isinstance(said, list) else said


def _message_without_marks(message: Any) -> Any:
    if not isinstance(message, Mapping) or not _human_texts(message):
        return message
    content = message["content"]
    if isinstance(content, str):
        return {**message, "content": _without_marks(content)}
    parts = [_part_without_marks(part) for part in content]
    # Some providers refuse an empty text.
    left = [part for part, was in zip(parts, content, strict=True) if part is was or part["text"].strip()]
    return {**message, "content": left or parts}


def _part_without_marks(part: Any) -> Any:
    text = part.get("text") if isinstance(part, Mapping) else None
    if not isinstance(text, str) or not any(_marks(text)):
        return part
    return {**part, "text": _without_marks(text)}
