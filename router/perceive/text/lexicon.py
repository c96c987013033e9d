"""A lexicon that translates words in other scripts than Latin to English tokens.

The tokenizer of the static encoder is English: it splits Russian into letters and knows hardly any Chinese. So runs of
other scripts are segmented by a list of words and word pieces, longest match first, and an entry is translated to a few
weighted English tokens (`router.learn.encoder.distil` makes the list). Characters without an entry become hashed
n-grams, which have no meaning but keep different texts apart.
"""

from __future__ import annotations

import functools
import re
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from router.errors import ArtifactError
from router.perceive import kernel
from router.perceive.artifact import read_arrays
from router.types import Floats

WEIGHT_UNIT = np.float32(1 / 255)
"""A stored weight of 255 is the weight 1, that of an English token in the text itself."""

# All scripts but Latin, without general punctuation and symbols.
_DENSE = (
    "\u1100-\u11ff\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3040-\u30fa\u30fc-\u318f\u31a0-\u31ff"
    "\u3400-\u4dbf\u4e00-\ua4cf\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\uff66-\uffdc\U00016fe0-\U00018cff"
    "\U0001aff0-\U0001b2ff\U00020000-\U0003ffff"
)
_ALPHABETIC = (
    "\u0370-\u10ff\u1200-\u1cff\u1f00-\u1fff\u2c00-\u2c5f\u2c80-\u2ddf\u2de0-\u2dff\ua4d0-\ua69f\ua6a0-\ua6ff"
    "\ua800-\ua95f\ua980-\uab2f\uab70-\uabff\ufb13-\ufdff\ufe70-\ufefc\U00010000-\U00016fdf"
)


@functools.cache
def dense() -> re.Pattern[str]:
    """Runs of scripts in which a character is about one token: Han, kana, Hangul. Long patterns are compiled when a
    text first needs them.
    """
    return re.compile(f"[{_DENSE}]+")


@functools.cache
def alphabetic() -> re.Pattern[str]:
    """Runs of the other scripts, in which several letters are one token."""
    return re.compile(f"[{_ALPHABETIC}]+")


@functools.cache
def _runs() -> re.Pattern[str]:
    return re.compile(f"([{_DENSE}{_ALPHABETIC}]+)")


_MATHEMATICAL = re.compile("[\u0370-\u03ff\u0460-\u0481]{1,2}")
_GREEK_WORDS = frozenset(
    (
        "αν",
        "ας",
        "δε",
        "δέ",
        "ει",
        "εν",
        "θα",
        "με",
        "μή",
        "μη",
        "να",
        "οι",
        "ου",
        "σε",
        "τα",
        "τη",
        "τί",
        "τι",
        "το",
        "τω",
        "ως",
        "ώς",
    )
)
# Characters that writers usually omit: stress marks, Hebrew points, Arabic vowels and tatweel, joiners.
_OMITTED = dict.fromkeys(
    (0x300, 0x301, 0x640, 0x670, 0x200C, 0x200D, *range(0x591, 0x5C8), *range(0x610, 0x61B), *range(0x64B, 0x660))
)
_FIRST_WORD, _WORDS = 2_000, 20_000
"""The range of English tokens for hashed n-grams: the most frequent whole words."""
_HASHES = 1 << 24
_LINE_BREAK = ord("\n")
_NO_WORDS: tuple[Mapping[str, int], int] = {}, 0


class Lexicon:
    """Entries, which are a few English tokens with weights.

    Entries are numbered: those of the list from 0, hashed n-grams from `len(self)`.
    """

    def __init__(self, words: str, tokens: NDArray[np.uint16], weights: NDArray[np.uint8]) -> None:
        """`words` are separated by line breaks."""
        self._words, self._tokens, self._weights = words.encode(), tokens, weights

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy in another process makes its own tables.
        return Lexicon, (self._words.decode(), self._tokens, self._weights)

    def __len__(self) -> int:
        return len(self._tokens)

    @property
    def stored(self) -> tuple[NDArray[np.uint16], NDArray[np.uint8], int, int, int, int]:
        """The tokens and weights of entries `(entries, of each)`, how many they are, the first token for hashes, the
        number of tokens for them, and the number of hashes.
        """
        return self._tokens, self._weights, len(self), _FIRST_WORD, _WORDS, _HASHES

    @functools.cached_property
    def _places(self) -> tuple[NDArray[np.int32], NDArray[np.uint32], NDArray[np.int32]]:
        """Where words begin in the bytes of the list, and at the end where one would; the code points with which they
        begin, in order; and the entries in that order.
        """
        points = np.frombuffer(f"\n{self._words.decode()}".encode("utf-32-le"), dtype=np.dtype("<u4"))
        firsts = points[np.flatnonzero(points == _LINE_BREAK) + 1]
        starts = np.flatnonzero(np.frombuffer(b"\n%b\n" % self._words, dtype=np.uint8) == _LINE_BREAK)
        order = np.argsort(firsts, kind="stable")
        return starts.astype(np.int32), firsts[order], order.astype(np.int32)

    @functools.cached_property
    def _by_first(self) -> dict[str, tuple[Mapping[str, int], int] | None]:
        """What `_beginning_with` returns for each character with which words begin, None where nobody has asked."""
        _, firsts, _ = self._places
        # Not numpy's `unique`, which imports its masked arrays.
        begins = np.flatnonzero(np.diff(firsts, prepend=np.uint32(0)))
        return dict.fromkeys(map(chr, firsts[begins].tolist()))

    def _beginning_with(self, first: str) -> tuple[Mapping[str, int], int]:
        """The entry of each word that begins with a character, and the length of the longest. Those of all characters
        would take megabytes, and as long as many decisions.
        """
        starts, firsts, order = self._places
        # For numbers of another type all of them would be copied.
        low, high = firsts.searchsorted(np.array((ord(first), ord(first) + 1), dtype=firsts.dtype)).tolist()
        entries = order[low:high].tolist()
        words = [self._words[starts[entry] : starts[entry + 1] - 1].decode() for entry in entries]
        found = self._by_first[first] = dict(zip(words, entries, strict=True)), max(map(len, words))
        return found

    @classmethod
    def load(cls, file: Path, tokens: int) -> Lexicon:
        """Read `lexicon.npz`. Raises ArtifactError if it is damaged or refers to a token id of `tokens` or more."""
        arrays = read_arrays(file)
        if problem := _problem_of(arrays, tokens):
            raise ArtifactError(f"{file}: is damaged: {problem}")
        try:
            words = arrays["words"].tobytes().decode("utf-8")
        except UnicodeDecodeError as error:
            raise ArtifactError(f"{file}: is damaged: {error}") from None
        if words.count("\n") + 1 != len(arrays["tokens"]) or "\n\n" in f"\n{words}\n":
            raise ArtifactError(f"{file}: is damaged: the numbers of words and of entries differ")
        return cls(words, arrays["tokens"], arrays["weights"])

    def save(self, file: Path) -> None:
        """Write `lexicon.npz`."""
        words = np.frombuffer(self._words, dtype=np.uint8)
        np.savez_compressed(file, words=words, tokens=self._tokens, weights=self._weights)

    def prepare(self) -> None:
        """Make the table of words and the patterns of scripts now, not for the first run that is read."""
        self._found  # noqa: B018 - a cached property
        for pattern in (_runs, dense, alphabetic):
            pattern()

    def entries(self, run: str) -> Iterator[int]:
        """The entries of a run that `split` returned, from left to right, longest match first."""
        for number in self._found(run):
            if number >= 0:
                yield number
                continue
            position = -1 - number
            if unicodedata.category(run[position])[0] == "L":
                yield len(self) + _hashed(run[position])
                if position + 1 < len(run):
                    yield len(self) + _hashed(run[position : position + 2])

    @functools.cached_property
    def _found(self) -> Callable[[str], Iterable[int]]:
        """The listed words of a run, the longest match first, by their numbers; for a character at which none begins,
        -1 - its position.
        """
        extension = kernel.extension()
        return self._found_by_first if extension is None else extension.Words(self._words).entries

    def _found_by_first(self, run: str) -> Iterator[int]:
        known, position, last = self._by_first.get, 0, len(run)
        while position < last:
            words, longest = known(run[position], _NO_WORDS) or self._beginning_with(run[position])
            entry = words.get
            for end in range(min(position + longest, last), position, -1):
                number = entry(run[position:end])
                if number is not None:
                    yield number
                    position = end
                    break
            else:
                yield -1 - position
                position += 1

    def expand(self, entries: NDArray[np.intp]) -> tuple[NDArray[np.intp], Floats]:
        """The English tokens of these entries and their weights, both of shape `(n,)`."""
        listed, hashed = entries[entries < len(self)], entries[entries >= len(self)] - len(self)
        # The difference of two unrelated tokens is a direction without meaning.
        first, second = hashed % _WORDS, hashed * 2_654_435_761 // _HASHES % _WORDS
        half = np.full(len(hashed), 0.5, dtype=np.float32)
        return (
            np.concatenate([self._tokens[listed].ravel(), first + _FIRST_WORD, second + _FIRST_WORD]).astype(np.intp),
            np.concatenate([self._weights[listed].ravel() * WEIGHT_UNIT, half, -half]).astype(np.float32),
        )


def is_foreign(word: str) -> bool:
    """Whether `word` is read through the lexicon.

    One or two Greek letters that are no Greek word, or old Cyrillic letters that look like them, are mathematics, which
    the tokenizer knows.
    """
    return any(not _MATHEMATICAL.fullmatch(run) or run.lower() in _GREEK_WORDS for run in _runs().findall(word))


def normalised(word: str) -> str:
    """`word` in lower case and NFKC form, without characters that writers usually omit, decimal digits as ASCII."""
    folded = unicodedata.normalize("NFKC", word).lower().translate(_OMITTED)
    if not any(character.isdecimal() for character in folded):
        return folded
    return "".join([str(unicodedata.decimal(character, character)) for character in folded])


def split(word: str) -> list[str]:
    """Split a normalised word into text between runs of other scripts, which may be empty, and the runs, in turn."""
    return _runs().split(word)


def _hashed(gram: str) -> int:
    return zlib.crc32(gram.encode("utf-8", "replace")) % _HASHES


def _problem_of(arrays: Mapping[str, NDArray[Any]], tokens: int) -> str | None:
    """What is wrong with the arrays, or None."""
    for name, kind, axes in (("words", np.uint8, 1), ("tokens", np.uint16, 2), ("weights", np.uint8, 2)):
        array = arrays.get(name)
        if array is None or array.dtype != kind or array.ndim != axes:
            return f"{name} is not {np.dtype(kind)} of {axes} axes"
    if arrays["tokens"].shape != arrays["weights"].shape:
        return "tokens and weights differ in shape"
    if max(int(arrays["tokens"].max(initial=0)), _FIRST_WORD + _WORDS - 1) >= tokens:
        return f"it refers to a token beyond the {tokens} of the token table"
    return None
