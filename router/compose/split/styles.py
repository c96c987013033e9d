"""The styles in which prompts mark several tasks, from the most explicit to the least.

A style reads the text with its code blanked out, which has the same length, and gives where its tasks stand.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct

from router.compose.split.words import announces_tasks, opens_as_request

Span = tuple[int, int]


class Marked(Struct, frozen=True):
    """Where the items of a marked prompt stand, as positions in its text.

    `items` are the texts of the items without their markers, `starts` where their markers begin. Items before number
    `first` are examples. `explicit`: the markers name tasks or questions, so that the items need not look like
    requests. `closed`: every item has an end of its own, so that what follows the last one is not part of it.
    """

    items: tuple[Span, ...]
    starts: tuple[int, ...]
    first: int = 0
    is_numbered: bool = False
    explicit: bool = False
    closed: bool = False


Style = Callable[[str], Marked | None]

_FENCE = re.compile(r"(?:```|~~~).*?(?:```|~~~|\Z)", re.DOTALL)
_BLOCK = re.compile(r"\[INST\]((?:(?!\[INST\]).)*?)\[/INST\]", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(
    r"<(task|question|query|request|problem|prompt|q|item|exercise)(?:[\s_-]?\d+)?(?:\s[^<>]*)?>((?:(?!<\1\b).)*?)</\1[^<>]*>",
    re.DOTALL | re.IGNORECASE,
)
_WORDS = (
    r"question|task|problem|exercise|request|query|prompt|part|q|frage|aufgabe|pregunta|tarea|ejercicio|problema|"
    r"pergunta|tarefa|domanda|compito|tâche|exercice|problème|вопрос|задача|問題|質問|问题|任务|題目|题目|문제|질문"
)
_LABEL = re.compile(
    r"(?:^|(?<=\n)|(?<=[.?!:;]\s))[ \t]*(?:#{1,6}[ \t]*|>[ \t]*|[-*•][ \t]+)?(?:\*\*|__)?"
    rf"(?P<word>{_WORDS})[ \t]*(?:no\.?|nr\.?|number|#)?[ \t]*"
    r"(?P<number>\d{1,2}|[a-h]|[ivx]{1,4}|one|two|three|four|five|six|seven|eight|nine|ten)?[ \t]*"
    r"(?P<end>[:：.)\]–—-]|(?:\*\*|__)|(?=\n))(?:\*\*|__)?[:：]?(?:\*\*|__)?[ \t]*\n?",
    re.IGNORECASE,
)
_NUMBER = re.compile(
    r"(?:^|(?<=\n))(?P<indent>[ \t]{0,3})(?P<open>\(?|\*\*)(?P<number>\d{1,2})"
    r"(?P<close>[.)、．:]\)?|\*\*)(?:\*\*)?[ \t]+(?=\S)"
)
_INLINE_NUMBER = re.compile(
    r"(?:^|(?<=[.?!:;,]\s)|(?<=\s))(?P<open>\()?(?P<number>\d{1,2})(?(open)\)|[.)])[ \t]+(?=\S)"
)
_BULLET = re.compile(r"(?:^|(?<=\n))[ \t]{0,3}[-*•–][ \t]+(?=\S)")
_RULE = re.compile(r"(?:^|(?<=\n))[ \t]*(?:-{3,}|={3,}|\*{3,}|_{3,}|#{3,})[ \t]*(?:\n|\Z)")
_ORDINAL = re.compile(
    r"(?:^|(?<=[.?!;:\n]\s)|(?<=\n))[ \t]*(?:and[ \t]+)?"
    r"(?P<word>firstly|first|to start(?: with)?|to begin with|secondly|second|thirdly|third|then|next|after that|"
    r"afterwards|also|additionally|lastly|last|finally)\b[,:]?[ \t]+",
    re.IGNORECASE,
)
_FIRST_WORDS = ("first", "firstly", "to start", "to start with", "to begin with")
_NUMERALS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_ROMAN = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x")
_LETTERS = "abcdefgh"
_ANSWER_LINE = re.compile(
    r"\n[ \t]*(?:\*\*)?(?:answer|a|output|response|solution|antwort|respuesta|réponse|答案|答)\s*\d*(?:\*\*)?\s*"
    r"[:：.](?P<answer>[^\n]*)",
    re.IGNORECASE,
)


def blank_code(text: str) -> str:
    """`text` with the contents of fenced code replaced, so that no marker is found in it."""
    return _FENCE.sub(lambda match: re.sub(r"[^\n]", "\x00", match.group()), text)


def is_answered(item: str) -> bool:
    """Whether an item has its answer with it, and so is an example."""
    found = [*_ANSWER_LINE.finditer(item)][-1:]
    return any(match["answer"].strip() or item[match.end() :].strip() for match in found)


def _to_next(matches: Sequence[re.Match[str]], end: int) -> tuple[Span, ...]:
    ends = [*(match.start() for match in matches[1:]), end]
    return tuple((match.end(), stop) for match, stop in zip(matches, ends, strict=True))


_JOINING = ("", "and", "also", "and also", "then")


def instruction_blocks(text: str) -> Marked | None:
    """`[INST] … [/INST]`: the last group that stands together; groups before it are answered examples."""
    blocks = list(_BLOCK.finditer(text))
    if len(blocks) < 2:
        return None
    first = 0
    for number, (left, right) in enumerate(itertools.pairwise(blocks), 1):
        between = text[left.end() : right.start()].strip().rstrip(",;").lower()
        if between not in _JOINING:
            first = number
    return Marked(
        tuple(match.span(1) for match in blocks),
        tuple(match.start() for match in blocks),
        first,
        explicit=True,
        closed=True,
    )


def tags(text: str) -> Marked | None:
    """`<task>…</task>`, `<question id="1">…</question>` and their like."""
    found = list(_TAG.finditer(text))
    kinds = {match[1].lower() for match in found}
    if len(found) < 2 or len(kinds) != 1:
        return None
    return Marked(
        tuple(match.span(2) for match in found), tuple(match.start() for match in found), explicit=True, closed=True
    )


def labels(text: str) -> Marked | None:
    """`Question 1:`, `## Task 2`, `**Part B:**`, `Aufgabe 3.`: counted from the first, or all without a number."""
    found = list(_LABEL.finditer(text))
    by_word: dict[str, list[re.Match[str]]] = {}
    for match in found:
        if match["number"] or match["end"] in (":", "："):
            by_word.setdefault(match["word"].lower(), []).append(match)
    for word, matches in by_word.items():
        chosen = _counted(matches)
        if len(chosen) >= 2:
            explicit = word not in ("part", "item", "prompt")
            return Marked(
                _to_next(chosen, len(text)),
                tuple(match.start() for match in chosen),
                is_numbered=chosen[0]["number"] is not None,
                explicit=explicit,
            )
    return None


def _counted(matches: Sequence[re.Match[str]]) -> list[re.Match[str]]:
    """Those of `matches` that count from one without a gap; all where none has a number."""
    if all(match["number"] is None for match in matches):
        return list(matches)
    chosen: list[re.Match[str]] = []
    for match in matches:
        if match["number"] is not None and _is_number(match["number"].lower(), len(chosen)):
            chosen.append(match)
    return chosen


def _is_number(word: str, position: int) -> bool:
    forms = [str(position + 1)]
    for series in (_NUMERALS, _ROMAN, _LETTERS):
        if position < len(series):
            forms.append(series[position])
    return word in forms


def numbers(text: str) -> Marked | None:
    """`1.`, `2)`, `(3)` at the start of lines, counted from one without a gap."""
    return _numbered(text, list(_NUMBER.finditer(text)), lambda match: (match["open"], match["close"])) or _numbered(
        text, list(_INLINE_NUMBER.finditer(text)), lambda match: match["open"] or ""
    )


def _numbered(text: str, found: Sequence[re.Match[str]], shape: Callable[[re.Match[str]], object]) -> Marked | None:
    first = next((match for match in found if int(match["number"]) == 1), None)
    if first is None:
        return None
    chosen: list[re.Match[str]] = [first]
    for match in found:
        if match.start() > first.start() and int(match["number"]) == len(chosen) + 1 and shape(match) == shape(first):
            chosen.append(match)
    if len(chosen) < 2 or any(
        int(match["number"]) > len(chosen) + 1 for match in found if match.start() > chosen[-1].start()
    ):
        return None
    return Marked(_to_next(chosen, len(text)), tuple(match.start() for match in chosen), is_numbered=True)


def bullets(text: str) -> Marked | None:
    """`- …` after a line that announces tasks."""
    found = list(_BULLET.finditer(text))
    if len(found) < 2 or not announces_tasks(text[: found[0].start()]):
        return None
    return Marked(_to_next(found, len(text)), tuple(match.start() for match in found))


def ordinals(text: str) -> Marked | None:
    """`First, … Then … Finally, …`: each begins a paragraph, or is followed by an imperative or a question."""
    found = list(_ORDINAL.finditer(text))
    opening = next((n for n, match in enumerate(found) if match["word"].lower() in _FIRST_WORDS), None)
    if opening is None or len(found) < opening + 2:
        return None
    led = [match for match in found[opening:] if _begins_paragraph(text, match.start())]
    if len(led) >= 2 and led[0] is found[opening]:
        return Marked(_to_next(led, len(text)), tuple(match.start() for match in led))
    items = _to_next(found[opening:], len(text))
    if not all(opens_as_request(text[start:end]) for start, end in items):
        return None
    return Marked(items, tuple(match.start() for match in found[opening:]))


def _begins_paragraph(text: str, start: int) -> bool:
    before = "".join(text[max(start - 40, 0) : start].split(" "))
    return not before or before.endswith("\n\n")


def rules(text: str) -> Marked | None:
    """Requests between lines of `---`, `===` or `***`."""
    found = list(_RULE.finditer(text))
    bounds = [0, *(match.end() for match in found)]
    ends = [*(match.start() for match in found), len(text)]
    spans = [(start, end) for start, end in zip(bounds, ends, strict=True) if text[start:end].strip()]
    if not found or len(spans) < 2 or not all(opens_as_request(text[start:end]) for start, end in spans):
        return None
    return Marked(tuple(spans), tuple(start for start, _ in spans))


STYLES: tuple[Style, ...] = (instruction_blocks, tags, labels, numbers, bullets, ordinals, rules)


def marked_in(text: str) -> Iterator[Marked]:
    """What the styles find that find two or more items in `text`, the most explicit first."""
    blanked = blank_code(text)
    yield from filter(None, (style(blanked) for style in STYLES))
