from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.perceive.features import feature_vector, feature_vectors, vector_width
from router.perceive.reader import (
    CONTEXT_FEATURES,
    GRAM_BITS,
    READINGS,
    Context,
    Reader,
    ReaderParameters,
    context_features,
    corrected,
    gram_hashes,
)
from router.perceive.text.encoder import StaticEncoder
from router.types import Floats

WIDTH = 5
TEXTS = ("", " ", "hi", "你好吗", "🙂", "e\u0301 \ud800 half", "x" * 9_000, "Straße ΣΊΣΥΦΟΣ İ", "\u200b\u00a0")


def made(width: int = WIDTH) -> Reader:
    """A reader with random weights."""
    rng = np.random.default_rng(0)

    def drawn(*shape: int) -> Floats:
        return rng.normal(size=shape).astype(np.float32)

    dense = width + CONTEXT_FEATURES
    return Reader(
        ReaderParameters(
            grams=drawn(2**GRAM_BITS, READINGS),
            center=drawn(dense),
            scale=np.abs(drawn(dense)) + np.float32(0.1),
            weights=drawn(dense, READINGS),
            intercept=drawn(READINGS),
            landmarks=rng.integers(-127, 128, size=(3, width)).astype(np.int8),
            landmark_scale=np.full(3, 0.005, np.float32),
            landmark_weights=drawn(3, READINGS),
            curve=np.array([[-2, 0, 2], [-3, 0.5, 2.5]], np.float32),
        )
    )


READER = made()
ZEROS = np.zeros(WIDTH, np.float32)


def test_a_reading_is_corrected_between_the_points_of_the_curve_and_shifted_beyond_them() -> None:
    curve = np.array([[-1, 1], [-3, 2]], np.float32)
    assert corrected(np.array([-2.0, -1, 0, 1, 4]), curve).tolist() == [-4, -3, -0.5, 2, 5]


@pytest.mark.parametrize("text", TEXTS)
def test_any_text_has_a_finite_reading(text: str) -> None:
    reading = READER((text,), ZEROS)
    assert reading.shape == (READINGS,)
    assert reading.dtype == np.float32
    assert np.isfinite(reading).all()


@given(st.text(max_size=200))
def test_the_shares_of_families_are_at_most_one_together(text: str) -> None:
    shares = READER((text,), ZEROS)[1:]
    assert (shares >= 0).all()
    assert shares.sum() <= 1 + 1e-6


@given(st.text(max_size=200))
def test_hashes_are_rows_of_the_weights(text: str) -> None:
    hashes = gram_hashes(text)
    assert ((hashes >= 0) & (hashes < 2**GRAM_BITS)).all()


def test_a_text_has_one_hash_for_each_of_its_n_grams() -> None:
    # " abc " has four bigrams and two 4-grams.
    assert len(gram_hashes("abc")) == 4 + 2
    assert len(gram_hashes("")) == 1


def test_the_same_n_gram_has_the_same_hash_wherever_it_stands() -> None:
    assert set(gram_hashes("lock-free")) <= set(gram_hashes("a lock-free list"))
    assert not set(gram_hashes("zzz qqq")) <= set(gram_hashes("a lock-free list"))


def test_case_and_blanks_do_not_matter() -> None:
    assert gram_hashes("  What\n\tIS this ").tolist() == gram_hashes("what is this").tolist()


def test_few_of_many_n_grams_share_a_hash() -> None:
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 1_000)))
    grams = 2 * len(text)
    assert len(set(gram_hashes(text).tolist())) > 0.93 * grams


def test_of_a_long_text_the_beginning_and_the_end_are_read() -> None:
    middle = "b" * 1_000_000
    one, other = gram_hashes("a" * 3_000 + middle + "c" * 1_000), gram_hashes("a" * 3_000 + "d" + middle + "c" * 1_000)
    assert one.tolist() == other.tolist()
    assert len(one) < 20_000
    assert set(gram_hashes("c" * 50)[1:-3]) <= set(one)


def test_a_million_characters_have_a_reading() -> None:
    assert np.isfinite(READER(("word " * 200_000,), ZEROS)).all()


def test_no_feature_can_outweigh_all_others() -> None:
    extreme = np.full(WIDTH, 1e15, np.float32)
    assert np.abs(READER(("hi",), extreme)).max() < 1_000


def test_readings_are_the_same_alone_and_among_others(encoder: StaticEncoder) -> None:
    reader = made(vector_width(encoder))
    conversations = [(text,) for text in TEXTS] + [("Sort a list in Python.", "and in Rust?")]
    together = feature_vectors(encoder, conversations, reader)
    for row, turns in zip(together, conversations, strict=True):
        assert row.tobytes() == feature_vector(encoder, turns, reader).tobytes()


def test_without_a_context_nothing_but_the_turns_stands_around_them() -> None:
    assert context_features(("ab", "c"), None).tolist() == context_features(("ab", "c"), Context(3, 2)).tolist()


def test_the_context_is_part_of_the_reading() -> None:
    alone, among = READER(("hi",), ZEROS), READER(("hi",), ZEROS, Context(100_000, 40, tools=True))
    assert not np.array_equal(alone, among)
