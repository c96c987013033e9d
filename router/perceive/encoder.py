"""Encoders: texts in, float32 vectors of shape `(texts, dimensions)` out.

The default is a table of token vectors distilled from a sentence-transformers model. A text's vector is the
mean of its tokens' vectors, scaled to length one. Words of other scripts than the Latin one, which the English
tokenizer cannot read, stand for the English tokens that `router.perceive.lexicon` gives them.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from tokenizers import Tokenizer

from router.errors import ArtifactError
from router.formats.json import encodable
from router.perceive.artifact import check_hashes, read_arrays, read_manifest
from router.perceive.lexicon import DENSE, SPELLED, Lexicon, is_foreign, normalised, split
from router.types import Floats, Indices

FORMAT = "pulvinar-encoder"
VERSION = 2
FILES = ("vectors.npy", "scales.npy", "tokenizer.json", "lexicon.npz")
MAX_CHARACTERS = 16_000
"""Of a longer text the first and the last half of this many characters are read."""

_COMMON = 6_000
"""The ids below this are the most frequent tokens of English: their rows are kept scaled."""

_MANY, _TEXTS_AT_A_TIME = 32, 512
_MEMO_CHARACTERS = 400_000
_PARTS = re.compile(r"[A-Za-z0-9]+|[^A-Za-z0-9]")
_ENTRY_CHARACTERS = 8
"""What keeping one more word costs beside its characters, so that short words are bounded too."""


class Encoder(Protocol):
    """Turns texts into vectors, always the same for the same text."""

    @property
    def name(self) -> str:
        """What `--encoder` calls it."""

    @property
    def fingerprint(self) -> str:
        """Changes when any vector would."""

    @property
    def dimensions(self) -> int:
        """Width of a vector."""

    def encode(self, texts: Sequence[str]) -> Floats:
        """float32 of shape `(len(texts), dimensions)`; the zero vector for a text without tokens."""

    def count_tokens(self, text: str) -> int:
        """About how many tokens a language model would read."""


class EncoderCard(Struct, frozen=True, forbid_unknown_fields=True):
    """`encoder.json`: what a folder holds."""

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
    """The token table in a folder: `encoder.json`, `vectors.npy` (int8), `scales.npy` (float32),
    `tokenizer.json`, `lexicon.npz`.
    """

    def __init__(
        self, card: EncoderCard, rows: NDArray[np.int8], scales: Floats, tokenizer: Tokenizer, lexicon: Lexicon
    ) -> None:
        self.card, self._rows, self._scales, self._lexicon = card, rows, scales, lexicon
        self._common: Floats = np.multiply(rows[:_COMMON], scales[:_COMMON, None])
        self._tokenizer, self._model = tokenizer, tokenizer.model
        self.name = card.name
        self.dimensions = card.dimensions
        # The version stands for how this module reads the files.
        read = msgspec.json.encode((card.version, card.sha256), order="sorted")
        self.fingerprint = hashlib.sha256(read).hexdigest()[:16]
        # Pieces as the bytes of an array: joining those of many words costs little.
        self._memo: dict[str, bytes] = {}
        self._memo_characters = 0
        self._last: tuple[str, Indices] = ("", np.zeros(0, dtype=np.intp))

    @classmethod
    def load(cls, folder: Path) -> StaticEncoder:
        """Read a folder. Raises ArtifactError where a file is missing, damaged or of another version."""
        card = read_manifest(folder / "encoder.json", EncoderCard, FORMAT, VERSION)
        check_hashes(folder, card.sha256, FILES)
        quantised = read_arrays(folder / "vectors.npy")["vectors"]
        scales = read_arrays(folder / "scales.npy")["scales"]
        if quantised.shape != (card.tokens, card.dimensions) or scales.shape != (card.tokens,):
            raise ArtifactError(f"{folder}: the token table has not the shape that encoder.json states")
        if quantised.dtype != np.int8 or scales.dtype != np.float32:
            raise ArtifactError(f"{folder}: the token table is not int8 with float32 scales")
        tokenizer = _tokenizer(folder / "tokenizer.json", card.tokens)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        lexicon = Lexicon.load(folder / "lexicon.npz", card.tokens)
        if len(lexicon) != card.words:
            raise ArtifactError(f"{folder}: the lexicon has not as many words as encoder.json states")
        return cls(card, quantised, scales, tokenizer, lexicon)

    def encode(self, texts: Sequence[str]) -> Floats:
        """See `Encoder.encode`. A batch gives the same bits as single calls."""
        vectors = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for start in range(0, len(texts), _TEXTS_AT_A_TIME):
            ids = [self._ids(text) for text in texts[start : start + _TEXTS_AT_A_TIME]]
            for row, total in self._sums(ids):
                vectors[start + row] = unit(total)
        return vectors

    def count_tokens(self, text: str) -> int:
        """Word pieces, or a quarter of the characters where that is more. Of other scripts, whose pieces are longer
        here than a language model's, each Han, kana or Hangul character counts as one, two other letters as one.
        """
        read = min(len(text), MAX_CHARACTERS)
        ids = self._ids(text)
        pieces = len(ids)
        if pieces and ids.max() >= self.card.tokens:
            pieces = int(np.count_nonzero(ids < self.card.tokens)) + _spelled(_ends(text))
        return max(-(-len(text) // 4), pieces * len(text) // max(read, 1), 1)

    def pieces(self, text: str) -> list[int]:
        """Token ids of `text`, without special tokens; from `card.tokens` on, entries of the lexicon.

        The tokenizer never looks across white space, so what it says of a word is remembered. One difference
        is meant: the control characters that Python counts as white space (U+000B, U+000C, U+001C to U+001F,
        U+0085) end a word here, where the tokenizer alone would drop them and join their neighbours.
        """
        found: list[int] = self._ids(text).tolist()
        return found

    def _ids(self, text: str) -> Indices:
        text = _ends(text)
        # Encoding and counting ask for the same text, one after the other.
        last, found = self._last
        if last != text:
            words = text.split()
            try:
                found = _joined(self._memo, words)
            except KeyError:
                found = _joined(self._memo_with(words), words)
            self._last = text, found
        return found

    def _memo_with(self, words: Sequence[str]) -> Mapping[str, bytes]:
        """The memo, with the pieces of these words in it."""
        if self._memo_characters > _MEMO_CHARACTERS:
            self._memo, self._memo_characters = {}, 0
        memo = self._memo
        missing = [word for word in dict.fromkeys(words) if word not in memo]
        if missing:
            # The tokenizer cuts at every mark, so a new word is often a known one with marks around it.
            parts = {word: _PARTS.findall(word) if _is_plain(word) else (word,) for word in missing}
            new = [part for part in dict.fromkeys(itertools.chain.from_iterable(parts.values())) if part not in memo]
            memo.update({part: np.array(ids, np.intp).tobytes() for part, ids in self._pieces_of(new).items()})
            memo.update({word: b"".join(map(memo.__getitem__, own)) for word, own in parts.items()})
            self._memo_characters += sum(map(len, missing)) + _ENTRY_CHARACTERS * (len(missing) + len(new))
        return memo

    def _pieces_of(self, words: Sequence[str]) -> dict[str, tuple[int, ...]]:
        # Of plain words the tokenizer's own steps leave only lower case and the split into pieces.
        plain = [word for word in words if _is_plain(word)]
        found = {word: tuple(token.id for token in self._model.tokenize(word.lower())) for word in plain}
        foreign = [word for word in words if word not in found and is_foreign(word)]
        found.update(zip(foreign, self._pieces_of_foreign(foreign), strict=True))
        others = [word for word in words if word not in found]
        found.update(zip(others, self._pieces_by_tokenizer(others), strict=True))
        return found

    def _pieces_of_foreign(self, words: Sequence[str]) -> list[tuple[int, ...]]:
        runs = [split(normalised(encodable(word))) for word in words]
        between = iter(self._pieces_by_tokenizer([gap for parts in runs for gap in parts[::2]]))
        base, entries = self.card.tokens, self._lexicon.entries
        found = []
        for parts in runs:
            pieces: list[int] = []
            for position, part in enumerate(parts):
                pieces += [base + entry for entry in entries(part)] if position % 2 else next(between)
            found.append(tuple(pieces))
        return found

    def _pieces_by_tokenizer(self, words: Sequence[str]) -> list[tuple[int, ...]]:
        pieces: list[list[int]] = [[] for _ in words]
        if any(words):
            encoding = self._tokenizer.encode(
                [encodable(word) for word in words], is_pretokenized=True, add_special_tokens=False
            )
            for piece, word in zip(encoding.ids, encoding.word_ids, strict=True):
                if word is not None:
                    pieces[word].append(piece)
        return [tuple(ids) for ids in pieces]

    def _sums(self, texts: Sequence[Indices]) -> Iterator[tuple[int, Floats]]:
        """Which texts have pieces, and the sum of the vectors of these."""
        rest = [row for row, ids in enumerate(texts) if len(ids)]
        if len(rest) >= _MANY:
            plain = [row for row in rest if texts[row].max() < self.card.tokens]
            yield from zip(plain, self._sums_of_tokens([texts[row] for row in plain]), strict=True)
            rest = sorted(set(rest).difference(plain))
        for row in rest:
            yield row, self._sum(texts[row])

    def _sums_of_tokens(self, texts: Sequence[Indices]) -> Iterable[Floats]:
        """As `_sum` of each text, to the same bits, where no piece is an entry of the lexicon."""
        if not texts:
            return ()
        # Only for long work on many texts: a gateway need not import it.
        from scipy.sparse import csr_array

        ids = np.concatenate(texts)
        used = np.flatnonzero(np.bincount(ids, minlength=self.card.tokens))
        place = np.zeros(self.card.tokens, dtype=np.intp)
        place[used] = np.arange(len(used))
        # Such a product adds the rows of a text in their order, as `_sum` does.
        ends = np.cumsum([0, *map(len, texts)])
        counts = csr_array((np.ones(len(ids), dtype=np.float32), place[ids], ends), shape=(len(texts), len(used)))
        sums: Floats = counts @ self._scaled(used)
        return sums

    def _sum(self, ids: Indices) -> Floats:
        """The sum of the vectors of these pieces, in their order: the last bits depend on it."""
        tokens = self.card.tokens
        if ids.max() < tokens:
            rows = self._scaled(ids)
        else:
            meant, weights = self._lexicon.expand(ids[ids >= tokens] - tokens)
            # A long text means the same tokens again and again.
            meant, place = np.unique(meant, return_inverse=True)
            weights = np.bincount(place, weights).astype(np.float32)
            rows = np.concatenate([self._scaled(ids[ids < tokens]), self._scaled(meant) * weights[:, None]])
        total: Floats = rows.sum(axis=0)
        return total

    def _scaled(self, ids: Indices) -> Floats:
        """The vectors of these tokens. Kept as int8 and scaled as they are used, rows take a quarter of the memory."""
        found = self._common.take(ids, axis=0, mode="clip")
        rare = np.flatnonzero(ids >= len(self._common))
        if len(rare):
            named = ids.take(rare)
            rows = self._rows.take(named, axis=0).astype(np.float32)
            rows *= self._scales.take(named)[:, None]
            found[rare] = rows
        return found


def unit(vector: Floats) -> Floats:
    """`vector` scaled to length one; the zero vector as it is."""
    norm = math.sqrt(np.add.reduce(np.square(vector)))
    return vector / np.float32(norm) if norm > 0 else vector


def _joined(pieces: Mapping[str, bytes], words: Sequence[str]) -> Indices:
    return np.frombuffer(b"".join(map(pieces.__getitem__, words)), dtype=np.intp)


def _ends(text: str) -> str:
    """What is read of `text`."""
    if len(text) <= MAX_CHARACTERS:
        return text
    return f"{text[: MAX_CHARACTERS // 2]} {text[-MAX_CHARACTERS // 2 :]}"


def _spelled(text: str) -> int:
    """About how many tokens the letters of other scripts make."""
    return sum(map(len, DENSE.findall(text))) + (sum(map(len, SPELLED.findall(text))) + 1) // 2


def _is_plain(word: str) -> bool:
    # A bracket may open one of the tokenizer's own marks, such as [MASK], which it never cuts.
    return word.isascii() and word.isprintable() and "[" not in word


def _tokenizer(file: Path, tokens: int) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_str(file.read_text(encoding="utf-8"))
    except Exception as error:  # noqa: BLE001 - tokenizers raises nothing narrower
        raise ArtifactError(f"{file}: is damaged: {error}") from None
    if tokenizer.get_vocab_size() > tokens:
        raise ArtifactError(f"{file}: has {tokenizer.get_vocab_size()} tokens, the token table {tokens}")
    return tokenizer
