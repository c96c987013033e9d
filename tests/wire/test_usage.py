"""Token usage in the formats of the vendors."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.types import Usage
from router.wire.usage import read_usage, usage_in

OPENAI = {"prompt_tokens": 100, "completion_tokens": 20}


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (OPENAI, Usage(100, 20)),
        ({**OPENAI, "prompt_tokens_details": {"cached_tokens": 60}}, Usage(100, 20, 60)),
        ({**OPENAI, "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30}}, Usage(100, 20, 60, 30)),
        ({**OPENAI, "completion_tokens_details": {"reasoning_tokens": 15}}, Usage(100, 20, reasoning_tokens=15)),
        ({**OPENAI, "prompt_tokens_details": None}, Usage(100, 20)),
        ({**OPENAI, "prompt_cache_hit_tokens": 60, "prompt_cache_miss_tokens": 40}, Usage(100, 20, 60)),
        (
            {"input_tokens": 100, "output_tokens": 20, "input_tokens_details": {"cached_tokens": 60}},
            Usage(100, 20, 60),
        ),
        (
            {"input_tokens": 10, "output_tokens": 20, "cache_read_input_tokens": 60, "cache_creation_input_tokens": 30},
            Usage(100, 20, 60, 30),
        ),
        ({"input_tokens": 10, "output_tokens": 20, "cache_creation_input_tokens": None}, Usage(10, 20)),
        (
            {
                **OPENAI,
                "prompt_tokens_details": {"cached_tokens": 60},
                "cache_read_input_tokens": 60,
                "cache_creation_input_tokens": 0,
            },
            Usage(100, 20, 60),
        ),
    ],
    ids=[
        "openai",
        "openai-cached",
        "openai-cache-write",
        "openai-reasoning",
        "openai-null-details",
        "deepseek",
        "responses",
        "anthropic",
        "anthropic-null-cache",
        "anthropic-through-litellm",
    ],
)
def test_usage_is_read_in_every_format(usage: dict[str, Any], expected: Usage) -> None:
    assert read_usage(usage) == expected


@pytest.mark.parametrize("count", [-1, True, 1.5, "12", None, [], {}])
def test_a_count_that_is_not_a_positive_whole_number_counts_as_zero(count: Any) -> None:
    assert read_usage({"prompt_tokens": count, "completion_tokens": count}) == Usage(0, 0)


def test_cached_tokens_are_never_more_than_the_input() -> None:
    assert read_usage({**OPENAI, "prompt_tokens_details": {"cached_tokens": 500}}).cached_input_tokens == 100


def test_later_events_complete_earlier_ones() -> None:
    start = {"message": {"usage": {"input_tokens": 7, "cache_read_input_tokens": 3, "output_tokens": 1}}}
    earlier = usage_in(start)
    assert earlier == Usage(10, 1, 3)
    assert usage_in({"usage": {"output_tokens": 42}}, earlier) == Usage(10, 42, 3)


def test_tokens_written_to_the_cache_are_kept_by_later_events() -> None:
    start = {"message": {"usage": {"input_tokens": 7, "cache_creation_input_tokens": 4, "output_tokens": 1}}}
    assert usage_in({"usage": {"output_tokens": 42}}, usage_in(start)) == Usage(11, 42, 0, 4)


@pytest.mark.parametrize("message", [{}, {"usage": None}, {"usage": {}}, {"usage": "none"}, {"response": 7}])
def test_a_message_without_usage_reports_none(message: dict[str, Any]) -> None:
    assert usage_in(message) is None
    assert usage_in(message, Usage(1, 2)) == Usage(1, 2)


def test_a_responses_event_reports_usage_inside_the_response() -> None:
    assert usage_in({"type": "response.completed", "response": {"usage": {"input_tokens": 3}}}) == Usage(3, 0)


@given(st.dictionaries(st.sampled_from([*OPENAI, "cache_read_input_tokens", "prompt_tokens_details"]), st.integers()))
def test_any_usage_has_counts_of_at_least_zero(usage: dict[str, Any]) -> None:
    read = read_usage(usage)
    assert min(read.input_tokens, read.output_tokens, read.cached_input_tokens, read.cache_write_tokens) >= 0
