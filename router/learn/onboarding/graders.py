"""Graders: whether a model's reply gives the right answer. Pure functions of two texts.

They accept the forms that a reasonable person would accept (`The answer is **B**.`, `1,234 km`, `\\boxed{7}`,
full-width digits) and no others: a reply that names two answers, or refuses, is wrong.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from router.learn.onboarding.answers import (
    final_answer,
    in_ascii,
    normal_text,
    only_emphasised,
    read_choice,
    read_number,
    same_number,
    stripped,
    without_thoughts,
)

GRADERS = ("choice", "number", "text", "list", "output", "json", "whole")
"""The graders by what they read of a reply.

`choice`: the letter of an option. `number`: a number. `text`: words, in any case. `list`: several items in order.
`output`: the output of a program. `json`: a JSON value and nothing else. `whole`: the whole reply, exactly.
"""


class Grade(Struct, frozen=True):
    """1 for right and 0 for wrong, with the text that was read as the answer; empty where there was none."""

    score: float
    read: str


def grade(grader: str, reply: str, answers: Sequence[Any], options: Mapping[str, str] | None = None) -> Grade:
    """Grade `reply` with one of GRADERS. Any of `answers` is right. `options` are the texts of a choice by letter.

    `answers` are texts; for `list` sequences of texts, for `json` any JSON value.
    """
    text = without_thoughts(reply)
    if grader == "json":
        return _grade_json(text, answers)
    if grader == "whole":
        read = "\n".join(line.rstrip() for line in text.strip().splitlines())
        return Grade(float(read in answers), read)
    text = in_ascii(text)
    content, marked = final_answer(text)
    if grader == "choice":
        letter = read_choice(content, options or {}) or ("" if marked else only_emphasised(text, options or {}))
        return Grade(float(letter != "" and letter in [answer.strip().upper() for answer in answers]), letter)
    if grader == "number":
        readings = read_number(content, lenient=not marked)
        right = any(same_number(readings, answer) for answer in answers)
        return Grade(float(right), content if readings else "")
    if grader == "text":
        right = any(_same_text(content, answer) or (marked and _states(content, answer)) for answer in answers)
    else:
        same = {"list": _same_list, "output": _same_output}[grader]
        right = content != "" and any(same(content, answer) for answer in answers)
    return Grade(float(right), content)


_MAX_SENTENCE_WORDS = 12
_HEDGE = re.compile(
    r"n't|,|;|/|\b(?:not|no|never|nor|or|and|either|neither|than|but|nicht|kein\w*|oder|und|als|pas|ni|ou|et|que|y|o|e|не|или|и)\b"
)
_SPLIT = re.compile(r"\s*(?:[,;、،>→\n]|->)\s*(?:and\s+|und\s+|et\s+|y\s+|и\s+)?|\s+(?:and|und|et|then)\s+")


def _same_text(content: str, answer: str) -> bool:
    # A remark may follow the answer, as in `knave (because he lies)`.
    given = {normal_text(content), normal_text(re.sub(r"(?<=\S)\s*\([^()]*\)\W{0,20}\Z", "", content))}
    return normal_text(answer) in given - {""}


def _states(content: str, answer: str) -> bool:
    """Whether a short sentence states `answer`: `Ben owns a parrot`, `Goran is the tallest`."""
    sentence, right = normal_text(content), normal_text(answer)
    if not right or len(sentence.split()) > _MAX_SENTENCE_WORDS or _HEDGE.search(sentence):
        return False
    return sentence.endswith(f" {right}") or sentence.startswith(f"{right} is ")


def _same_list(content: str, answer: Sequence[str]) -> bool:
    inner = content.strip()
    if inner[:1] in "[({" and inner[-1:] in "])}":
        inner = inner[1:-1]
    parts = [normal_text(part) for part in _SPLIT.split(inner)]
    if len(parts) == 1 != len(answer):
        parts = [normal_text(part) for part in inner.split()]
    return parts == [normal_text(item) for item in answer]


def _same_output(content: str, answer: str) -> bool:
    if " ".join(content.split()) == " ".join(stripped(answer).split()) or _compact(content) == _compact(answer) != "":
        return True
    given, right = _literal(content), _literal(answer)
    return given is not None and right is not None and _identical(given[0], right[0])


def _compact(text: str) -> str:
    """A list, dict or tuple without spaces around brackets and commas, in one kind of quotes; else empty."""
    if not re.search(r"[\[{(]", text):
        return ""
    return re.sub(r"\s*([\[\](){},:])\s*", r"\1", text.strip()).replace('"', "'")


def _literal(text: str) -> tuple[Any] | None:
    """The Python literal in `text`, in a tuple of one; None where it is not a literal."""
    if len(text) > 2000:
        return None
    try:
        return (ast.literal_eval(text.strip()),)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


def _grade_json(reply: str, answers: Sequence[Any]) -> Grade:
    text = reply.strip()
    if fence := re.fullmatch(r"```(?:json|JSON)?\s*\n(.*?)\n?\s*```", text, re.DOTALL):
        text = fence[1]
    try:
        given = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_distinct)
    except (ValueError, RecursionError):
        return Grade(0.0, "")
    return Grade(float(any(_identical(given, answer) for answer in answers)), text)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        raise ValueError("duplicate key")
    return mapping


def _identical(given: Any, right: Any) -> bool:
    """Whether both are the same value: 1 equals 1.0 but not true."""
    if isinstance(given, bool) or isinstance(right, bool):
        return given is right
    if isinstance(given, dict) and isinstance(right, dict):
        return given.keys() == right.keys() and all(_identical(given[key], right[key]) for key in right)
    if isinstance(given, list | tuple):
        return type(given) is type(right) and len(given) == len(right) and all(map(_identical, given, right))
    return bool(given == right)
