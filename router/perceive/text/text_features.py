"""Surface features of a text: length, characters, structure and question form."""

from __future__ import annotations

import functools
import math
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from router.types import Floats

# Character classes; a table maps a character to its class.
_LOWER, _UPPER, _DIGIT, _SPACE, _NEWLINE, _OPERATOR, _BRACKET, _QUOTE, _OTHER_PUNCTUATION = range(9)
_LATIN, _CYRILLIC, _ARABIC, _INDIC, _HAN, _OTHER = range(9, 15)
_GREEK, _HEBREW, _SOUTH_EAST_ASIAN, _KANA, _HANGUL = range(15, 20)
_CLASSES = 20
# Pairs of a class and the wider class that also counts its characters.
_PARTS = (
    (_GREEK, _CYRILLIC),
    (_HEBREW, _ARABIC),
    (_SOUTH_EAST_ASIAN, _OTHER),
    (_KANA, _HAN),
    (_HANGUL, _HAN),
)
_WIDER = 15

# Searched as plain strings: a regular expression over the whole prompt costs more than all the rest of this module.
_OPTIONS = tuple((f"({letter})", f"\n{letter})", f"\n{letter}.", f"\n{letter}:") for letter in "ABCDEFGHIJ")
# Pairs of a character and a string: if the character does not occur, which is known, the text need not be searched.
_CODE = (
    ("`", "```"),
    ("", "def "),
    ("", "class "),
    ("", "return "),
    ("", "import "),
    ("", "assert "),
    ("#", "#include"),
    ("S", "SELECT "),
    ("", "function "),
    (";", ";\n"),
    ("=", "=>"),
    (":", "::"),
)
_QUESTION_WORDS = {
    word: position
    for position, words in enumerate(
        (
            ("what", "which"),
            ("who", "whom", "whose"),
            ("when", "where"),
            ("why",),
            ("how",),
            ("is", "are", "was", "were", "does", "do", "did", "can", "could", "should", "will", "would"),
            ("write", "create", "generate", "implement", "complete", "compose", "draft"),
            ("find", "compute", "calculate", "solve", "evaluate", "determine", "let", "suppose", "if"),
            ("translate", "summarize", "summarise", "rewrite", "explain", "describe", "list", "give"),
        )
    )
    for word in words
}
_FIRST_WORDS = 9
_PHRASES = (
    "____",
    "following",
    "python",
    "passage",
    "example",
    "best",
    " not ",
    "except",
    "answer:",
    "you are",
)


def _character_table() -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    table = np.full(0x10000, _OTHER, dtype=np.uint8)
    table[0:0x80] = _OTHER_PUNCTUATION
    for characters, kind in (
        ("abcdefghijklmnopqrstuvwxyz", _LOWER),
        ("ABCDEFGHIJKLMNOPQRSTUVWXYZ", _UPPER),
        ("0123456789", _DIGIT),
        (" \t\r", _SPACE),
        ("\n", _NEWLINE),
        ("+-*/=<>^%|&~", _OPERATOR),
        ("()[]{}", _BRACKET),
        ("\"'`", _QUOTE),
    ):
        table[[ord(character) for character in characters]] = kind
    for first, last, kind in (
        (0x80, 0x36F, _LATIN),
        (0x370, 0x3FF, _GREEK),
        (0x400, 0x52F, _CYRILLIC),
        (0x590, 0x8FF, _ARABIC),
        (0x590, 0x5FF, _HEBREW),
        (0x900, 0xDFF, _INDIC),
        (0xE00, 0xEFF, _SOUTH_EAST_ASIAN),
        (0x1000, 0x109F, _SOUTH_EAST_ASIAN),
        (0x1780, 0x17FF, _SOUTH_EAST_ASIAN),
        (0x2E80, 0x9FFF, _HAN),
        (0x3040, 0x30FF, _KANA),
        (0x3130, 0x318F, _HANGUL),
        (0x31F0, 0x31FF, _KANA),
        (0xAC00, 0xD7AF, _HANGUL),
    ):
        table[first : last + 1] = kind
    return table


_TABLE = _character_table()
_ASCII_CODE = {chr(code): code for code in range(128)}
_CLASS_OF_ASCII = (_TABLE[:128, None] == np.arange(_CLASSES)).astype(np.float64)
_ASCII_SPACES = np.isin(np.arange(128), [9, 10, 11, 12, 13, 28, 29, 30, 31, 32])
_LONG = 3_000
"""From this many characters on, words are counted without splitting the text."""
NAMES = (
    "log_characters",
    "log_words",
    "word_length",
    *(f"share_{name}" for name in ("lower", "upper", "digit", "space", "newline", "operator", "bracket", "quote")),
    *(f"share_{name}" for name in ("punctuation", "latin", "cyrillic", "arabic", "indic", "cjk", "other")),
    "log_lines",
    "log_options",
    "log_numbers",
    "log_longest_number",
    "log_code",
    "log_latex",
    "log_questions",
    "ends_with_question",
    "log_turns",
    *(f"first_word_{position}" for position in range(_FIRST_WORDS)),
    *(f"phrase_{position}" for position in range(len(_PHRASES))),
    *(f"share_{name}" for name in ("greek", "hebrew", "south_east_asian", "kana", "hangul")),
)
WIDTH = len(NAMES)


def surface_features(text: str, turns: int = 1) -> Floats:
    """float32 `(WIDTH,)`, named by `NAMES`; `turns` is the number of human turns of the conversation."""
    units, ascii_counts, counts = _counted(text)
    characters = max(len(units), 1)
    words, first_word = _words(text, units)
    lowered = text.lower()
    longest, numbers = _digit_runs(units) if counts[_DIGIT] else (0, 0)
    shares = (counts / characters).tolist()
    first = [0.0] * _FIRST_WORDS
    position = _QUESTION_WORDS.get(first_word.strip(",.:;!?\"'()").lower())
    if position is not None:
        first[position] = 1.0
    occurrences = ascii_counts.tolist()
    return np.array(
        (
            math.log1p(characters),
            math.log1p(words),
            min(characters / max(words, 1), 40.0),
            *shares[:_WIDER],
            math.log1p(occurrences[_ASCII_CODE["\n"]]),
            math.log1p(_options(text) if occurrences[_ASCII_CODE["("]] or occurrences[_ASCII_CODE["\n"]] else 0),
            math.log1p(numbers),
            math.log1p(longest),
            math.log1p(
                sum([text.count(code) for needed, code in _CODE if not needed or occurrences[_ASCII_CODE[needed]]])
            ),
            math.log1p(occurrences[_ASCII_CODE["\\"]] + occurrences[_ASCII_CODE["$"]]),
            math.log1p(occurrences[_ASCII_CODE["?"]]),
            float(text.rstrip().endswith("?")),
            math.log1p(turns),
            *first,
            *[float(phrase in lowered) for phrase in _PHRASES],
            *shares[_WIDER:],
        ),
        dtype=np.float32,
    )


_Units = NDArray[np.uint8] | NDArray[np.uint16]


def _counted(text: str) -> tuple[_Units, NDArray[np.intp], NDArray[np.float64]]:
    """The text in UTF-16 units, the counts of ASCII characters, and the counts of units by class.

    Wider classes include their parts.
    """
    if text.isascii():
        characters = np.frombuffer(text.encode("ascii"), dtype=np.uint8)
        ascii_counts = np.bincount(characters, minlength=128)
        return characters, ascii_counts, ascii_counts @ _CLASS_OF_ASCII
    units = np.frombuffer(text.encode("utf-16-le", "replace"), dtype="<u2")
    counts = np.bincount(_TABLE[units], minlength=_CLASSES).astype(np.float64)
    for part, whole in _PARTS:
        counts[whole] += counts[part]
    return units, np.bincount(units[units < 128], minlength=128), counts


def _words(text: str, units: _Units) -> tuple[int, str]:
    """The number of words and the first word, empty if there is none."""
    if len(text) < _LONG or units.dtype != np.uint8:
        words = text.split()
        return len(words), words[0] if words else ""
    spaces = _ASCII_SPACES[units]
    starts = int(np.count_nonzero(spaces[:-1] > spaces[1:])) + int(not spaces[0])
    return starts, text.split(None, 1)[0] if starts else ""


def _digit_runs(units: _Units) -> tuple[int, int]:
    """The length of the longest run of digits, and the number of runs."""
    inside = np.zeros(len(units) + 2, dtype=np.bool_)
    # Below "0" the unsigned difference wraps around to a large number.
    inside[1:-1] = units - units.dtype.type(ord("0")) < 10
    edges = np.flatnonzero(inside[1:] != inside[:-1])
    lengths = edges[1::2] - edges[::2]
    return int(lengths.max()), len(lengths)


def _options(text: str) -> int:
    """The number of labelled answer options, without a gap from A on."""
    for count, labels in enumerate(_OPTIONS):
        if not any(label in text for label in labels):
            return count
    return len(_OPTIONS)


@functools.cache
def bound(extension: ModuleType) -> Any:
    """The tables of this module, bound to the compiled kernel."""
    codes = tuple(code for _, code in _CODE)
    return extension.Surface(_TABLE, codes, _PHRASES, tuple(_QUESTION_WORDS.items()), _FIRST_WORDS)
