"""Prompt flags, such as `[Flag: smallest model]` in a user's turn: parse them, and remove them from the request.

Text that a user pastes may contain them too. So `extract_flags`, which reads all of them, is for the command line,
where whoever types the prompt is the operator; of a gateway's clients, only a flag on a line of its own counts.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec

from router.decide.fields import FIELD_NAMES
from router.decide.flags import Flags, parse_flags
from router.decide.goals import GOALS
from router.errors import CallerError, FlagError, did_you_mean
from router.formats.json import encodable
from router.wire import ChatRequest, Turn
from router.wire.texts import (
    HUMAN_FIELDS,
    human_texts,
    map_human_texts,
    newest_human_texts,
    with_newest_human_texts,
)

_MAX_FLAGS = 100
_MAX_NAME_CHARACTERS = 20
_WORD = re.compile(r"[A-Za-z_]+")
# No two repeats match the same blanks: a prompt is untrusted, and must not cause slow backtracking.
_BRACKETS = re.compile(r"\[\s*flags?\s*:([^\[\]]*)\]", re.IGNORECASE)
_LINE_END = re.compile(r"[ \t]*(?:\r?\n)?")


def extract_flags(request: ChatRequest) -> tuple[ChatRequest, Flags]:
    """The request without the flags in its user turns, and these flags; a later one overrides an earlier one.

    Brackets whose first word is not similar to a flag are text: packet dumps contain `[Flags: 0x002]`. Raises FlagError
    for other flags that cannot be parsed, and CallerError where the prompt contains only flags.
    """
    flag_texts = [brackets[1] for text in _texts_of(request) for brackets in _prompt_flags(text)]
    if not flag_texts:
        return request, Flags()
    flags = Flags()
    for flag_text in flag_texts:
        flags = flags.overridden_by(parse_flags(flag_text))
    turns = tuple(Turn(turn.role, _without_flags(turn.text)) if turn.role == "user" else turn for turn in request.turns)
    has_parts = request.modalities != {"text"} or "files" in request.needs
    if not has_parts and not any(turn.text.strip() for turn in turns):
        raise CallerError("the prompt is empty")
    body = map_human_texts(request.body, _without_flags)
    return msgspec.structs.replace(request, turns=turns, body=body, chat_body=_chat_body(request, body)), flags


def extract_own_lines(request: ChatRequest, allowed: Collection[str]) -> tuple[ChatRequest, Flags]:
    """The request without the flags that stand alone on the first or the last line of the user's newest turn, and these
    flags; the last line overrides the first one.

    `allowed` are the kinds of flags that count, of `limits` and `goals`. Everything else is text and never an error:
    a flag elsewhere, one that cannot be parsed or is not allowed, and one without any other text in its turn.
    """
    texts = newest_human_texts(request.body)
    # Most turns have no brackets at all.
    if "[" not in "".join(texts):
        return request, Flags()
    kept = list(texts)
    line, _, rest = kept[0].lstrip().partition("\n")
    if first := _flags_on(line, allowed):
        kept[0] = rest
    rest, _, line = kept[-1].rstrip().rpartition("\n")
    if last := _flags_on(line, allowed):
        kept[-1] = rest
    if not (first or last) or not any(text.strip() for text in kept):
        return request, Flags()
    flags = (first or Flags()).overridden_by(last or Flags())
    body = with_newest_human_texts(request.body, kept)
    before, after = (encodable("\n".join(each)) for each in (texts, kept))
    newest = max((at for at, turn in enumerate(request.turns) if turn == Turn("user", before)), default=None)
    turns = tuple(Turn("user", after) if at == newest else turn for at, turn in enumerate(request.turns))
    return msgspec.structs.replace(request, turns=turns, body=body, chat_body=_chat_body(request, body)), flags


def _flags_on(line: str, allowed: Collection[str]) -> Flags | None:
    """The flags of a line with nothing else on it; None where it is any other text."""
    brackets = _BRACKETS.fullmatch(line.strip())
    if brackets is None:
        return None
    try:
        flags = parse_flags(brackets[1])
    except FlagError:
        return None
    kinds = {kind for kind, stated in (("limits", flags.limits), ("goals", flags.goals)) if stated}
    return flags if kinds and kinds <= set(allowed) else None


def _chat_body(request: ChatRequest, body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if request.api == "chat":
        return body
    if request.native_only:
        return None
    # Imported here: a decision on the command line converts nothing.
    from router.wire import CONVERSIONS

    try:
        return CONVERSIONS[request.api].to_chat(body)
    except CallerError:
        # Without its flags a part may be empty. An upstream that supports the protocol may accept that.
        return None


def _texts_of(request: ChatRequest) -> Iterator[str]:
    """What the human wrote, part by part: a flag does not span two parts."""
    if any(field in request.body for field in HUMAN_FIELDS):
        return human_texts(request.body)
    return (turn.text for turn in request.turns if turn.role == "user")


def _prompt_flags(text: str) -> Iterator[re.Match[str]]:
    """The brackets in `text` that contain flags; group 1 is what they contain."""
    matches = (brackets for brackets in _BRACKETS.finditer(text) if _begins_with_flag(brackets[1]))
    return itertools.islice(matches, _MAX_FLAGS)


def _begins_with_flag(content: str) -> bool:
    content = content.strip()
    word = _WORD.match(content)
    if word is None:
        return not content or content.startswith("!")
    return len(word[0]) <= _MAX_NAME_CHARACTERS and _is_similar_to_flag(word[0].lower())


@functools.lru_cache(maxsize=4096)
def _is_similar_to_flag(word: str) -> bool:
    known = (*FIELD_NAMES, *GOALS)
    return word in known or bool(did_you_mean(word, known))


def _without_flags(text: str) -> str:
    """`text` without its flags and the blanks before them; a line with nothing else is removed completely."""
    remaining: list[str] = []
    at, starts_line = 0, True
    for brackets in _prompt_flags(text):
        before = text[at : brackets.start()].rstrip(" \t")
        remaining.append(before)
        at = brackets.end()
        if before:
            starts_line = before.endswith("\n")
        if starts_line and (line_end := _LINE_END.match(text, at)):
            at = line_end.end()
    return "".join((*remaining, text[at:]))
