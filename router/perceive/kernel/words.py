"""The word pieces and vectors of `StaticEncoder`, bound to the compiled kernel."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from tokenizers import Tokenizer

from router.perceive import kernel
from router.perceive.text.lexicon import Lexicon, is_other_script
from router.types import Floats

FIRST, END = 0x80, 0x2800
"""The code points of the table; words with other ones are read by the tokenizer itself."""

_BERT = ("WordPiece", "BertNormalizer", True, "BertPreTokenizer")
"""The kinds of model, normalizer and pre-tokenizer; the normalizer lowers the case."""
_MOST_SPECIALS, _LONGEST_SPECIAL = 8, 16
"""The words that the tokenizer does not split, of which the compiled kernel has a list."""
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


class _Model(Struct):
    """The model of a tokenizer; other kinds than WordPiece state other things."""

    type: str = ""
    vocab: dict[str, int] = {}
    unk_token: str = ""
    continuing_subword_prefix: str = ""
    max_input_chars_per_word: int = 0


class _Normalizer(Struct):
    type: str = ""
    lowercase: bool = True


class _PreTokenizer(Struct):
    type: str = ""


class _AddedToken(Struct):
    content: str


class _Stated(Struct):
    model: _Model
    normalizer: _Normalizer
    pre_tokenizer: _PreTokenizer
    added_tokens: tuple[_AddedToken, ...] = ()


class Bound(NamedTuple):
    """The word pieces and the table of vectors, bound to the compiled kernel."""

    pieces: Any
    table: Any


def bound(rows: NDArray[np.int8], scales: Floats, tokenizer: Tokenizer, lexicon: Lexicon) -> Bound | None:
    """Both, bound; None where numpy is used, as for what the kernel cannot read."""
    if (extension := kernel.extension()) is None or rows.shape[1] > kernel.MOST_EMBEDDED or np.intp(0).itemsize != 8:
        return None
    # Several times faster than to ask the tokenizer for its vocabulary.
    try:
        stated = msgspec.json.decode(tokenizer.to_str(), type=_Stated)
    except msgspec.ValidationError:
        # A vocabulary of another kind of model.
        return None
    model, normalizer, specials = stated.model, stated.normalizer, tuple(token.content for token in stated.added_tokens)
    unknown = model.vocab.get(model.unk_token)
    kinds = (model.type, normalizer.type, normalizer.lowercase, stated.pre_tokenizer.type)
    if kinds != _BERT or unknown is None:
        return None
    if not 1 <= model.max_input_chars_per_word <= kernel.MOST_CHARACTERS_OF_WORD:
        return None
    if len(specials) > _MOST_SPECIALS or any(token[:1] != "[" or len(token) > _LONGEST_SPECIAL for token in specials):
        return None
    pieces = [""] * (1 + max(model.vocab.values()))
    for piece, number in model.vocab.items():
        pieces[number] = piece
    tokens, weights, *numbers = lexicon.stored
    return Bound(
        extension.Pieces(
            pieces,
            model.continuing_subword_prefix,
            unknown,
            model.max_input_chars_per_word,
            known_characters(tokenizer),
            specials,
        ),
        extension.Table(
            kernel.contiguous(rows, np.int8),
            kernel.contiguous(scales, np.float32),
            kernel.contiguous(tokens, np.uint16),
            kernel.contiguous(weights, np.uint8),
            *numbers,
        ),
    )
