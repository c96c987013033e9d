"""The word pieces and vectors of `StaticEncoder`, bound to the compiled kernel."""

from __future__ import annotations

import string
import unicodedata
from typing import Any, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from router.perceive import kernel
from router.perceive.text.lexicon import Lexicon
from router.types import Floats

FIRST, END = 0x80, 0x3040
"""The code points of the table; words with other ones are read by the tokenizer itself."""

_BERT = ("WordPiece", "BertNormalizer", "BertPreTokenizer")
"""The kinds of model, normalizer and pre-tokenizer."""
_MOST_SPECIALS, _LONGEST_SPECIAL = 8, 16
"""The words that the tokenizer does not split, of which the compiled kernel has a list."""
_LETTER, _MARK, _DROPPED, _MATHEMATICAL = 1, 2, 3, 4
_READ = (
    *range(FIRST, 0x370),
    *range(0x1D00, 0x1DC0),
    *range(0x1E00, 0x1F00),
    *range(0x2000, 0x2C00),
    *range(0x2C60, 0x2C80),
    *range(0x3001, 0x3004),
    *range(0x3008, 0x3020),
)
"""Latin letters, marks above letters, punctuation and symbols, and the punctuation of Chinese and Japanese; none of
them is of a script that the lexicon reads.
"""
_IN_MATHEMATICS = frozenset((*range(0x370, 0x400), *range(0x460, 0x482)))
"""Greek letters and those that look like them, which the lexicon reads but in words of mathematics."""


def known_characters() -> NDArray[np.int32]:
    """int32 `(END - FIRST, 3)`: how a BERT tokenizer that lowers the case reads a character in a word (a letter, a mark
    on its own, nothing, a letter where the word is one of mathematics; 0 where only it knows), as which character, and
    its lower case, 0 where that is not one.

    The rules are those of `BertNormalizer` and `BertPreTokenizer`: control characters and accents are dropped, letters
    lowered, punctuation stands alone.
    """
    table = np.zeros((END - FIRST, 3), dtype=np.int32)
    # The lower case of a final sigma depends on its neighbours, and that of "İ" is two characters.
    characters = "".join(map(chr, range(FIRST, END))).replace("\u03a3", "\0").replace("\u0130", "\0")
    table[:, 2] = np.frombuffer(characters.lower().encode("utf-32-le"), dtype="<i4")
    for point in (*_READ, *_IN_MATHEMATICS):
        character = chr(point)
        # What a character is that this version of Unicode does not have, a tokenizer of another version may know.
        if character.isspace() or unicodedata.category(character) == "Cn":
            continue
        form = _form(character)
        kind = _kind(form)
        if point in _IN_MATHEMATICS:
            kind = _MATHEMATICAL if kind == _LETTER else 0
        if kind and len(form) <= 1 and not form.isspace():
            table[point - FIRST, :2] = kind, ord(form) if form else 0
    return table


def _form(character: str) -> str:
    """What the normalizer makes of a character: lowered, without accents; empty where it drops it."""
    category = unicodedata.category(character)
    if category in ("Cc", "Cf"):
        return ""
    # Most characters have no parts.
    if not unicodedata.decomposition(character):
        return "" if category == "Mn" else character.lower()
    decomposed = unicodedata.normalize("NFD", character)
    return "".join(part for part in decomposed if unicodedata.category(part) != "Mn").lower()


def _kind(form: str) -> int:
    if not form:
        return _DROPPED
    return _MARK if form in string.punctuation or unicodedata.category(form)[0] == "P" else _LETTER


class _Model(Struct):
    """The model of a tokenizer; other kinds than WordPiece state other things."""

    type: str = ""
    vocab: dict[str, int] = {}
    unk_token: str = ""
    continuing_subword_prefix: str = ""
    max_input_chars_per_word: int = 0


class _Normalizer(Struct):
    """`strip_accents` is None where accents are stripped if the case is lowered."""

    type: str = ""
    lowercase: bool = True
    clean_text: bool = True
    strip_accents: bool | None = None


class _PreTokenizer(Struct):
    type: str = ""


class _AddedToken(Struct):
    content: str


class _Stated(Struct):
    model: _Model
    normalizer: _Normalizer
    pre_tokenizer: _PreTokenizer
    added_tokens: tuple[_AddedToken, ...] = ()

    @property
    def specials(self) -> tuple[str, ...]:
        return tuple(token.content for token in self.added_tokens)


class Bound(NamedTuple):
    """The word pieces and the table of vectors, bound to the compiled kernel."""

    pieces: Any
    table: Any


def bound(rows: NDArray[np.int8], scales: Floats, tokenizer: bytes, lexicon: Lexicon) -> Bound | None:
    """Both, bound; None where numpy is used, as for what the kernel cannot read. `tokenizer` is `tokenizer.json`."""
    if (extension := kernel.extension()) is None or rows.shape[1] > kernel.MOST_EMBEDDED or np.intp(0).itemsize != 8:
        return None
    stated = _readable(tokenizer, len(rows))
    if stated is None:
        return None
    model, vocabulary = stated.model, stated.model.vocab
    pieces = list(vocabulary)
    if list(vocabulary.values()) != list(range(len(pieces))):
        pieces = [""] * (1 + max(vocabulary.values()))
        for piece, number in vocabulary.items():
            pieces[number] = piece
    tokens, weights, *numbers = lexicon.stored
    return Bound(
        extension.Pieces(
            pieces,
            model.continuing_subword_prefix,
            vocabulary[model.unk_token],
            model.max_input_chars_per_word,
            known_characters(),
            stated.specials,
        ),
        extension.Table(
            kernel.contiguous(rows, np.int8),
            kernel.contiguous(scales, np.float32),
            kernel.contiguous(tokens, np.uint16),
            kernel.contiguous(weights, np.uint8),
            *numbers,
        ),
    )


def _readable(tokenizer: bytes, rows: int) -> _Stated | None:
    """What a `tokenizer.json` states, if the kernel can read words as it says, with a table of so many rows."""
    try:
        stated = msgspec.json.decode(tokenizer, type=_Stated)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Damaged, or a vocabulary of another kind of model.
        return None
    model, normalizer, specials = stated.model, stated.normalizer, stated.specials
    is_bert = (model.type, normalizer.type, stated.pre_tokenizer.type) == _BERT and model.unk_token in model.vocab
    is_lowered = normalizer.lowercase and normalizer.clean_text and normalizer.strip_accents is not False
    has_rows = len(model.vocab) + sum(token not in model.vocab for token in specials) <= rows
    fits = has_rows and 1 <= model.max_input_chars_per_word <= kernel.MOST_CHARACTERS_OF_WORD
    are_known = len(specials) <= _MOST_SPECIALS and all(
        token[:1] == "[" and len(token) <= _LONGEST_SPECIAL for token in specials
    )
    return stated if is_bert and is_lowered and fits and are_known else None
