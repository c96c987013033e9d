"""The words of a turn, and what each does: join it to the turn before, point to earlier text, change it.

`references`, `fillers` and `joined` list the words by language. A word counts as what it is in the language that knows
most words of the turn: "die" is an article in German and has content in English.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from router.perceive.text.dependence import fillers, joined, references

OPENER, POINTER, EDIT, ASK, PART, TARGET, FILLER = (1 << bit for bit in range(7))
"""What a word does; 0 is a word with content of its own."""

_SEPARATORS = re.compile(r"[\s!-&(-/:-@\[-`{-~\xa0-\xbf‐-―‘-‟•…‹›、-〟︰-﹏！-／：-＠［-｀｛-･،؛؟।॥־׳״]+")
_FIRST_JOINED = "\u0e00"
_CLITICS = tuple(f"{vowel}r{pronoun}" for vowel in "aei" for pronoun in ("lo", "la", "los", "las", "li", "le"))
_LEAST_CLITIC = 5
_PREFIXES, _PREFIXES_AND = frozenset("وفبلכוהבלמש"), frozenset("وו")

_Kinds = dict[str, dict[int, int]]
_NOTHING: Mapping[int, int] = {}
_ANY = 0
_POSITIONS = {language: position for position, language in enumerate(references.OPENERS, start=_ANY + 1)}
"""The languages that are distinguished by their words. Words of no single one of them have the position `_ANY`."""
_CLITIC_KINDS = {_POSITIONS["es"]: POINTER, _POSITIONS["it"]: POINTER}
"""Spanish and Italian write "it" and "them" as the end of an infinitive."""


class WordTables:
    """The lists of words, read for searching."""

    def __init__(self) -> None:
        self._kinds = _read_tables()
        self._phrase_starts = _longest_phrases(self._kinds)

    @functools.cached_property
    def _joined(self) -> re.Pattern[str]:
        phrases = sorted(filter(_is_joined, self._kinds), key=len, reverse=True)
        return re.compile("|".join(phrases) + "|[a-z0-9]+")

    def words(self, text: str) -> Iterator[str]:
        """The words and phrases of a text in lower case; of scripts without spaces, the phrases of the lists and pieces
        of what is between them.
        """
        words = list(filter(None, _SEPARATORS.split(text)))
        has_joined = max(text, default="") >= _FIRST_JOINED
        position = 0
        while position < len(words):
            word = words[position]
            position += 1
            if word in self._phrase_starts:
                for length in range(self._phrase_starts[word], 1, -1):
                    phrase = "_".join(words[position - 1 : position - 1 + length])
                    if phrase in self._kinds:
                        word = phrase
                        position += length - 1
                        break
            if word in self._kinds:
                yield word
            elif has_joined and _is_joined(word):
                yield from self._joined_words(word)
            elif "'" in word:
                yield from filter(None, word.split("'"))
            else:
                yield word

    def kinds(self, words: Sequence[str]) -> list[int]:
        """What each word does, in the language that knows most of them; the first one in the lists breaks ties."""
        known = [self._known(word) for word in words]
        votes = [0] * (1 + len(_POSITIONS))
        for of_word in known:
            for language in of_word:
                votes[language] += 1
        votes[_ANY] = 0
        chosen = votes.index(max(votes))
        return [of_word.get(chosen, 0) | of_word.get(_ANY, 0) for of_word in known]

    def _known(self, word: str) -> Mapping[int, int]:
        """What a word does, by the position of the language."""
        known = self._kinds.get(word, _NOTHING)
        if known is not _NOTHING:
            return known
        if len(word) > 2 and word[0] in _PREFIXES:
            # Arabic and Hebrew write "and", "in", "to" and "the" as one letter before the word.
            known = self._kinds.get(word[1:], _NOTHING)
            opener = OPENER if word[0] in _PREFIXES_AND else 0
            return {language: kind | opener for language, kind in known.items()}
        return _CLITIC_KINDS if len(word) > _LEAST_CLITIC and word.endswith(_CLITICS) else _NOTHING

    def _joined_words(self, text: str) -> Iterator[str]:
        position = 0
        for phrase in self._joined.finditer(text):
            yield from _pieces(text[position : phrase.start()])
            yield phrase[0]
            position = phrase.end()
        yield from _pieces(text[position:])


@functools.cache
def word_tables() -> WordTables:
    """The tables, read at the first use: commands without a conversation do not need them."""
    return WordTables()


def _is_joined(word: str) -> bool:
    """Whether a word has characters of Thai, kana, Han or Hangul."""
    return any(_FIRST_JOINED <= character <= "\u0e7f" or "\u3040" <= character <= "\ud7af" for character in word)


def _pieces(text: str) -> Iterator[str]:
    """A run without known phrases, in pieces of about a word."""
    size = 4 if "\u0e00" <= text[:1] <= "\u0e7f" else 2
    for start in range(0, len(text), size):
        yield text[start : start + size]


def _read_tables() -> _Kinds:
    kinds: _Kinds = {}
    for tables, kind in (
        ((references.OPENERS, joined.OPENERS), OPENER),
        ((references.POINTERS, joined.POINTERS), POINTER),
        ((references.EDITS, joined.EDITS), EDIT),
        ((fillers.PARTS, joined.PARTS), PART),
        ((fillers.FILLERS, joined.FILLERS), FILLER),
    ):
        for language, listed in itertools.chain.from_iterable(table.items() for table in tables):
            _add(kinds, listed, _POSITIONS.get(language, _ANY), kind)
    for word in references.ASKS.split():
        for position in kinds[word]:
            kinds[word][position] |= ASK
    _add(kinds, fillers.TARGETS, _ANY, TARGET)
    return kinds


def _add(kinds: _Kinds, listed: str, language: int, kind: int) -> None:
    for word in listed.split():
        of_word = kinds.setdefault(word, {})
        of_word[language] = of_word.get(language, 0) | kind


def _longest_phrases(kinds: Iterable[str]) -> dict[str, int]:
    """For each first word of a phrase, the number of words of the longest phrase."""
    longest: dict[str, int] = {}
    for phrase in kinds:
        first, *others = phrase.split("_")
        if others:
            longest[first] = max(longest.get(first, 1), 1 + len(others))
    return longest
