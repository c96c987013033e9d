"""Token usage in the words of every vendor."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.types import Usage
from router.wire.usage import MAX_TOKENS, VOCABULARIES, may_report, read_usage, usage_in
from router.wire.usage.vocabularies import COUNTS, HOLDERS

OPENAI = {"prompt_tokens": 100, "completion_tokens": 20}
RESPONSES = {"input_tokens": 100, "output_tokens": 20}
# What each vendor's server sends, from its documentation or its bug reports, and how it is read.
VENDORS: dict[str, tuple[dict[str, Any], Usage]] = {
    "openai": (OPENAI, Usage(100, 20)),
    "openai-cached": ({**OPENAI, "prompt_tokens_details": {"cached_tokens": 60}}, Usage(100, 20, 60)),
    "openai-cache-write": (
        {**OPENAI, "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30}},
        Usage(100, 20, 60, 30),
    ),
    "openai-reasoning-inside": (
        {**OPENAI, "total_tokens": 120, "completion_tokens_details": {"reasoning_tokens": 15}},
        Usage(100, 20, reasoning_tokens=15),
    ),
    "openai-null-details": (
        {**OPENAI, "prompt_tokens_details": None, "completion_tokens_details": None},
        Usage(100, 20),
    ),
    "openai-audio": (
        {
            **OPENAI,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 40},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 12},
        },
        Usage(100, 20, audio_input_tokens=40, audio_output_tokens=12),
    ),
    "openai-embeddings": ({"prompt_tokens": 8, "total_tokens": 8}, Usage(8, 0)),
    "responses": ({**RESPONSES, "input_tokens_details": {"cached_tokens": 60}}, Usage(100, 20, 60)),
    "responses-reasoning": (
        {**RESPONSES, "output_tokens_details": {"reasoning_tokens": 15}, "total_tokens": 120},
        Usage(100, 20, reasoning_tokens=15),
    ),
    "responses-through-litellm": (
        {**RESPONSES, "input_tokens_details": {"cached_tokens": 60}, "cache_read_input_tokens": 60},
        Usage(100, 20, 60),
    ),
    "anthropic": (
        {"input_tokens": 10, "output_tokens": 20, "cache_read_input_tokens": 60, "cache_creation_input_tokens": 30},
        Usage(100, 20, 60, 30),
    ),
    "anthropic-written-by-duration": (
        {
            "input_tokens": 10,
            "output_tokens": 20,
            "cache_creation_input_tokens": 90,
            "cache_read_input_tokens": 0,
            "cache_creation": {"ephemeral_5m_input_tokens": 50, "ephemeral_1h_input_tokens": 40},
        },
        Usage(100, 20, 0, 90, cache_write_1h_tokens=40),
    ),
    "anthropic-all-cached": (
        {"input_tokens": 0, "output_tokens": 20, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 0},
        Usage(100, 20, 100),
    ),
    "anthropic-null-cache": (
        {"input_tokens": 10, "output_tokens": 20, "cache_creation_input_tokens": None, "cache_creation": None},
        Usage(10, 20),
    ),
    "anthropic-priority": (
        {"input_tokens": 10, "output_tokens": 20, "service_tier": "priority"},
        Usage(10, 20, service_tier="priority"),
    ),
    "litellm-for-claude": (
        {
            **OPENAI,
            "total_tokens": 120,
            "prompt_tokens_details": {
                "cached_tokens": 60,
                "cache_creation_tokens": 30,
                "cache_creation_token_details": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 30},
            },
            "cache_read_input_tokens": 60,
            "cache_creation_input_tokens": 30,
        },
        Usage(100, 20, 60, 30, cache_write_1h_tokens=30),
    ),
    "litellm-proxy-without-details": (
        {**OPENAI, "total_tokens": 120, "cache_read_input_tokens": 60, "cache_creation_input_tokens": 0},
        Usage(100, 20, 60),
    ),
    "litellm-with-the-cache-beside": (
        {"prompt_tokens": 10, "completion_tokens": 20, "cache_read_input_tokens": 60},
        Usage(70, 20, 60),
    ),
    "both-vocabularies-zero-in-one": (
        {"prompt_tokens": 0, "completion_tokens": 0, **RESPONSES, "prompt_tokens_details": {"cached_tokens": 0}},
        Usage(100, 20),
    ),
    "both-vocabularies-zero-in-the-other": ({**OPENAI, "input_tokens": 0, "output_tokens": 0}, Usage(100, 20)),
    "gemini": (
        {
            "promptTokenCount": 100,
            "candidatesTokenCount": 20,
            "cachedContentTokenCount": 60,
            "totalTokenCount": 120,
        },
        Usage(100, 20, 60),
    ),
    "gemini-thoughts-beside": (
        {"promptTokenCount": 20, "candidatesTokenCount": 198, "thoughtsTokenCount": 405, "totalTokenCount": 623},
        Usage(20, 603, reasoning_tokens=405),
    ),
    "gemini-audio-and-tool-use": (
        {
            "promptTokenCount": 100,
            "promptTokensDetails": [
                {"modality": "TEXT", "tokenCount": 70},
                {"modality": "AUDIO", "tokenCount": 30},
            ],
            "toolUsePromptTokenCount": 50,
            "candidatesTokenCount": 20,
            "totalTokenCount": 170,
            "serviceTier": "FLEX",
        },
        Usage(150, 20, audio_input_tokens=30, service_tier="flex"),
    ),
    "gemini-openai-compatible": ({**OPENAI, "total_tokens": 180}, Usage(100, 80)),
    "gemini-only-thoughts": (
        {
            "prompt_tokens": 21,
            "completion_tokens": 0,
            "total_tokens": 81,
            "completion_tokens_details": {"reasoning_tokens": 60},
        },
        Usage(21, 60, reasoning_tokens=60),
    ),
    "deepseek": ({**OPENAI, "prompt_cache_hit_tokens": 60, "prompt_cache_miss_tokens": 40}, Usage(100, 20, 60)),
    "moonshot": ({**OPENAI, "cached_tokens": 60}, Usage(100, 20, 60)),
    "groq": ({**OPENAI, "queue_time": 0.04, "prompt_time": 0.01, "total_time": 0.1}, Usage(100, 20)),
    "xai-reasoning-beside": (
        {
            "prompt_tokens": 32,
            "completion_tokens": 9,
            "total_tokens": 135,
            "completion_tokens_details": {"reasoning_tokens": 94},
        },
        Usage(32, 103, reasoning_tokens=94),
    ),
    "xai-reasoning-beside-without-total": (
        {"prompt_tokens": 32, "completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 94}},
        Usage(32, 103, reasoning_tokens=94),
    ),
    "mistral": ({**OPENAI, "total_tokens": 120, "prompt_audio_seconds": {}}, Usage(100, 20)),
    "mistral-cached": ({**OPENAI, "num_cached_tokens": 60}, Usage(100, 20, 60)),
    "sglang": ({**OPENAI, "total_tokens": 120, "reasoning_tokens": 15}, Usage(100, 20, reasoning_tokens=15)),
    "model-studio": (
        {**OPENAI, "prompt_tokens_details": {"cached_tokens": 0, "cache_creation_input_tokens": 90}},
        Usage(100, 20, 0, 90),
    ),
    "cohere": (
        {
            "billed_units": {"input_tokens": 100.0, "output_tokens": 20.0},
            "tokens": {"input_tokens": 171.0, "output_tokens": 22.0},
            "cached_tokens": 60,
        },
        Usage(100, 20, 60),
    ),
    "bedrock": (
        {
            "inputTokens": 10,
            "outputTokens": 20,
            "totalTokens": 120,
            "cacheReadInputTokens": 60,
            "cacheWriteInputTokens": 30,
            "cacheDetails": [{"inputTokens": 10, "ttl": "1h"}, {"inputTokens": 20, "ttl": "5m"}],
        },
        Usage(100, 20, 60, 30, cache_write_1h_tokens=10),
    ),
    "ollama": (
        {"prompt_eval_count": 100, "prompt_eval_cached_count": 60, "eval_count": 20, "eval_duration": 10**9},
        Usage(100, 20, 60),
    ),
    "llama.cpp": ({"tokens_evaluated": 100, "tokens_predicted": 20, "tokens_cached": 60}, Usage(100, 20, 60)),
    "llama.cpp-timings": ({"timings": {"prompt_n": 40, "cache_n": 60, "predicted_n": 20}}, Usage(100, 20, 60)),
    "openrouter": (
        {
            **OPENAI,
            "cost": 0.95,
            "cost_details": {"upstream_inference_cost": None},
            "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 90, "audio_tokens": 0},
        },
        Usage(100, 20, 0, 90, reported_cost_usd=0.95),
    ),
    "openrouter-own-key": (
        {**OPENAI, "cost": 0.05, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.95}},
        Usage(100, 20, reported_cost_usd=1.0),
    ),
    "watsonx": (
        {"results": [{"generated_text": "hi", "input_token_count": 100, "generated_token_count": 20}]},
        Usage(100, 20),
    ),
    "perplexity": (
        {**OPENAI, "search_context_size": "low", "cost": {"input_tokens_cost": 0.1, "total_cost": 0.95}},
        Usage(100, 20, reported_cost_usd=0.95),
    ),
    "bedrock-invoke-model": (
        {
            "inputTokenCount": 10,
            "outputTokenCount": 20,
            "cacheReadInputTokenCount": 60,
            "cacheWriteInputTokenCount": 30,
            "invocationLatency": 900,
        },
        Usage(100, 20, 60, 30),
    ),
    "only-a-total": ({"total_tokens": 120}, Usage(120, 0)),
    "input-and-total": ({"prompt_tokens": 100, "total_tokens": 120}, Usage(100, 20)),
}


@pytest.mark.parametrize(("usage", "expected"), VENDORS.values(), ids=VENDORS)
def test_usage_is_read_in_the_words_of_every_vendor(usage: dict[str, Any], expected: Usage) -> None:
    assert read_usage(usage) == expected


@pytest.mark.parametrize(
    ("count", "expected"),
    [(12, 12), ("12", 12), (12.0, 12), (1.5, 2), (MAX_TOKENS, MAX_TOKENS)],
    ids=str,
)
def test_a_count_is_read_from_numbers_and_digits(count: Any, expected: int) -> None:
    assert read_usage({"prompt_tokens": count, "completion_tokens": count}) == Usage(expected, expected)


@pytest.mark.parametrize(
    "count",
    [-1, True, "-12", "twelve", "", "1" * 30, 10**18, 1e18, math.nan, math.inf, -math.inf, -0.5, None, [], {}],
    ids=str,
)
def test_an_impossible_count_is_not_read(count: Any) -> None:
    assert read_usage({"prompt_tokens": count, "completion_tokens": count}) == Usage(0, 0)


@pytest.mark.parametrize("cost", [-1, 0, True, "0.95", math.nan, math.inf, 1e18, None, {}], ids=str)
def test_an_impossible_cost_is_not_read(cost: Any) -> None:
    assert read_usage({**OPENAI, "cost": cost}).reported_cost_usd is None


def test_cached_tokens_are_never_more_than_the_input() -> None:
    assert read_usage({**OPENAI, "prompt_tokens_details": {"cached_tokens": 500}}).cached_input_tokens == 100


def test_the_total_shows_that_the_cache_is_not_in_the_prompt() -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 990}}
    assert read_usage({**usage, "total_tokens": 1002}) == Usage(1000, 2, 990)


def test_the_output_that_is_stated_before_an_answer_is_not_counted() -> None:
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 10, "output_tokens": 1}}}
    assert usage_in(start) == Usage(10, 0)


def test_later_events_complete_earlier_ones() -> None:
    start = {"message": {"usage": {"input_tokens": 7, "cache_read_input_tokens": 3, "output_tokens": 1}}}
    earlier = usage_in(start)
    assert earlier == Usage(10, 0, 3)
    assert usage_in({"usage": {"output_tokens": 42}}, earlier) == Usage(10, 42, 3)


def test_an_input_that_is_stated_again_without_the_cache_keeps_the_cache() -> None:
    start = {"input_tokens": 7, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 5, "output_tokens": 1}
    assert read_usage({"input_tokens": 8, "output_tokens": 42}, read_usage(start)) == Usage(16, 42, 3, 5)


def test_a_whole_usage_at_the_end_is_not_added_to_the_beginning() -> None:
    usage = {"input_tokens": 7, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 5, "output_tokens": 1}
    assert read_usage({**usage, "output_tokens": 42}, read_usage(usage)) == Usage(15, 42, 3, 5)


def test_zeros_in_a_later_event_erase_nothing() -> None:
    earlier = Usage(100, 20, 60)
    assert read_usage({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, earlier) == earlier


def test_tokens_written_to_the_cache_are_kept_by_later_events() -> None:
    written = {"ephemeral_1h_input_tokens": 3}
    usage = {"input_tokens": 7, "cache_creation_input_tokens": 4, "cache_creation": written, "output_tokens": 1}
    expected = Usage(11, 42, 0, 4, cache_write_1h_tokens=3)
    assert usage_in({"usage": {"output_tokens": 42}}, usage_in({"message": {"usage": usage}})) == expected


@pytest.mark.parametrize("message", [{}, {"usage": None}, {"usage": {}}, {"usage": "none"}, {"response": 7}])
def test_a_message_without_usage_reports_none(message: dict[str, Any]) -> None:
    assert usage_in(message) is None
    assert usage_in(message, Usage(1, 2)) == Usage(1, 2)


@pytest.mark.parametrize(
    "message",
    [
        {"type": "response.completed", "response": {"usage": OPENAI}},
        {"type": "message_start", "message": {"usage": OPENAI}},
        {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": OPENAI}},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": OPENAI}]},
        {"choices": [], "usage": None, "x_groq": {"id": "req_1", "usage": OPENAI}},
        {"candidates": [], "usageMetadata": OPENAI},
        {"metadata": {"usage": OPENAI}},
        {"text": "hi", "meta": OPENAI},
        {"type": "message_stop", "amazon-bedrock-invocationMetrics": OPENAI},
        {"model": "m", "done": True, **OPENAI},
        {"usage": {"queue_time": 0.1}, "x_groq": {"usage": OPENAI}},
    ],
    ids=[
        "responses",
        "anthropic",
        "cohere",
        "moonshot",
        "groq",
        "gemini",
        "bedrock",
        "cohere-1",
        "bedrock-1",
        "ollama",
        "no-counts",
    ],
)
def test_usage_is_found_wherever_a_server_puts_it(message: dict[str, Any]) -> None:
    assert usage_in(message) == Usage(100, 20)


@pytest.mark.parametrize(
    "message",
    [{"service_tier": "priority", "usage": OPENAI}, {"response": {"service_tier": "priority", "usage": OPENAI}}],
)
def test_the_service_tier_is_that_of_the_response(message: dict[str, Any]) -> None:
    assert usage_in(message) == Usage(100, 20, service_tier="priority")


@pytest.mark.parametrize("tier", [None, "", 7, "x" * 100, {}])
def test_a_service_tier_that_is_no_word_is_not_read(tier: Any) -> None:
    assert usage_in({"service_tier": tier, "usage": OPENAI}) == Usage(100, 20)


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"choices":[],"usage":{"prompt_tokens":1}}',
        b'data: {"choices":[],"x_groq":{"usage": {"prompt_tokens":1}}}',
        b'data: {"candidates":[],"usageMetadata": {"promptTokenCount":1}}',
        b'{"done":true,"prompt_eval_count":1}',
    ],
)
def test_events_with_usage_are_recognised_before_they_are_decoded(event: bytes) -> None:
    assert may_report(event)


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"choices":[{"delta":{"content":"hi"}}],"usage":null}',
        rb'data: {"choices":[{"delta":{"content":"{\"usage\": {\"prompt_tokens\": 1}}"}}]}',
        b'data: {"choices":[{"text":"a","logprobs":{"tokens":["a"]}}]}',
    ],
)
def test_events_of_the_answer_are_not_decoded_for_usage(event: bytes) -> None:
    assert not may_report(event)


_numbers = st.one_of(
    st.integers(-10, 10**9),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.none(),
    st.text(max_size=5),
    st.integers(0, 10**6).map(str),
)


def _nested(path: str, value: Any) -> dict[str, Any]:
    """An object with `value` at the end of a path of the table."""
    for step in reversed(path.split(".")):
        key, has_selector, wanted = step.partition("=")
        value = [{key: wanted, **value}] if has_selector else {step: value}
    return value


def _merged(left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
    both = {key: _merged(left[key], right[key]) for key in left.keys() & right.keys() if isinstance(left[key], dict)}
    return {**left, **right, **both}


_PATHS = sorted({path for row in VOCABULARIES for name in COUNTS for path in getattr(row, name)})


@st.composite
def usages(draw: st.DrawFn) -> dict[str, Any]:
    """Usage objects with counts in any mixture of vocabularies."""
    usage: dict[str, Any] = {}
    for path in draw(st.lists(st.sampled_from(_PATHS), max_size=8, unique=True)):
        usage = _merged(usage, _nested(path, draw(_numbers)))
    return usage


@given(st.tuples(*(st.one_of(st.integers(-1, 40), _numbers, st.sampled_from([True, 2.0, "3", None])),) * 3))
def test_openais_three_counts_alone_are_read_as_among_others(counts: tuple[Any, Any, Any]) -> None:
    usage = dict(zip(("prompt_tokens", "completion_tokens", "total_tokens"), counts, strict=True))
    for three in (usage, {**usage, "total_tokens": 30, "completion_tokens": 10, "prompt_tokens": 20}):
        assert usage_in({"usage": three}) == usage_in({"usage": {**three, "another": 1}})


@given(st.lists(usages(), min_size=1, max_size=3))
def test_the_parts_of_any_usage_are_never_negative_nor_more_than_the_whole(events: list[dict[str, Any]]) -> None:
    usage: Usage | None = None
    for event in events:
        usage = read_usage(event, usage)
    assert usage is not None
    counts = [
        usage.cached_input_tokens,
        usage.cache_write_tokens,
        usage.cache_write_1h_tokens,
        usage.audio_input_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
        usage.audio_output_tokens,
    ]
    assert min(counts) >= 0
    parts = usage.cached_input_tokens + usage.cache_write_tokens + usage.audio_input_tokens
    assert parts <= usage.input_tokens <= 10 * MAX_TOKENS
    assert usage.cache_write_1h_tokens <= usage.cache_write_tokens
    assert max(usage.reasoning_tokens, usage.audio_output_tokens) <= usage.output_tokens <= 10 * MAX_TOKENS


@given(usages(), st.sampled_from(HOLDERS))
def test_any_message_is_read_without_error(usage: dict[str, Any], holder: str) -> None:
    message = _nested(holder, usage) if holder else usage
    read = usage_in(message)
    assert read is None or read.input_tokens >= 0


@given(
    st.sampled_from([row for row in VOCABULARIES if row.input and row.output]),
    st.integers(1, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
)
def test_more_tokens_in_a_report_are_never_fewer_tokens_read(
    row: Any, input_tokens: int, output_tokens: int, more_input: int, more_output: int
) -> None:
    def read(input_count: int, output_count: int) -> Usage:
        usage = _merged(_nested(row.input[0], input_count), _nested(row.output[0], output_count))
        return read_usage(usage)

    less, more = read(input_tokens, output_tokens), read(input_tokens + more_input, output_tokens + more_output)
    assert (less.input_tokens, less.output_tokens) == (input_tokens, output_tokens)
    assert more.input_tokens >= less.input_tokens
    assert more.output_tokens >= less.output_tokens


def test_every_path_of_the_table_is_tried_with_a_vendor() -> None:
    def paths(value: Any, before: str) -> set[str]:
        if isinstance(value, dict):
            return {path for key, inner in value.items() for path in paths(inner, f"{before}.{key}".strip("."))}
        if isinstance(value, list):
            chosen = [(f"{before}.{key}={item[key]}", item) for item in value for key in item]
            chosen.append((f"{before}.0", value[0]))
            return {path for name, item in chosen for path in paths(item, name)}
        return {before}

    tried = {path for usage, _ in VENDORS.values() for path in paths(usage, "")}
    untried = {path for path in _PATHS if path not in tried}
    # Other names of the same counts.
    assert untried <= {
        "responseTokenCount",
        "candidatesTokensDetails.modality=AUDIO.tokenCount",
        "input_tokens_details.audio_tokens",
        "input_tokens_details.cache_write_tokens",
        "output_tokens_details.audio_tokens",
        "output_tokens_details.thinking_tokens",
        "prompt_token_details.cached_tokens",
        "prompt_tokens_details.cache_creation.ephemeral_5m_input_tokens",
    }
