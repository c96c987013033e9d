"""Encoders, which map texts to float32 vectors of shape `(texts, dimensions)`.

The default one is a table of token vectors distilled from a sentence-transformers model. The vector of a text is the
mean of its tokens' vectors, scaled to length one. Words in other scripts than Latin, which the English tokenizer cannot
read, are translated to English tokens by `router.perceive.text.lexicon`.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from router.errors import ArtifactError
from router.formats.json import encodable
from router.perceive.artifact import check_hashes, map_array, read_arrays, read_manifest
from router.perceive.kernel.words import bound
from router.perceive.text.lexicon import Lexicon, alphabetic, dense, is_foreign, normalised, split
from router.perceive.text.tokenizer import StoredTokenizer
from router.types import Floats, Indices

FORMAT = "pulvinar-encoder"
VERSION = 2
FILES = ("vectors.npy", "scales.npy", "tokenizer.json", "lexicon.npz")
MAX_CHARACTERS = 16_000
"""The most characters that are read: of a longer text, the first and the last half of this many."""

_FREQUENT_TOKENS = 6_000
"""The ids below this are the most frequent tokens of English: their rows are stored scaled."""

_MIN_SPARSE_TEXTS, _BATCH_TEXTS = 32, 512
_MEMO_CHARACTERS = 400_000
_PARTS = re.compile(r"[A-Za-z0-9]+|[^A-Za-z0-9]")
_ENTRY_CHARACTERS = 8
"""The cost of one memo entry in addition to its characters, so that many short words are bounded too."""


_Read = TypeVar("_Read")


class Encoder(Protocol):
    """Maps texts to vectors; the same text always gets the same vector."""

    @property
    def name(self) -> str:
        """The name for `--encoder`."""

    @property
    def fingerprint(self) -> str:
        """A hash that differs between encoders that give different vectors."""

    @property
    def dimensions(self) -> int:
        """The length of a vector."""

    def encode(self, texts: Sequence[str]) -> Floats:
        """float32 of shape `(len(texts), dimensions)`; the zero vector for a text without tokens."""

    def count_tokens(self, text: str) -> int:
        """Estimate how many tokens a language model reads `text` as."""


class EncoderCard(Struct, frozen=True, forbid_unknown_fields=True):
    """`encoder.json`: the manifest of an encoder folder."""

    format: str
    version: int
    name: str
    dimensions: int
    tokens: int
    words: int
    source: str
    license: str
    sha256: dict[str, str]


class StaticEncoder:
    """The encoder in a folder with `encoder.json`, `vectors.npy` (int8), `scales.npy` (float32), `tokenizer.json` and
    `lexicon.npz`.
    """

    def __init__(
        self, card: EncoderCard, rows: NDArray[np.int8], scales: Floats, tokenizer: StoredTokenizer, lexicon: Lexicon
    ) -> None:
        """Raises ArtifactError for a tokenizer that is damaged, or has more tokens than the table."""
        self.card, self._rows, self._scales, self._lexicon = card, rows, scales, lexicon
        self._stored_tokenizer = tokenizer
        self.name = card.name
        self.dimensions = card.dimensions
        # The version identifies how this module reads the files.
        identity = msgspec.json.encode((card.version, card.sha256), order="sorted")
        self.fingerprint = hashlib.sha256(identity).hexdigest()[:16]
        # Word pieces as the bytes of an array: joining those of many words is cheap.
        self._memo: dict[str, bytes] = {}
        self._memo_characters = 0
        self._last: tuple[str, Indices] = ("", np.zeros(0, dtype=np.intp))
        self.bound = bound(rows, scales, tokenizer.content, lexicon)
        if self.bound is None:
            self.prepare()  # the first word needs it, and the error belongs here

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy on another machine starts without what this one has memorised.
        return StaticEncoder, (self.card, self._rows, self._scales, self._stored_tokenizer, self._lexicon)

    @classmethod
    def load(cls, folder: Path) -> StaticEncoder:
        """Read a folder. Raises ArtifactError if a file is missing, damaged or of another version."""
        card = read_manifest(folder / "encoder.json", EncoderCard, FORMAT, VERSION)
        check_hashes(folder, card.sha256, FILES)
        quantised = map_array(folder / "vectors.npy")
        scales = read_arrays(folder / "scales.npy")["scales"]
        if quantised.shape != (card.tokens, card.dimensions) or scales.shape != (card.tokens,):
            raise ArtifactError(f"{folder}: the token table does not have the shape that encoder.json states")
        if quantised.dtype != np.int8 or scales.dtype != np.float32:
            raise ArtifactError(f"{folder}: the token table is not int8 with float32 scales")
        tokenizer = StoredTokenizer.read(folder / "tokenizer.json", card.tokens)
        lexicon = Lexicon.load(folder / "lexicon.npz", card.tokens)
        if len(lexicon) != card.words:
            raise ArtifactError(f"{folder}: the lexicon does not have as many words as encoder.json states")
        return cls(card, quantised, scales, tokenizer, lexicon)

    def encode(self, texts: Sequence[str]) -> Floats:
        """See `Encoder.encode`. A batch gives the same bits as single calls."""
        vectors = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        if self.bound is not None:
            for text, vector in zip(texts, vectors, strict=True):
                self.bound.table.embed(self._ids(text), vector)
            return vectors
        for start in range(0, len(texts), _BATCH_TEXTS):
            ids = [self._ids(text) for text in texts[start : start + _BATCH_TEXTS]]
            for row, total in self._sums(ids):
                vectors[start + row] = unit(total)
        return vectors

    def count_tokens(self, text: str) -> int:
        """The number of word pieces, or a quarter of the characters if that is more.

        In other scripts, where word pieces are longer than a language model's tokens, a Han, kana or Hangul character
        counts as one token, and so do two other letters.
        """
        ids = self._ids(text)
        pieces = len(ids)
        if pieces and ids.max() >= self.card.tokens:
            pieces = tokens_beside(text, int(np.count_nonzero(ids < self.card.tokens)))
        return tokens_of_pieces(text, pieces)

    def pieces(self, text: str) -> list[int]:
        """Token ids of `text`, without special tokens. Ids from `card.tokens` on are entries of the lexicon.

        The tokenizer splits at white space, so the pieces of a word can be cached. One difference is intended: the
        control characters that Python counts as white space (U+000B, U+000C, U+001C to U+001F, U+0085) end a word here,
        where the tokenizer alone would drop them and join their neighbours.
        """
        ids: list[int] = self._ids(text).tolist()
        return ids

    def remembering(self, read: Callable[[dict[str, bytes]], _Read | list[str]], words: Sequence[str] = ()) -> _Read:
        """What `read` returns for the pieces of the words that the kernel cannot read by itself: where it returns a
        list of words, these are added first, after `words`.
        """
        # One memo for all of them: if it were emptied meanwhile, a long conversation would never be read.
        memo = self.bounded_memo()
        if words:
            self._memorise(words, memo)
        while isinstance(found := read(memo), list):
            self._memorise(found, memo)
        return found

    def _ids(self, text: str) -> Indices:
        text = _clipped(text)
        # `encode` and `count_tokens` are usually called with the same text, one after the other.
        last_text, ids = self._last
        if last_text != text:
            if self.bound is not None:
                pieces = self.bound.pieces
                ids = np.frombuffer(self.remembering(lambda memo: pieces.ids(text, memo)), dtype=np.intp)
            else:
                words = text.split()
                try:
                    ids = _joined(self._memo, words)
                except KeyError:
                    ids = _joined(self._memorise(words, self.bounded_memo()), words)
            self._last = text, ids
        return ids

    def bounded_memo(self) -> dict[str, bytes]:
        """The memo, emptied where it has become too large; one prompt may add to it beyond the bound."""
        if self._memo_characters > _MEMO_CHARACTERS:
            self._memo, self._memo_characters = {}, 0
        return self._memo

    def _memorise(self, words: Sequence[str], memo: dict[str, bytes]) -> dict[str, bytes]:
        """`memo`, after the pieces of these words were added."""
        missing = [word for word in dict.fromkeys(words) if word not in memo]
        if missing:
            # The tokenizer splits at punctuation, so a new word is often a known one with punctuation around it.
            parts = {word: _PARTS.findall(word) if _is_plain(word) else (word,) for word in missing}
            new = [part for part in dict.fromkeys(itertools.chain.from_iterable(parts.values())) if part not in memo]
            memo.update({part: np.array(ids, np.intp).tobytes() for part, ids in self._pieces_of(new).items()})
            memo.update({word: b"".join(map(memo.__getitem__, parts[word])) for word in missing})
            self._memo_characters += sum(map(len, missing)) + _ENTRY_CHARACTERS * (len(missing) + len(new))
        return memo

    def prepare(self) -> None:
        """Make the tokenizer now, not for the first word that the kernel cannot read. Raises ArtifactError."""
        self._model  # noqa: B018 - a cached property

    def prepare_lexicon(self) -> None:
        """Make now what the first word in another script needs."""
        self._lexicon.prepare()

    @functools.cached_property
    def _model(self) -> Any:
        """The part of the tokenizer that splits a word into pieces."""
        return self._stored_tokenizer.made.model

    def _pieces_of(self, words: Sequence[str]) -> dict[str, tuple[int, ...]]:
        # For plain words, all that the tokenizer does is to lower the case and to split into pieces.
        plain = [word for word in words if _is_plain(word)]
        pieces = {word: tuple(token.id for token in self._model.tokenize(word.lower())) for word in plain}
        foreign = [word for word in words if word not in pieces and is_foreign(word)]
        pieces.update(zip(foreign, self._pieces_of_foreign(foreign), strict=True))
        others = [word for word in words if word not in pieces]
        pieces.update(zip(others, self._pieces_in_english(others), strict=True))
        return pieces

    def _pieces_of_foreign(self, words: Sequence[str]) -> list[tuple[int, ...]]:
        split_words = [split(normalised(encodable(word))) for word in words]
        between_runs = iter(self._pieces_in_english([part for parts in split_words for part in parts[::2]]))
        base, entries = self.card.tokens, self._lexicon.entries
        pieces_of_words = []
        for parts in split_words:
            pieces: list[int] = []
            for position, part in enumerate(parts):
                pieces += [base + entry for entry in entries(part)] if position % 2 else next(between_runs)
            pieces_of_words.append(tuple(pieces))
        return pieces_of_words

    def _pieces_in_english(self, words: Sequence[str]) -> list[tuple[int, ...]]:
        """The pieces of what the lexicon does not read: words, and texts between runs of other scripts. Most are
        letters of mathematics and punctuation, for which no tokenizer is needed.
        """
        # Normalising may have made a text longer than the kernel reads.
        read = [
            self.bound.pieces.ids(word, None) if self.bound is not None and len(word) <= MAX_CHARACTERS else [word]
            for word in words
        ]
        others = [word for word, ids in zip(words, read, strict=True) if isinstance(ids, list)]
        pieces = iter(self._pieces_by_tokenizer(others))
        return [next(pieces) if isinstance(ids, list) else tuple(np.frombuffer(ids, np.intp).tolist()) for ids in read]

    def _pieces_by_tokenizer(self, words: Sequence[str]) -> list[tuple[int, ...]]:
        pieces: list[list[int]] = [[] for _ in words]
        if any(words):
            encoding = self._stored_tokenizer.made.encode(
                [encodable(word) for word in words], is_pretokenized=True, add_special_tokens=False
            )
            for piece, word in zip(encoding.ids, encoding.word_ids, strict=True):
                if word is not None:
                    pieces[word].append(piece)
        return [tuple(ids) for ids in pieces]

    def _sums(self, texts: Sequence[Indices]) -> Iterator[tuple[int, Floats]]:
        """The index of each text that has pieces, and the sum of the pieces' vectors."""
        rest = [row for row, ids in enumerate(texts) if len(ids)]
        if len(rest) >= _MIN_SPARSE_TEXTS:
            plain = [row for row in rest if texts[row].max() < self.card.tokens]
            yield from zip(plain, self._sums_of_tokens([texts[row] for row in plain]), strict=True)
            rest = sorted(set(rest).difference(plain))
        for row in rest:
            yield row, self._sum(texts[row])

    def _sums_of_tokens(self, texts: Sequence[Indices]) -> Iterable[Floats]:
        """`_sum` of each text, to the same bits; no piece may be an entry of the lexicon."""
        if not texts:
            return ()
        # Imported here because a gateway, which encodes one text at a time, does not need it.
        from scipy.sparse import csr_array

        ids = np.concatenate(texts)
        used = np.flatnonzero(np.bincount(ids, minlength=self.card.tokens))
        place = np.zeros(self.card.tokens, dtype=np.intp)
        place[used] = np.arange(len(used))
        # This product adds the rows of a text in their order, as `_sum` does.
        ends = np.cumsum([0, *map(len, texts)])
        counts = csr_array((np.ones(len(ids), dtype=np.float32), place[ids], ends), shape=(len(texts), len(used)))
        sums: Floats = counts @ self._scaled(used)
        return sums

    def _sum(self, ids: Indices) -> Floats:
        """The sum of the vectors of these pieces, in their order, on which the last bits depend."""
        tokens = self.card.tokens
        if ids.max() < tokens:
            rows = self._scaled(ids)
        else:
            english, weights = self._lexicon.expand(ids[ids >= tokens] - tokens)
            # In a long text the same tokens occur many times.
            english, place = np.unique(english, return_inverse=True)
            weights = np.bincount(place, weights).astype(np.float32)
            rows = np.concatenate([self._scaled(ids[ids < tokens]), self._scaled(english) * weights[:, None]])
        total: Floats = rows.sum(axis=0)
        return total

    @functools.cached_property
    def _frequent(self) -> Floats:
        return np.multiply(self._rows[:_FREQUENT_TOKENS], self._scales[:_FREQUENT_TOKENS, None])

    def _scaled(self, ids: Indices) -> Floats:
        """The vectors of these tokens. Stored as int8 and scaled on use, rows take a quarter of the memory."""
        vectors = self._frequent.take(ids, axis=0, mode="clip")
        rare = np.flatnonzero(ids >= len(self._frequent))
        if len(rare):
            rare_ids = ids.take(rare)
            rows = self._rows.take(rare_ids, axis=0).astype(np.float32)
            rows *= self._scales.take(rare_ids)[:, None]
            vectors[rare] = rows
        return vectors


def tokens_beside(text: str, pieces: int) -> int:
    """The tokens of the part of `text` that is read: these word pieces, and its letters of other scripts."""
    return pieces + _tokens_of_other_scripts(_clipped(text))


def tokens_of_pieces(text: str, pieces: int) -> int:
    """The estimate of a language model's tokens where the part of `text` that is read has so many word pieces."""
    return max(-(-len(text) // 4), pieces * len(text) // max(min(len(text), MAX_CHARACTERS), 1), 1)


def unit(vector: Floats) -> Floats:
    """`vector` scaled to length one; the zero vector stays zero."""
    norm = math.sqrt(np.add.reduce(np.square(vector)))
    return vector / np.float32(norm) if norm > 0 else vector


def _joined(pieces: Mapping[str, bytes], words: Sequence[str]) -> Indices:
    return np.frombuffer(b"".join(map(pieces.__getitem__, words)), dtype=np.intp)


def _clipped(text: str) -> str:
    """The part of `text` that is read."""
    if len(text) <= MAX_CHARACTERS:
        return text
    return f"{text[: MAX_CHARACTERS // 2]} {text[-MAX_CHARACTERS // 2 :]}"


def _tokens_of_other_scripts(text: str) -> int:
    """Estimate how many tokens the letters of other scripts make."""
    return sum(map(len, dense().findall(text))) + (sum(map(len, alphabetic().findall(text))) + 1) // 2


def _is_plain(word: str) -> bool:
    # A bracket may begin one of the special tokens, such as [MASK], which the tokenizer does not split.
    return word.isascii() and word.isprintable() and "[" not in word
