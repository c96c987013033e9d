"""A prompt as its tasks: each a segment, with the examples and the instructions that are common to all kept apart."""

from __future__ import annotations

import re

from msgspec import Struct

from router.compose.split.marked import Marked, Span
from router.compose.split.styles import is_answered, marked_in
from router.compose.split.turns import without_tokens
from router.compose.split.words import (
    ANSWER_WORDS,
    announces_tasks,
    asks_for_all,
    has_options,
    is_about_all,
    is_about_answers,
    is_exercise,
    is_question,
    is_request,
    is_thanks,
    opens_as_request,
    points_back,
    without_announcement,
    works_on_items,
)

_PARAGRAPH = re.compile(r"\n[ \t]*\n")
_ANSWER_CUE = re.compile(
    rf"\n[ \t]*(?:#{{1,6}}[ \t]*)?(?:\*\*)?(?:{ANSWER_WORDS})[ \t]{{0,4}}\d{{0,3}}(?:\*\*)?"
    r"\s{0,4}[:：](?:\*\*)?\s*\Z",
    re.IGNORECASE,
)
# A line between two tasks.
_RULE = re.compile(r"\n[ \t]*(?:-{3,}|={3,}|\*{3,}|_{3,}|#{3,})\s*\Z")
# A greeting before a list says nothing about it.
_GREETING = re.compile(
    r"\W*(?:hi|hello|hey|dear|hallo|liebe[rs]?|hola|bonjour|good (?:morning|evening))\b[^.\n]{0,30}\W*\Z",
    re.IGNORECASE,
)
# With more items a prompt is a document.
_MOST_SEGMENTS = 32
_LONGEST_PROMPT = 200_000
# After a longer text, numbered items that are no questions are the steps of working on it.
_LONGEST_INTRODUCTION = 500
_EXAMPLES = re.compile(
    r"\W*(?:here are .{0,20}examples?|examples?|beispiele?|exemples?|ejemplos?|пример\w*|例)\b", re.IGNORECASE
)
# Items that refer to each other by number are the steps of one task.
_SAME_TASK = re.compile(r"\b(?:go back to|return to|repeat|from|until) steps? \d", re.IGNORECASE)
# How many paragraphs after the last item are looked at, as the instructions at the end of a prompt.
_CLOSING_PARAGRAPHS = 3


class Segment(Struct, frozen=True):
    """One task of a prompt. `depends`: it points back, so it needs the answers to those before it."""

    text: str
    depends: bool = False


class Split(Struct, frozen=True):
    """The parts of a prompt. With one segment it is a single task, and `segments[0]` is the whole prompt.

    `examples` are solved examples, `instructions` what holds for every segment: both are sent with each of them.
    `is_numbered`: the prompt numbers its tasks, so the answers are numbered too.
    """

    segments: tuple[Segment, ...]
    examples: str = ""
    instructions: str = ""
    is_numbered: bool = False


def split_prompt(text: str) -> tuple[str, ...]:
    """The tasks of `text` alone, without examples and common instructions; the whole text for a single task."""
    return tuple(segment.text for segment in split(text).segments)


def split(text: str) -> Split:
    """`text` as segments, by the most explicit markers that it has; a very long text is one."""
    if len(text) > _LONGEST_PROMPT:
        return Split((Segment(text.strip()),))
    for marked in marked_in(text):
        found = _read(text, marked)
        if found is not None:
            return found
    return Split((Segment(text.strip()),))


def _read(text: str, marked: Marked) -> Split | None:
    preamble = _RULE.sub("", "\n" + without_tokens(text[: marked.starts[0]])).strip()
    announced = announces_tasks(preamble)
    items, closing = _without_closing(text, marked, announced)
    texts = marked.texts or tuple(_at(text, span) for span in items)
    first = marked.first or next((n for n in range(len(items), 0, -1) if is_answered(texts[n - 1])), 0)
    tasks = [_ANSWER_CUE.sub("", _RULE.sub("", each)).strip() for each in texts[first:]]
    if (
        not 2 <= len(tasks) <= _MOST_SEGMENTS
        or not all(tasks)
        or not (_is_certain(marked, preamble, closing) or _are_tasks(marked, preamble, tasks, closing))
    ):
        return None
    examples = text[marked.starts[0] : marked.starts[first]].strip() if first else ""
    instructions = "\n".join(part for part in (without_announcement(preamble), closing) if part)
    segments = tuple(Segment(task, number > 0 and points_back(task)) for number, task in enumerate(tasks))
    return Split(segments, examples, instructions, marked.is_numbered)


def _at(text: str, span: Span) -> str:
    return text[span[0] : span[1]]


def _without_closing(text: str, marked: Marked, announced: bool) -> tuple[tuple[Span, ...], str]:
    """The spans of the items, and the text after them that is not part of the last one."""
    *others, (start, end) = marked.items
    if marked.end is not None:
        return marked.items, without_tokens(text[marked.end :])
    paragraphs = list(_PARAGRAPH.finditer(text, start, end))
    apart = any(_PARAGRAPH.search(_at(text, span).strip()) for span in others)
    for found in paragraphs[: -_CLOSING_PARAGRAPHS - 1 : -1]:
        closing = _RULE.sub("", text[found.end() : end]).strip()
        if not closing or is_answered(f"\n{closing}"):
            continue
        about_all = (is_about_answers(closing) and not apart and not marked.explicit) or is_about_all(closing)
        if about_all or is_thanks(closing) or not (apart or announced or marked.explicit):
            return (*others, (start, found.start())), closing
    return marked.items, ""


def _is_certain(marked: Marked, preamble: str, closing: str) -> bool:
    """Whether the markers alone show that the items are tasks; not where a question is asked about them."""
    asks = preamble.endswith(("?", "？")) or (is_request(closing) and not is_about_answers(closing))
    return marked.certain and not asks


def _are_tasks(marked: Marked, preamble: str, tasks: list[str], closing: str) -> bool:
    """Whether the items are tasks to be answered, rather than clues, options, steps or rules of one task."""
    if _are_parts_of_one(marked, preamble, tasks, closing):
        return False
    if announces_tasks(preamble) or announces_tasks(closing):
        return True
    # Several questions with the options of one are one question.
    with_options = [number for number, task in enumerate(tasks, 1) if has_options(task)]
    has_joint_options = with_options == [len(tasks)] and not (marked.explicit or marked.is_prose)
    if works_on_items(preamble) or has_joint_options:
        return False
    if marked.explicit:
        return True
    requests = sum(is_request(task) or is_exercise(task) for task in tasks)
    if not preamble or _GREETING.match(preamble):
        return 2 * requests > len(tasks)
    is_unfinished = preamble.endswith(":") or (marked.is_weak and preamble[-1] not in ".!?。！？")
    return requests == len(tasks) and not is_unfinished and not marked.is_prose


def _are_parts_of_one(marked: Marked, preamble: str, tasks: list[str], closing: str) -> bool:
    """Whether the items show that they belong to one task, whatever precedes them."""
    return (
        (is_request(closing) and not is_about_answers(closing))
        or (marked.is_weak and not asks_for_all(preamble) and not all(map(opens_as_request, tasks)))
        or any(map(_SAME_TASK.search, tasks))
        or (
            len(preamble) > _LONGEST_INTRODUCTION
            and not (marked.explicit or _EXAMPLES.match(preamble))
            and not all(map(is_question, tasks))
        )
    )
