from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.perceive.text.lexicon import Lexicon, is_foreign, normalised, split

WORDS = ["вод", "вода", "а", "水", "水曜日"]


@pytest.fixture(scope="module")
def lexicon() -> Lexicon:
    tokens = np.arange(len(WORDS) * 2, dtype=np.uint16).reshape(-1, 2)
    return Lexicon("\n".join(WORDS), tokens, np.full(tokens.shape, 51, dtype=np.uint8))


def words_of(lexicon: Lexicon, run: str) -> list[str]:
    return [WORDS[entry] if entry < len(WORDS) else "?" for entry in lexicon.entries(run)]


def test_the_longest_matching_entry_is_taken(lexicon: Lexicon) -> None:
    assert words_of(lexicon, "водавода") == ["вода", "вода"]
    assert words_of(lexicon, "水曜日水曜") == ["水曜日", "水", "?"]


def test_an_entry_expands_to_its_tokens_and_weights(lexicon: Lexicon) -> None:
    tokens, weights = lexicon.expand(np.array([1, 3]))
    np.testing.assert_array_equal(tokens, [2, 3, 6, 7])
    np.testing.assert_allclose(weights, 0.2)


def test_a_hashed_letter_is_a_difference_of_two_tokens(lexicon: Lexicon) -> None:
    entries = np.array(list(lexicon.entries("ჟჟ")))
    tokens, weights = lexicon.expand(entries)
    assert len(entries) == 3
    assert weights.sum() == 0
    assert len(set(tokens.tolist())) == 4


def test_characters_that_are_no_letters_and_have_no_entry_are_skipped(lexicon: Lexicon) -> None:
    assert not list(lexicon.entries("।"))


@pytest.mark.parametrize("word", ["hello", "naïve", "π", "Δ=3", "2π", "Δλ/λ", "δβ", "👍", "ѵ", "“x”", "ﬁ", ""])
def test_latin_and_mathematical_words_are_not_foreign(word: str) -> None:
    assert not is_foreign(word)


@pytest.mark.parametrize("word", ["привет", "и", "x-привет", "中", "Λόγος", "το", "สวัสดี", "안", "ሰላም", "ﾃｽﾄ", "𠀋"])
def test_words_of_other_scripts_are_foreign(word: str) -> None:
    assert is_foreign(word)


def test_a_word_is_split_into_text_between_runs_and_runs() -> None:
    assert split(normalised("Wi-Fiで接続、OK")) == ["wi-fi", "で接続", "、ok"]


@given(st.text())
def test_the_parts_joined_are_the_word(text: str) -> None:
    assert "".join(split(text)) == text


@given(st.text(max_size=50))
def test_any_text_has_entries_that_expand(lexicon: Lexicon, text: str) -> None:
    for run in split(normalised(text))[1::2]:
        entries = np.array(list(lexicon.entries(run)), dtype=np.intp)
        tokens, weights = lexicon.expand(entries)
        assert tokens.shape == weights.shape
        assert np.isfinite(weights).all()
        assert (tokens >= 0).all()
        assert (tokens < 22_000).all()
