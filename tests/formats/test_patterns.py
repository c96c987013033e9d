"""Patterns that operators and clients write."""

from __future__ import annotations

import re
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.formats.patterns import invalid_pattern, pattern_found

SLOW = r"(?:a|aa)+(?:b|bb)+x|yes$"


def found(pattern: str, text: str) -> bool | None:
    return pattern_found(pattern, text, seconds=0.05)


def test_a_pattern_is_found_anywhere_in_a_text() -> None:
    assert found(r"order \d+", "your order 17")
    assert found(r"order \d+", "no order") is False


def test_a_pattern_that_cannot_be_read_or_takes_too_long_is_neither_found_nor_missed() -> None:
    assert found("(", "(") is None
    assert found(SLOW, "a" * 30_000 + "yes") is None


def test_a_pattern_is_searched_in_the_beginning_of_a_long_text() -> None:
    assert found("^yes", "yes" + "a" * 200_000)
    assert found("yes", "a" * 200_000 + "yes") is False


@pytest.mark.parametrize("pattern", ["(", "a**", "[a", "a{99999999999}", "(" * 900 + ")" * 900])
def test_an_invalid_pattern_is_reported(pattern: str) -> None:
    assert invalid_pattern(pattern).startswith("is no regular expression: ")


@pytest.mark.parametrize("pattern", [r"\p{Lu}+", r"\N{LATIN SMALL LETTER A}", "{e}", '{"a"', "x{2,3}", r"(?<=a+)b"])
def test_a_pattern_may_contain_braces_and_more_than_re_reads(pattern: str) -> None:
    assert invalid_pattern(pattern) == ""


@pytest.mark.parametrize("text", ["y", "x", "ex"])
def test_no_text_matches_with_errors(text: str) -> None:
    assert found("(x{e})", text) is False
    assert found("(x{e})", "the x{e} itself")


PIECES = ["x", "{", "}", "e", "1", ",", "{e}", "{1}", "{,2}", "{1,}", "{}", "{,}", "(", ")", "[", "]", r"\{", "\\"]
PIECES += ["^", "a", "|", "?", "*", "{e<=1}", "{ 1 }", ".", "[{e}]", "[^{]", r"\}", "{2,1}", "-"]


@settings(max_examples=1000, deadline=None)
@given(
    pattern=st.lists(st.sampled_from(PIECES), min_size=1, max_size=7).map("".join),
    text=st.text("x{}e1,ay[]<= ", max_size=8),
)
def test_a_pattern_that_re_reads_means_the_same(pattern: str, text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            expected = re.compile(pattern)
        except re.error:
            return
        for each in (text, pattern):
            assert found(pattern, each) == (expected.search(each) is not None)
