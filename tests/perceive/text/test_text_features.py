from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from router.perceive.text.text_features import NAMES, WIDTH, surface_features

# A feature's name, a text without the property, a text with it.
REACTIONS = [
    ("log_characters", "short", "a much longer text than that"),
    ("log_words", "one", "one two three four"),
    ("word_length", "a bc de", "extraordinarily longwinded"),
    ("share_lower", "ABC", "abc"),
    ("share_upper", "abc", "ABC"),
    ("share_digit", "abc", "a12"),
    ("share_space", "abc", "a c"),
    ("share_newline", "a c", "a\nc"),
    ("share_operator", "abc", "a+c"),
    ("share_bracket", "abc", "(b)"),
    ("share_quote", "abc", '"b"'),
    ("share_punctuation", "abc", "a,c"),
    ("share_latin", "abc", "äbc"),
    ("share_cyrillic", "abc", "Привет"),
    ("share_arabic", "abc", "مرحبا"),
    ("share_indic", "abc", "नमस्ते"),
    ("share_cjk", "abc", "你好"),
    ("share_cjk", "abc", "안녕"),
    ("share_other", "abc", "👍"),
    ("share_greek", "Привет", "Γειά"),
    ("share_hebrew", "مرحبا", "שלום"),
    ("share_south_east_asian", "👍", "สวัสดี"),
    ("share_kana", "你好", "こんにちは"),
    ("share_hangul", "你好", "안녕"),
    ("log_lines", "a b", "a\nb\nc"),
    ("log_options", "Pick one.", "Pick one.\nA) red\nB) blue"),
    ("log_options", "Pick one.", "Pick (A) or (B)."),
    ("log_numbers", "no number", "1 and 22 and 333"),
    ("log_longest_number", "12 34", "123456"),
    ("log_code", "hello", "```\ndef f(x):\n    return x\n```"),
    ("log_latex", "x squared", r"$x^2 + \alpha$"),
    ("log_questions", "Why not", "Why? How?"),
    ("ends_with_question", "Why? Say it.", "Say it. Why? "),
    ("first_word_0", "Tell me", "What is it"),
    ("first_word_1", "Tell me", "Who is it"),
    ("first_word_2", "Tell me", "When is it"),
    ("first_word_3", "Tell me", "Why, though"),
    ("first_word_4", "Tell me", "HOW to"),
    ("first_word_5", "Tell me", '"Is it"'),
    ("first_word_6", "Tell me", "Write it"),
    ("first_word_7", "Tell me", "Solve it"),
    ("first_word_8", "Tell me", "Translate: it"),
    ("phrase_0", "a _ b", "a ____ b"),
    ("phrase_2", "snake", "in Python"),
    ("phrase_9", "I am", "You are a helpful assistant"),
]

# A share, and the wider share that includes it.
PARTS = {
    "share_greek": "share_cyrillic",
    "share_hebrew": "share_arabic",
    "share_south_east_asian": "share_other",
    "share_kana": "share_cjk",
    "share_hangul": "share_cjk",
}
GREETINGS = ("hello", "grüß", "Γειά", "Привет", "שלום", "مرحبا", "नमस्ते", "สวัสดี", "你好", "こんにちは", "안녕")


def feature(name: str, text: str, turns: int = 1) -> float:
    return float(surface_features(text, turns)[NAMES.index(name)])


@pytest.mark.parametrize(("name", "without", "with_it"), REACTIONS)
def test_a_feature_is_greater_for_a_text_with_the_property(name: str, without: str, with_it: str) -> None:
    assert feature(name, with_it) > feature(name, without)


def test_all_features_have_different_names() -> None:
    assert len(set(NAMES)) == len(NAMES) == WIDTH


def test_the_number_of_turns_is_a_feature() -> None:
    assert feature("log_turns", "hi", turns=5) == pytest.approx(np.log1p(5))


def test_the_longest_number_is_the_longest_run_of_digits() -> None:
    assert feature("log_longest_number", "12 3456 7") == pytest.approx(np.log1p(4))


def test_a_number_at_the_very_end_and_start_is_counted() -> None:
    assert feature("log_numbers", "12 is 13") == pytest.approx(np.log1p(2))


@given(st.text(max_size=300), st.integers(1, 1000))
@example("", 1)
@example("\ud800", 1)
@example("\U0010ffff", 1)
@settings(deadline=None)
def test_features_of_any_text_are_finite_and_bounded(text: str, turns: int) -> None:
    features = surface_features(text, turns)
    assert features.dtype == np.float32
    assert features.shape == (WIDTH,)
    assert np.isfinite(features).all()
    assert (features >= 0).all()
    assert (features <= 40).all()


@given(st.text(max_size=300))
@settings(deadline=None)
def test_the_shares_of_a_text_sum_to_one(text: str) -> None:
    shares = [
        value
        for name, value in zip(NAMES, surface_features(text), strict=True)
        if "share_" in name and name not in PARTS
    ]
    assert sum(shares) == pytest.approx(1.0 if text else 0.0, abs=1e-5)


@given(st.text(max_size=100))
@settings(deadline=None)
def test_the_same_text_gives_the_same_bits(text: str) -> None:
    assert surface_features(text).tobytes() == surface_features(text).tobytes()


def test_features_of_a_megabyte_are_bounded() -> None:
    features = surface_features("9?$(A)```\n" * 100_000)
    assert np.isfinite(features).all()
    assert features.max() <= 40


@pytest.mark.parametrize(("part", "whole"), PARTS.items())
def test_the_share_of_a_script_is_part_of_the_wider_share(part: str, whole: str) -> None:
    text = "".join(GREETINGS) + "👍"
    assert 0 < feature(part, text) < feature(whole, text)


def test_all_scripts_have_different_shares() -> None:
    shares = {tuple(surface_features(text)[[name.startswith("share_") for name in NAMES]]) for text in GREETINGS[2:]}
    assert len(shares) == len(GREETINGS) - 2


@given(st.text(st.sampled_from("ab1 \n\t\x1c\x1f.($;=:#`S"), min_size=2_990, max_size=3_010))
@settings(deadline=None, max_examples=20)
def test_words_and_numbers_of_a_long_text_are_counted_as_in_a_short_text(text: str) -> None:
    assert feature("log_words", text) == np.float32(np.log1p(len(text.split())))
    numbers = re.findall("[0-9]+", text)
    assert feature("log_numbers", text) == np.float32(np.log1p(len(numbers)))
    assert feature("log_longest_number", text) == np.float32(np.log1p(max(map(len, numbers), default=0)))
