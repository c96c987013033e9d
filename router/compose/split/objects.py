"""Tasks that are written as JSON: an array of texts or objects, or an object on each line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from router.compose.split.marked import Marked, found_at

_BEGINS = re.compile(r"[ \t]*(?=[\[{][\s\"{])")
_ASKS = ("task", "question", "prompt", "instruction", "query", "request", "problem", "input", "text", "content")
_ANSWERS = ("answer", "output", "response", "completion", "target", "label", "solution")
_NUMBERS = ("id", "number", "index", "n", "no", "type", "kind")
_DECODER = json.JSONDecoder()
# Values at the beginnings of lines that are tried.
_MOST_VALUES = 64


def objects(text: str) -> Marked | None:
    """`["…", "…"]`, `[{"task": "…"}, …]` or `{"task": "…"}` on each line; objects with an answer are examples."""
    if not any(mark in text for mark in ('{"', '["', "[\n", "{\n", "[{", "[ ")):
        return None
    found = list(_values(text))
    if len(found) == 1 and isinstance(found[0][0], list):
        (value, start, end) = found[0]
        found = [(each, start, end) for each in value]
    # The messages of a chat are no tasks.
    if any(isinstance(value, Mapping) and "role" in value for value, *_ in found):
        return None
    if len(found) < 2 or text[found[0][1] :].count("\x00"):
        return None
    is_named = all(isinstance(value, dict) for value, *_ in found)
    asked = [_task(value) for value, *_ in found]
    texts = [each for each in asked if each is not None]
    if len(texts) < len(asked) or not (is_named or all(isinstance(value, str) for value, *_ in found)):
        return None
    examples = [number for number, (value, *_) in enumerate(found, 1) if is_named and _has_answer(value)]
    return Marked(
        tuple((start, end) for _, start, end in found),
        tuple(start for _, start, _ in found),
        max(examples, default=0),
        end=found[-1][2],
        texts=tuple(texts),
    )


def _values(text: str) -> Iterator[tuple[Any, int, int]]:
    """The JSON values that begin a line, with their places, each after the one before it with nothing else between."""
    before: int | None = None
    for match in found_at(_BEGINS, text)[:_MOST_VALUES]:
        if before is not None and match.end() < before:
            continue
        if before is not None and text[before : match.end()].strip(" \t\n,"):
            return
        try:
            value, end = _DECODER.raw_decode(text, match.end())
        except (ValueError, RecursionError):
            if before is not None:
                return
            continue
        yield value, match.end(), end
        before = end


def _task(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if not isinstance(value, Mapping):
        return None
    asks: Sequence[str] = [
        each for name, each in value.items() if name.lower() in _ASKS and isinstance(each, str) and each.strip()
    ]
    if len(asks) != 1:
        return None
    material = [name for name, each in value.items() if each and isinstance(each, (str, list, dict))]
    has_more = any(name.lower() not in (*_ASKS, *_ANSWERS, *_NUMBERS) for name in material)
    return json.dumps(value, ensure_ascii=False) if has_more else asks[0]


def _has_answer(value: Mapping[str, Any]) -> bool:
    return any(name.lower() in _ANSWERS and each not in (None, "") for name, each in value.items())
