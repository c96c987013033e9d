"""Items that count: `1.`, `(2)`, `III.`, `b)`, `④`, `#5`, `第六题`, each from one without a gap."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence

from msgspec import Struct

from router.compose.split.marked import LINE_STARTS, Marked, found_at, spans_between
from router.compose.split.numerals import HAN, LETTERS, ROMAN, ROMAN_NUMBER
from router.compose.split.words import announces_tasks

_START = r"[ \t]{0,3}(?:#{1,6}[ \t]+)?"
# Not after `# 1.` or `/ 1.`.
_BLANKS = re.compile(r"\s(?<![#/]\s)")
_CLOSE = r"(?P<close>[.)\]:](?:\))?(?:\*\*)?[ \t]+|\*\*[ \t]+|[、．）：][ \t]*|[ \t]+[-–—][ \t]+)(?=\S)"
_OTHER_DIGIT = re.compile("[٠-٩۰-۹०-९０-９]")
_AS_ASCII = {
    ord(digit): str(int(digit))
    for row in ("٠١٢٣٤٥٦٧٨٩", "۰۱۲۳۴۵۶۷۸۹", "०१२३४५६७८९", "０１２３４５６７８９")
    for digit in row
}
# How many times the numbers may begin again, and how many characters of the text before one are read.
_MOST_RESTARTS = 8
_BEFORE_ONE = 600
_DIGITS = tuple(str(number) for number in range(1, 100))
_CIRCLED = tuple(chr(0x2460 + number) for number in range(20))


class Series(Struct, frozen=True):
    """A way to count. `pattern` has the groups `open`, `number` and `close`, which must be alike in all items but for
    blanks. It matches where the text begins, and after a match of `before`. `is_weak`: options of one question are
    written so too, so that every item must be a request.
    """

    pattern: re.Pattern[str]
    counts: tuple[Sequence[str], ...]
    explicit: bool = False
    is_weak: bool = False
    before: re.Pattern[str] = LINE_STARTS


_SERIES = (
    Series(re.compile(rf"{_START}(?P<open>[(（\[]?|\*\*)(?P<number>\d{{1,2}}){_CLOSE}"), (_DIGITS,)),
    Series(
        re.compile(r"(?P<open>\()?(?P<number>\d{1,2})(?P<close>(?(open)\)|[.)]))[ \t]+(?=\S)"),
        (_DIGITS,),
        before=_BLANKS,
    ),
    Series(re.compile(rf"{_START}(?P<open>)(?P<number>[{''.join(_CIRCLED)}])(?P<close>)[ \t]*(?=\S)"), (_CIRCLED,)),
    Series(
        re.compile(rf"{_START}(?P<open>)(?P<number>\d)(?P<close>️?⃣)[ \t]*(?=\S)"),
        (_DIGITS,),
    ),
    Series(
        re.compile(rf"{_START}(?P<open>#|Q\.?)(?P<number>\d{{1,2}})(?P<close>[.:)]?)[ \t]+(?=\S)"),
        (_DIGITS,),
    ),
    Series(
        re.compile(
            rf"{_START}(?P<open>第)(?P<number>[{HAN}]|\d{{1,2}})"
            r"(?P<close>(?:个|個|道|の)?(?:问题|問題|任务|题|題|问|問))[：:、. \t]*(?=\S)"
        ),
        (HAN, _DIGITS),
        explicit=True,
    ),
    Series(re.compile(rf"{_START}(?P<open>問)(?P<number>\d{{1,2}})(?P<close>)[：:、. \t]*(?=\S)"), (_DIGITS,), True),
    Series(
        re.compile(rf"{_START}(?P<open>[(\[]?|\*\*)(?P<number>{ROMAN_NUMBER}){_CLOSE}", re.IGNORECASE),
        (ROMAN,),
        is_weak=True,
    ),
    Series(
        re.compile(rf"{_START}(?P<open>[(\[]?|\*\*)(?P<number>[{LETTERS}]){_CLOSE}", re.IGNORECASE),
        (LETTERS,),
        is_weak=True,
    ),
)


def enumerations(text: str) -> Iterator[Marked]:
    """What counts in `text`, by each series that has two or more items."""
    # Digits of other scripts have the same places.
    lower = text.lower().translate(_AS_ASCII) if _OTHER_DIGIT.search(text) else text.lower()
    for series in _SERIES:
        # Two items contain the first two words; most prompts do not, and are not searched.
        counts = [count for count in series.counts if count[0] in lower and count[1] in lower]
        found = found_at(series.pattern, text, series.before) if counts else []
        if len(found) < 2:
            continue
        for count in counts:
            chosen = _counted(_announced(text, found, count), count)
            if chosen:
                yield Marked(
                    spans_between(chosen, len(text)),
                    tuple(match.start() for match in chosen),
                    is_numbered=True,
                    explicit=series.explicit,
                    is_weak=series.is_weak,
                )
                break


def _announced(text: str, found: Sequence[re.Match[str]], count: Sequence[str]) -> Sequence[re.Match[str]]:
    """The matches from the last "one" on that stands after an announcement of tasks, as those before are examples or
    show a format; all where none does.
    """
    ones = [place for place, match in enumerate(found) if _word(match) == count[0]]
    for place in ones[:0:-1][:_MOST_RESTARTS]:
        if announces_tasks(text[max(found[place].start() - _BEFORE_ONE, 0) : found[place].start()]):
            return found[place:]
    return found


def _counted(found: Sequence[re.Match[str]], count: Sequence[str]) -> list[re.Match[str]]:
    """The matches that count from the first one on; empty where fewer than two do, or where one is missing."""
    places = {word: place for place, word in enumerate(count)}
    numbers = [(match, places.get(_word(match), -1)) for match in found]
    begun = list(itertools.dropwhile(lambda pair: pair[1] != 0, numbers))
    chosen: list[re.Match[str]] = []
    for match, number in begun:
        if number == len(chosen) and (not chosen or _shape(match) == _shape(chosen[0])):
            chosen.append(match)
    if len(chosen) < 2 or any(
        number > len(chosen) and _shape(match) == _shape(chosen[0])
        for match, number in begun
        if match.start() > chosen[-1].start()
    ):
        return []
    return chosen


def _word(match: re.Match[str]) -> str:
    number = match["number"].lower()
    # Digits of any script.
    return str(int(number)) if number.isdecimal() else number


def _shape(match: re.Match[str]) -> tuple[str, str, bool]:
    return match["open"] or "", (match["close"] or "").strip(), match["number"].isupper()
