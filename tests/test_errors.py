"""Suggestions and excerpts in errors."""

from __future__ import annotations

from router.errors import did_you_mean, excerpt


def test_a_similar_name_is_suggested() -> None:
    assert did_you_mean("gpt4o", ["gpt-4o", "claude"]) == '; did you mean "gpt-4o"?'


def test_no_name_is_suggested_for_a_word_that_is_longer_than_any_name() -> None:
    # Comparing it would take seconds for some megabytes.
    assert did_you_mean("a" * 250, ["a" * 240]) == ""


def test_an_error_quotes_only_the_beginning_of_a_long_name() -> None:
    assert excerpt("gpt-4o") == "gpt-4o"
    assert excerpt("x" * 8_000_000) == "x" * 200 + "…"
