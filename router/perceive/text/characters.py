"""What the compiled kernel has to know of characters beyond ASCII to read words as the tokenizer does."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from router.perceive.text.lexicon import is_other_script

FIRST, END = 0x80, 0x2800
"""The code points of the table; words with other ones are read by the tokenizer itself."""

_LETTER, _MARK, _DROPPED = 1, 2, 3
_READ = (
    *range(FIRST, 0x180),
    *range(0x1EA0, 0x1F00),
    *range(0x2000, 0x2070),
    0x20AC,
    *range(0x2190, 0x2194),
    *range(0x2200, 0x2280),
)
"""Latin letters, punctuation, the euro, arrows and mathematics: few enough to ask the tokenizer about at each start."""


def known_characters(tokenizer: Tokenizer) -> NDArray[np.int32]:
    """int32 `(END - FIRST, 3)`: how the tokenizer reads a character in a word (a letter, a mark on its own, nothing; 0
    where only it knows), as which character, and its lower case, 0 where that is not one character.
    """
    table = np.zeros((END - FIRST, 3), dtype=np.int32)
    # The lower case of a final sigma depends on its neighbours, and that of "İ" is two characters.
    characters = "".join(map(chr, range(FIRST, END))).replace("\u03a3", "\0").replace("\u0130", "\0")
    table[:, 2] = np.frombuffer(characters.lower().encode("utf-32-le"), dtype="<i4")
    read = [chr(point) for point in _READ if not chr(point).isspace() and not is_other_script(chr(point))]
    # One call for all of them, each between letters, where it ends the word or does not.
    forms = tokenizer.normalizer.normalize_str("|".join(read)).split("|")
    words = [f"a{form}a" for form in forms]
    parts: list[list[str]] = [[] for _ in words]
    starts = np.cumsum([0, *(len(word) + 1 for word in words)])
    found = tokenizer.pre_tokenizer.pre_tokenize_str(" ".join(words))
    for (part, _), at in zip(found, np.searchsorted(starts, [start for _, (start, _) in found], "right"), strict=True):
        parts[at - 1].append(part)
    for character, form, word, of_word in zip(read, forms, words, parts, strict=True):
        if not form:
            kind = _DROPPED
        elif len(form) > 1 or ord(form) > 0xFFFF or of_word not in ([word], ["a", form, "a"]):
            continue
        else:
            kind = _LETTER if len(of_word) == 1 else _MARK
        table[ord(character) - FIRST, :2] = kind, ord(form) if form else 0
    return table
