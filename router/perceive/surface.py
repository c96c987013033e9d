"""Surface features: what a prompt looks like, beside what it means."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from router.types import Floats

# Character classes, one bit of a table lookup a character.
_LOWER, _UPPER, _DIGIT, _SPACE, _NEWLINE, _OPERATOR, _BRACKET, _QUOTE, _OTHER_PUNCTUATION = range(9)
_LATIN, _CYRILLIC_GREEK, _ARABIC_HEBREW, _INDIC, _CJK, _OTHER = range(9, 15)
_CLASSES = 15

# Counted as they stand: a regular expression over the whole prompt costs more than all the rest of this
# module.
_OPTIONS = tuple((f"({letter})", f"\n{letter})", f"\n{letter}.", f"\n{letter}:") for letter in "ABCDEFGHIJ")
_CODE = (
    "```",
    "def ",
    "class ",
    "return ",
    "import ",
    "assert ",
    "#include",
    "SELECT ",
    "function ",
    ";\n",
    "=>",
    "::",
)
_LATEX = ("\\", "$")
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
        (0x370, 0x52F, _CYRILLIC_GREEK),
        (0x590, 0x8FF, _ARABIC_HEBREW),
        (0x900, 0xDFF, _INDIC),
        (0x2E80, 0x9FFF, _CJK),
        (0xAC00, 0xD7AF, _CJK),
    ):
        table[first : last + 1] = kind
    return table


_TABLE = _character_table()
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
)
WIDTH = len(NAMES)


def surface_features(text: str, turns: int = 1) -> Floats:
    """float32 of shape `(WIDTH,)`, named by `NAMES`; `turns` is how many human turns the conversation has."""
    codes = np.frombuffer(text.encode("utf-16-le", "replace"), dtype="<u2")
    classes = _TABLE[codes]
    counts = np.bincount(classes, minlength=_CLASSES)
    characters = max(len(codes), 1)
    words = text.split()
    lowered = text.lower()
    longest, numbers = _digit_runs(classes) if counts[_DIGIT] else (0, 0)
    features = np.empty(WIDTH, dtype=np.float32)
    features[0] = math.log1p(characters)
    features[1] = math.log1p(len(words))
    features[2] = min(characters / max(len(words), 1), 40.0)
    features[3:18] = counts / characters
    first = [0.0] * _FIRST_WORDS
    position = _QUESTION_WORDS.get(words[0].strip(",.:;!?\"'()").lower()) if words else None
    if position is not None:
        first[position] = 1.0
    features[18:] = (
        math.log1p(int(counts[_NEWLINE])),
        math.log1p(_options(text)),
        math.log1p(numbers),
        math.log1p(longest),
        math.log1p(sum(map(text.count, _CODE))),
        math.log1p(sum(map(text.count, _LATEX))),
        math.log1p(text.count("?")),
        float(text.rstrip().endswith("?")),
        math.log1p(turns),
        *first,
        *(float(phrase in lowered) for phrase in _PHRASES),
    )
    return features


def _digit_runs(classes: NDArray[np.uint8]) -> tuple[int, int]:
    """Length of the longest number, and how many there are."""
    inside = np.zeros(len(classes) + 2, dtype=np.bool_)
    inside[1:-1] = classes == _DIGIT
    edges = np.flatnonzero(inside[1:] != inside[:-1])
    lengths = edges[1::2] - edges[::2]
    return int(lengths.max()), len(lengths)


def _options(text: str) -> int:
    """How many answers to choose from, counted from the first letter on."""
    for count, marks in enumerate(_OPTIONS):
        if not any(mark in text for mark in marks):
            return count
    return len(_OPTIONS)
