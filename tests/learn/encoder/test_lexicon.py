from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from router.learn.encoder.lexicon import Word, choose_words, translate, vocabulary, whole_words

PIECES = [("▁вода", -8.0), ("▁Вода", -10.0), ("▁water", -7.0), ("和", -6.0), ("▁水", -7.5), ("१", -9.0), ("▁", -2.0)]


def test_the_vocabulary_of_a_model_file_is_read(tmp_path: Path) -> None:
    texts = [piece.encode() for piece, _ in PIECES]
    offsets = np.cumsum([0, *map(len, texts)]).astype("<u4")
    head = b"E5S1" + struct.pack("<10i", *range(10)) + struct.pack("<5iQ", len(PIECES), 0, 1, 2, 3, int(offsets[-1]))
    scores = np.array([score for _, score in PIECES], dtype="<f4")
    (tmp_path / "model.bin").write_bytes(head + offsets.tobytes() + scores.tobytes() + b"".join(texts) + b"weights")
    assert vocabulary(tmp_path / "model.bin") == PIECES


def test_words_of_other_scripts_are_chosen_once_and_by_frequency() -> None:
    assert choose_words(PIECES) == [Word("和", -6.0, "CJK"), Word("水", -7.5, "CJK"), Word("вода", -8.0, "CYRILLIC")]


def test_a_script_has_a_maximum_number_of_words() -> None:
    letters = [chr(0x10D0 + offset) for offset in range(30)]
    words = [(f"{one}{other}", -float(n)) for n, (one, other) in enumerate((a, b) for a in letters for b in letters)]
    entries = choose_words([*words, ("ა", -1e6)])
    assert len(entries) == 501
    assert entries[-1].text == "ა"


def test_whole_words_are_those_of_at_least_two_letters_by_id() -> None:
    assert list(whole_words({"water": 9, "##er": 3, "a": 4, "fire": 5, "é": 6, "[UNK]": 1}).items()) == [
        ("fire", 5),
        ("water", 9),
    ]


@pytest.fixture
def planted() -> tuple[list[Word], np.ndarray, np.ndarray, np.ndarray]:
    """Words of two scripts whose vectors are those of English tokens plus an offset for each script."""
    rng = np.random.default_rng(0)
    english = rng.normal(size=(40, 64)).astype(np.float32)
    scripts = ["CYRILLIC" if n % 2 else "CJK" for n in range(40)]
    words = [Word(f"{n:02d}", -6.0 if n == 7 else -12.0, script) for n, script in enumerate(scripts)]
    offsets = {"CYRILLIC": 3.0, "CJK": -3.0}
    word_vectors = english + np.array([[offsets[script]] for script in scripts], dtype=np.float32)
    return words, word_vectors.astype(np.float32), np.arange(100, 140), english


def test_a_word_is_translated_to_the_token_with_its_vector(planted: tuple) -> None:
    lexicon = translate(*planted)
    tokens, weights = lexicon.expand(np.arange(40))
    best = tokens.reshape(40, -1)[np.arange(40), weights.reshape(40, -1).argmax(axis=1)]
    np.testing.assert_array_equal(best, np.arange(100, 140))


def test_a_frequent_word_has_a_smaller_weight(planted: tuple) -> None:
    _, weights = translate(*planted).expand(np.arange(40))
    totals = weights.reshape(40, -1).sum(axis=1)
    assert totals[7] < 0.3 < totals[[6, 8]].min()


def test_the_same_words_and_vectors_give_the_same_file(planted: tuple, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("one.npz", "other.npz")]
    for file in files:
        translate(*planted).save(file)
    assert files[0].read_bytes() == files[1].read_bytes()
