"""The styles in which prompts mark several tasks, from the most explicit to the least.

A style reads the text with its code blanked out, which has the same length, and gives where its tasks stand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from router.compose.split.enumerations import enumerations
from router.compose.split.marked import Marked, found_at, spans_between
from router.compose.split.numerals import HAN, LETTERS, NUMERALS, ROMAN, ROMAN_NUMBER
from router.compose.split.objects import objects
from router.compose.split.turns import instruction_blocks, turns
from router.compose.split.words import ANSWER_WORDS, announces_tasks, opens_as_request, stands_alone

Style = Callable[[str], Marked | None]

_FENCE = re.compile(r"(?:```|~~~).*?(?:```|~~~|\Z)", re.DOTALL)
_TAG = re.compile(
    r"<((?:user[_-]|sub[_-]?)?(?:task|question|query|request|problem|prompt|ask|instruction|input|message)|q|item|exercise|"
    r"user)(?:[\s_-]?\d+)?(?:\s[^<>]*)?>((?:(?!<\1(?![a-z])).)*?)</\1[^<>]*>",
    re.DOTALL | re.IGNORECASE,
)
_ANSWER_TAG = re.compile(rf"<(?:{ANSWER_WORDS})(?:[\s_-]?\d+)?>\s*[^\s<]", re.IGNORECASE)
_WORDS = (
    r"question|task|sub-?task|problem|exercise|request|query|prompt|part|instruction|input|item|user|q|"
    r"frage|aufgabe|teilaufgabe|auftrag|anweisung|anfrage|pregunta|tarea|ejercicio|problema|instrucción|"
    r"pergunta|tarefa|exercício|domanda|compito|esercizio|tâche|exercice|problème|consigne|vraag|opdracht|pytanie|"
    r"zadanie|soru|görev|вопрос|задача|задание|упражнение|питання|завдання|(?:ال)?سؤال|(?:ال)?مهمة|प्रश्न|कार्य|"
    r"問題|質問|設問|課題|タスク|问题|任务|任務|題目|题目|문제|질문|과제|작업"
)
_ASCII_WORDS = tuple(word for word in _WORDS.split("|") if word.isascii())
_BEFORE_LABEL = re.compile(r"[.?!:;\n](?:(?<=\n)|\s)")
_LABEL = re.compile(
    r"[ \t]*(?:#{1,6}[ \t]*|>[ \t]*|[-*•][ \t]+)?(?:\*\*|__)?(?P<open>[(\[【<「])?"
    rf"(?P<word>{_WORDS})[ \t]{{0,4}}(?:(?:no\.?|nr\.?|n[°º]|№|number|#)[ \t]{{0,4}})?"
    rf"(?P<number>\d{{1,2}}|[{LETTERS}]|{ROMAN_NUMBER}|{'|'.join(NUMERALS)}|[{HAN}])?"
    r"[ \t]{0,4}(?:(?:of|/|von|de|sur|di|из)[ \t]{0,4}\d{1,2}[ \t]{0,4})?"
    r"(?P<end>[:：.)\]】>」–—-]|(?:\*\*|__)|(?=\n))(?:\*\*|__)?[:：]?(?:\*\*|__)?[ \t]*\n?",
    re.IGNORECASE,
)
# In many prompts these name the material of one task, so that the items must look like requests, or be announced.
_UNSURE_WORDS = ("part", "item", "prompt", "input", "user", "message", "user_message")
_BULLET = re.compile(r"[ \t]{0,3}[-*•–][ \t]+(?=\S)")
_RULE = re.compile(r"[ \t]*(?:-{3,}|={3,}|\*{3,}|_{3,}|#{3,})[ \t]*(?:\n|\Z)")
_RULES = ("---", "===", "***", "___", "###")
_FIRST_WORDS = (
    "firstly|first|to start(?: with)?|to begin with|erstens|zuerst|als erstes|(?:tout )?d['’]abord|premièrement|"
    "primero|primeramente|en primer lugar|prima|per prima cosa|primeiro|em primeiro lugar"
)
# Every first ordinal, in any language, contains one of these.
_FIRST_AMONG = ("first", "to start", "to begin with", "erst", "abord", "premi", "prim", "首先", "第一", "まず")
_LATER_WORDS = (
    "secondly|second|thirdly|third|then|next|after that|afterwards|also|additionally|lastly|last|finally|zweitens|"
    "drittens|viertens|dann|danach|anschließend|als nächstes|zum schluss|schließlich|zuletzt|deuxièmement|"
    "troisièmement|ensuite|puis|enfin|finalement|segundo|tercero|luego|después|por último|finalmente|poi|infine|"
    "depois|por fim"
)
_BEFORE_ORDINAL = re.compile(r"\s(?:(?<=\n)|(?<=[.?!:;\n]\s))")
_ORDINAL = re.compile(
    r"[ \t]*(?:and[ \t]+|und[ \t]+|et[ \t]+|y[ \t]+)?"
    rf"(?:(?P<first>{_FIRST_WORDS})|{_LATER_WORDS})\b[,:]?[ \t]+",
    re.IGNORECASE,
)
_BEFORE_EAST_ASIAN_ORDINAL = re.compile(r"[。！？!?；;\n]")
_EAST_ASIAN_ORDINAL = re.compile(
    r"[ \t]*(?:(?P<first>首先|第一|まず)|其次|然后|然後|接着|接著|再|最后|最後に?|第二|第三|"
    r"次に)[，、,：:][ \t]*"
)
_HEADING = re.compile(r"[ \t]*(?P<level>#{1,6})[ \t]+(?P<title>[^\s][^\n]*)\n")
# Sections of one prompt.
_SECTION = re.compile(
    r"\W*(?:your )?(?:role|task|instructions?|goals?|objectives?|contexts?|background|inputs?|outputs?|formats?|"
    r"output formats?|examples?|rules?|constraints?|requirements?|style|tone|audience|notes?|steps?|guidelines?|data|"
    r"question|answer|response|persona|system|user|details?|description|scenario|problem|hints?|limits?|length|"
    r"deliverables?|criteria|overview|introduction|summary|conclusion)\b",
    re.IGNORECASE,
)
_PARAGRAPH = re.compile(r"\n[ \t]*\n\s*")
# Who answers in the transcript of a chat.
_SPEAKERS = "bot|ai|chatgpt|gpt|claude|gemini|copilot|agent"
_ANSWER_LINE = re.compile(
    rf"\n[ \t]*(?:#{{1,6}}[ \t]*)?(?:\*\*)?(?:{ANSWER_WORDS}|{_SPEAKERS})[ \t]{{0,4}}\d{{0,3}}(?:\*\*)?"
    r"\s{0,4}[:：](?P<answer>[^\n]*)",
    re.IGNORECASE,
)


def _has_any(text: str, words: Sequence[str]) -> bool:
    """Whether one of the words is in the text: many times faster than a search for a pattern that needs one of them."""
    return any(word in text for word in words)


def _has_twice(text: str, words: Sequence[str]) -> bool:
    """Whether one of the words is in the text twice."""
    return any(text.count(word) > 1 for word in words)


def blank_code(text: str) -> str:
    """`text` with the contents of fenced code replaced, so that no marker is found in it."""
    if not _has_any(text, ("```", "~~~")):
        return text
    return _FENCE.sub(lambda match: re.sub(r"[^\n]", "\x00", match.group()), text)


def is_answered(item: str) -> bool:
    """Whether an item has its answer with it, and so is an example."""
    found = [*_ANSWER_LINE.finditer(item)][-1:]
    return any(match["answer"].strip() or item[match.end() :].strip() for match in found)


def tags(text: str) -> Marked | None:
    """`<task>…</task>`, `<question id="1">…</question>` and their like; those with an `<answer>` are examples."""
    if "</" not in text:
        return None
    found = list(_TAG.finditer(text))
    kinds = {match[1].lower() for match in found}
    if len(found) < 2 or len(kinds) != 1:
        return None
    ends = [*(match.start() for match in found[1:]), len(text)]
    answered = [
        number
        for number, (match, end) in enumerate(zip(found, ends, strict=True), 1)
        if _ANSWER_TAG.search(text, match.end(), end)
    ]
    return Marked(
        tuple(match.span(2) for match in found),
        tuple(match.start() for match in found),
        max(answered, default=0),
        explicit=kinds.isdisjoint(_UNSURE_WORDS),
        end=found[-1].end(),
    )


def labels(text: str) -> Marked | None:
    """`Question 1:`, `## Task 2`, `**Part B:**`, `[Aufgabe 3]`: counted from the first, or all without a number. Where
    the numbers begin again, those before are examples.
    """
    # Two labels have the same word. A letter beyond ASCII may stand for one of it, whatever its case.
    if text.isascii() and not _has_twice(text.lower(), _ASCII_WORDS):
        return None
    found = found_at(_LABEL, text, _BEFORE_LABEL)
    by_word: dict[tuple[str, str | None], list[re.Match[str]]] = {}
    for match in found:
        if match["number"] or match["end"] in (":", "："):
            by_word.setdefault((match["word"].lower(), match["open"]), []).append(match)
    for (word, _), matches in by_word.items():
        runs = _counted(matches)
        if runs and len(runs[-1]) >= 2:
            chosen = [match for run in runs for match in run]
            return Marked(
                spans_between(chosen, len(text)),
                tuple(match.start() for match in chosen),
                len(chosen) - len(runs[-1]),
                is_numbered=chosen[0]["number"] is not None,
                explicit=word not in _UNSURE_WORDS,
                certain=word == "instruction" and not text[: chosen[0].start()].strip(),
            )
    return None


def _counted(matches: Sequence[re.Match[str]]) -> list[list[re.Match[str]]]:
    """Those of `matches` that count from one without a gap, each time they do; all where none has a number."""
    if all(match["number"] is None for match in matches):
        return [list(matches)]
    runs: list[list[re.Match[str]]] = []
    for match in matches:
        number = match["number"]
        if number is None:
            continue
        if runs and _is_number(number.lower(), len(runs[-1])):
            runs[-1].append(match)
        elif _is_number(number.lower(), 0):
            runs.append([match])
    # One that is named again is mentioned by its own task.
    return [run for run in runs if len(run) > 1]


def _is_number(word: str, position: int) -> bool:
    if word.isdecimal():
        return int(word) == position + 1
    return any(position < len(series) and word == series[position] for series in (NUMERALS, ROMAN, LETTERS, HAN))


def bullets(text: str) -> Marked | None:
    """`- …` after a line that announces tasks."""
    found = found_at(_BULLET, text)
    if len(found) < 2 or not announces_tasks(text[: found[0].start()]):
        return None
    return Marked(spans_between(found, len(text)), tuple(match.start() for match in found))


def ordinals(text: str) -> Marked | None:
    """`First, … Then … Finally, …`: each begins a paragraph, or is followed by an imperative or a question."""
    if not _has_any(text.lower(), _FIRST_AMONG):
        return None
    found = found_at(_ORDINAL, text, _BEFORE_ORDINAL) or found_at(_EAST_ASIAN_ORDINAL, text, _BEFORE_EAST_ASIAN_ORDINAL)
    opening = next((n for n, match in enumerate(found) if match["first"]), None)
    if opening is None or len(found) < opening + 2:
        return None
    led = [match for match in found[opening:] if _begins_paragraph(text, match.start())]
    if len(led) >= 2 and led[0] is found[opening]:
        return Marked(spans_between(led, len(text)), tuple(match.start() for match in led), is_prose=True)
    items = spans_between(found[opening:], len(text))
    if not all(opens_as_request(text[start:end]) for start, end in items):
        return None
    return Marked(items, tuple(match.start() for match in found[opening:]), is_prose=True)


def _begins_paragraph(text: str, start: int) -> bool:
    before = "".join(text[max(start - 40, 0) : start].split(" "))
    return not before or before.endswith("\n\n")


def headings(text: str) -> Marked | None:
    """Requests under headings of one level, with which the text begins; not the sections of one prompt."""
    if "#" not in text:
        return None
    found = found_at(_HEADING, text)
    if len(found) < 2 or text[: found[0].start()].strip() or len({match["level"] for match in found}) > 1:
        return None
    items = spans_between(found, len(text))
    if any(_SECTION.match(match["title"]) for match in found) or not all(
        opens_as_request(text[start:end]) and stands_alone(text[start:end]) for start, end in items
    ):
        return None
    return Marked(items, tuple(match.start() for match in found), explicit=True)


def paragraphs(text: str) -> Marked | None:
    """Paragraphs each of which is a request by itself that mentions nothing of the others."""
    found = list(_PARAGRAPH.finditer(text.strip()))
    offset = len(text) - len(text.lstrip())
    bounds = [offset, *(offset + match.end() for match in found)]
    ends = [*(offset + match.start() for match in found), len(text.rstrip())]
    items = tuple(zip(bounds, ends, strict=True))
    if not 2 <= len(items) <= _MOST_PARAGRAPHS or not all(
        "\n" not in text[start:end] and opens_as_request(text[start:end]) and stands_alone(text[start:end])
        for start, end in items
    ):
        return None
    return Marked(items, tuple(bounds), explicit=True)


def rules(text: str) -> Marked | None:
    """Requests between lines of `---`, `===` or `***`; after an announcement, whatever stands between them."""
    if not _has_any(text, _RULES):
        return None
    found = found_at(_RULE, text)
    bounds = [0, *(match.end() for match in found)]
    ends = [*(match.start() for match in found), len(text)]
    spans = [(start, end) for start, end in zip(bounds, ends, strict=True) if text[start:end].strip()]
    if len(spans) > 2 and announces_tasks(text[slice(*spans[0])]):
        return Marked(tuple(spans[1:]), tuple(start for start, _ in spans[1:]))
    if not found or len(spans) < 2 or not all(opens_as_request(text[start:end]) for start, end in spans):
        return None
    return Marked(tuple(spans), tuple(start for start, _ in spans))


_MOST_PARAGRAPHS = 10
_BEFORE_NUMBERS: tuple[Style, ...] = (instruction_blocks, turns, objects, tags, labels)
_AFTER_NUMBERS: tuple[Style, ...] = (bullets, ordinals, rules, headings, paragraphs)


def marked_in(text: str) -> Iterator[Marked]:
    """What the styles find that find two or more items in `text`, the most explicit first."""
    blanked = blank_code(text)
    yield from filter(None, (style(blanked) for style in _BEFORE_NUMBERS))
    yield from enumerations(blanked)
    yield from filter(None, (style(blanked) for style in _AFTER_NUMBERS))
