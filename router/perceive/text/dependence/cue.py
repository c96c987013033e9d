"""The dependence of a turn: whether it is a follow-up ("why?", "and in Python?") or an ask of its own.

A follow-up says little by itself. It joins itself to what went before (and, what about), points to it (it, that one),
changes it (shorter, again, instead) or names a part of it (the second step). An ask of its own has content words that
did not occur before. Both kinds of evidence are counted and weighed on the logit scale, with the word lists of 30
languages (`router.perceive.text.dependence.words`); a turn in another language tends to be independent.

Only the beginning of a turn is read, so the cost does not grow with its length.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
import re
from collections.abc import Iterable
from typing import NamedTuple

from router.perceive.text.dependence.words import ASK, EDIT, FILLER, OPENER, PART, POINTER, TARGET, word_tables

DEPENDENT = 0.6
"""From this dependence on, a turn is a follow-up."""

INDEPENDENT = 0.3
"""Up to this dependence, a turn is an ask of its own."""

_READ_CHARACTERS = 240
_READ_WORDS = 20
_LEAD_WORDS = 14
"""How many words to search for references: further on, "it" usually stands for something in the same turn."""

# Weights on the logit scale, chosen on the tuning half of `bench/turns.tsv` and on `data/everyday`.
_NOTHING_OF_ITS_OWN = 1.4
_CONTENT, _CONTENT_ROOT, _ONE_CONTENT_WORD = -0.9, -0.5, -0.6
_OPENS, _EDITS, _ASKS, _PARTS, _TARGETS, _RECURS = 2.4, 1.5, 1.0, 0.6, 0.5, 2.2
_POINTS, _POINTS_EARLY, _POINTS_AGAIN = 1.5, 0.8, 0.8
_EARLY_WORDS, _FEW_WORDS = 3, 2
_LEAST_LEAD, _LEAST_MATERIAL = 12, 22
"""The fewest characters before and after the mark that begins a text."""
_BRINGS_MATERIAL = -1.8
"""For a turn with a quotation, a formula, or a text after a colon or a line break: "this" stands for that text."""
_CONTENT_OF_MATERIAL = 2
"""The content words for which such material counts at least."""
_SYMBOLS, _LEAST_SYMBOLS = "()[]{}<>=*^|", 4
_LONG, _SHORT_WORDS, _CUT = -0.07, 8, -0.5
"""For each word beyond so many, and for a turn of which only the beginning is read."""
_ONE_WORD = 0.6
"""For a turn that is little more than one content word, which may be an answer as well as an ask."""

_QUOTATION = re.compile(r"[\"“„«「'‘`](?<![^\W_].)[^\"“”„»」'’`\n]{2,200}[\"”“»」'’`](?![^\W_])")


class _Counts(NamedTuple):
    """What the beginning of a turn contains.

    `content` are the stems of the words with content of their own, `weight` is the weight of everything that does not
    depend on the turns before, on the logit scale.
    """

    content: tuple[str, ...]
    weight: float


def dependence(turn: str, earlier: Iterable[str] = ()) -> float:
    """How much `turn` depends on what went before it, in [0, 1]: 0 is an ask of its own, 1 a mere follow-up.

    `earlier` are texts of the conversation in which content words of the turn are searched; the fewer, the cheaper.
    """
    counts = _counts(turn[: _READ_CHARACTERS + 1])
    logit = counts.weight
    if counts.content and (before := "\n".join(earlier).lower()):
        logit += _RECURS * sum(stem in before for stem in counts.content) / len(counts.content)
    return 1.0 / (1.0 + math.exp(-logit))


@functools.lru_cache(maxsize=1024)
def _counts(text: str) -> _Counts:
    """The counts of a turn's beginning. Cached, since every request of a conversation repeats its turns."""
    text = text.lower().replace("’", "'")
    brings_material = _brings_material(text)
    tables = word_tables()
    words = list(itertools.islice(tables.words(text), _READ_WORDS))
    kinds = tables.kinds(words)
    content = tuple(_stem(word) for word, kind in zip(words, kinds, strict=True) if not kind and _has_content(word))
    lead = kinds[:_LEAD_WORDS]
    every = functools.reduce(operator.or_, lead, 0)
    opening = next((kind for kind in lead if kind & OPENER or not kind & FILLER), 0)
    # An article that is a pronoun too ("das" in German) is one only where no noun follows it.
    pointers = [
        position
        for position, (kind, following) in enumerate(zip(lead, (*kinds[1:], FILLER), strict=False))
        if kind & POINTER and (following or not kind & FILLER)
    ]
    size = max(len(content), _CONTENT_OF_MATERIAL * brings_material)
    weight = _OPENS * bool(opening & OPENER) + _PARTS * bool(every & PART)
    weight += _EDITS * any(kind & (EDIT | ASK) == EDIT for kind in lead)
    if pointers:
        weight += _POINTS + _POINTS_EARLY * (pointers[0] < _EARLY_WORDS) + _POINTS_AGAIN * (len(pointers) > 1)
    if size > 1:
        weight += _CONTENT + _CONTENT_ROOT * math.sqrt(size)
    elif size:
        weight += _ONE_CONTENT_WORD + _ONE_WORD * (len(words) <= _FEW_WORDS)
    else:
        weight += _NOTHING_OF_ITS_OWN + _ASKS * bool(every & ASK) + _TARGETS * bool(every & TARGET)
    weight += _BRINGS_MATERIAL * brings_material + _LONG * max(len(words) - _SHORT_WORDS, 0)
    weight += _CUT * (len(text) > _READ_CHARACTERS)
    return _Counts(content if len(content) <= _LEAD_WORDS else (), weight)


def _brings_material(text: str) -> bool:
    """Whether the turn has a quotation, a formula, or a text after a colon or a line break."""
    for mark in (": ", ":\n", "\n"):
        position = text.find(mark, _LEAST_LEAD)
        if 0 <= position < len(text) - _LEAST_MATERIAL:
            return True
    return sum(map(text.count, _SYMBOLS)) >= _LEAST_SYMBOLS or _QUOTATION.search(text) is not None


def _has_content(word: str) -> bool:
    return len(word) > 1 or not word.isascii() or word.isdigit()


def _stem(word: str) -> str:
    """The beginning of a word, which its inflections share."""
    return word if len(word) < 6 else word[: max(5, len(word) - 3)]
