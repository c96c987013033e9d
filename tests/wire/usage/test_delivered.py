"""Estimates for upstreams that report no usage."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.types import Usage
from router.wire.protocols import PROTOCOLS
from router.wire.usage import Delivered, answer_tokens, counted, is_absurd, prompt_tokens, texts_in, tokens_of

BODY = {"model": "auto", "messages": [{"role": "user", "content": "hello " * 40}]}
TEXT = "four score and seven years ago " * 8


def test_what_is_reported_is_not_estimated() -> None:
    assert counted(Usage(7, 60), BODY, 100) == Usage(7, 60)


def test_without_a_report_both_sides_are_estimated() -> None:
    usage = counted(None, BODY, 100)
    assert usage == Usage(prompt_tokens(BODY), 100, estimated=True)
    assert 50 <= usage.input_tokens <= 80


@pytest.mark.parametrize(("reported", "expected"), [(Usage(0, 90), (64, 90)), (Usage(7, 0), (7, 100))])
def test_only_the_missing_side_is_estimated(reported: Usage, expected: tuple[int, int]) -> None:
    usage = counted(reported, BODY, 100)
    assert (usage.input_tokens, usage.output_tokens) == expected
    assert usage.estimated


def test_an_answer_without_text_has_no_output() -> None:
    assert counted(Usage(7, 0), BODY, 0) == Usage(7, 0)


def test_a_stream_that_broke_off_has_at_least_what_was_delivered() -> None:
    # Anthropic reports one token of output at the start of a stream.
    assert counted(Usage(7, 1), BODY, 100, is_whole=False) == Usage(7, 100, estimated=True)
    assert counted(Usage(7, 200), BODY, 100, is_whole=False) == Usage(7, 200)


def test_a_report_of_a_fraction_of_what_was_delivered_is_raised() -> None:
    assert counted(Usage(7, 1), BODY, 200) == Usage(7, 200, estimated=True)


def test_a_report_before_the_end_is_raised() -> None:
    assert counted(Usage(7, 90), BODY, 100, since_report=50) == Usage(7, 100, estimated=True)
    assert counted(Usage(7, 90), BODY, 100, since_report=2) == Usage(7, 90)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        # As OpenAI's o200k_base counts them, rounded down.
        ("The quick brown fox jumps over the lazy dog. " * 20, 200),
        ("Сегодня хорошая погода, и мы идём гулять в парк. " * 20, 240),
        ("今天天气很好，我们去公园散步。" * 20, 200),
        ("    " * 10 + "return value\\n", 3),
        ("internationalization", 1),
        ("def f(x):\\n        return x + 1\\n" * 20, 200),
    ],
)
@pytest.mark.parametrize("escaped", [False, True])
def test_a_honest_report_is_never_absurd(text: str, tokens: int, escaped: bool) -> None:
    content = text.encode("ascii", "backslashreplace").replace(b"\\x", b"\\u00") if escaped else text.encode()
    delivered = texts_in(b'{"choices":[{"message":{"content":"%b"}}]}' % content)
    assert not is_absurd(tokens, delivered.sure_tokens)


def test_single_letters_are_counted_one_by_one_and_are_no_proof() -> None:
    delivered = Delivered(PROTOCOLS["chat"].texts)
    for _ in range(100):
        delivered.add(b'{"choices":[{"delta":{"content":"a"}}]}')
    assert (delivered.tokens, delivered.sure_tokens) == (100, 25)


def test_what_follows_a_report_is_known() -> None:
    delivered = Delivered(PROTOCOLS["chat"].texts)
    assert delivered.since_report == 0
    delivered.add(b'{"choices":[{"delta":{"content":"four words are here"}}]}')
    delivered.is_reported()
    assert delivered.since_report == 0
    delivered.add(b'{"choices":[{"delta":{"content":" and four more words."}}]}')
    assert delivered.since_report == 5


def test_half_a_text_is_counted() -> None:
    assert texts_in(b'{"choices":[{"message":{"content":"four score and sev').tokens == 5


def test_what_a_servers_tools_found_is_not_written() -> None:
    found = {"type": "web_search_tool_result", "content": [{"title": "word " * 500}]}
    assert answer_tokens({"content": [found, {"type": "text", "text": "yes"}]}) == 1


@pytest.mark.parametrize(("reported", "expected"), [(None, "flex"), ("default", "default")])
def test_the_service_tier_of_the_request_holds_where_the_response_states_none(
    reported: str | None, expected: str
) -> None:
    usage = counted(Usage(7, 2, service_tier=reported), {**BODY, "service_tier": "flex"}, 0)
    assert usage.service_tier == expected


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "user", "content": TEXT}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": TEXT}]}]},
        {"system": TEXT, "messages": []},
        {"input": TEXT},
        {"instructions": TEXT, "input": []},
        {"prompt": [TEXT]},
        {"input": [[1] * 62]},
        {"messages": [], "tools": [{"type": "function", "function": {"description": TEXT}}]},
    ],
)
def test_the_prompt_of_every_protocol_is_estimated(body: dict[str, Any]) -> None:
    assert 60 <= prompt_tokens(body) <= 80


def test_an_image_in_a_prompt_is_not_counted_as_text() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 1_000_000}}
    assert prompt_tokens({"messages": [{"role": "user", "content": [image]}]}) < 2_000


@pytest.mark.parametrize(
    "answer",
    [
        {"choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}]},
        {"choices": [{"message": {"content": None, "reasoning_content": TEXT}}]},
        {"choices": [{"message": {"tool_calls": [{"id": "call_1", "function": {"arguments": TEXT}}]}}]},
        {"choices": [{"text": TEXT}]},
        {"type": "message", "id": "msg_1", "content": [{"type": "text", "text": TEXT}]},
        {"content": [{"type": "tool_use", "name": "f", "input": {"words": [TEXT]}}]},
        {"output": [{"type": "message", "id": "msg_1", "content": [{"type": "output_text", "text": TEXT}]}]},
        {"message": {"role": "assistant", "content": TEXT}, "done": True},
    ],
)
def test_a_whole_answer_of_every_protocol_is_estimated(answer: dict[str, Any]) -> None:
    assert 60 <= answer_tokens(answer) <= 66


@pytest.mark.parametrize("answer", [None, [], "text", {}, {"data": [{"embedding": [0.1] * 9}]}, {"choices": []}])
def test_an_answer_without_text_counts_nothing(answer: Any) -> None:
    assert answer_tokens(answer) == 0


@pytest.mark.parametrize(
    ("api", "events", "text"),
    [
        ("chat", rb'{"choices":[{"delta":{"role":"assistant","content":"hi \"you\""}}]}', rb"hi \"you\""),
        ("chat", b'{"choices":[{"delta":{"tool_calls":[{"function":{"arguments":"{}"}}]}}]}', b"{}"),
        ("chat", b'{"choices":[{"delta":{"content":null,"reasoning_content":"hm"}}]}', b"hm"),
        ("completions", b'{"choices":[{"text": "hello"}]}', b"hello"),
        ("messages", b'{"type":"content_block_delta","delta":{"type":"text_delta","text":"hello"}}', b"hello"),
        ("messages", b'{"delta":{"type":"input_json_delta","partial_json":"{}"}}', b"{}"),
        ("messages", b'{"delta":{"type":"signature_delta","signature":"abcdef"}}', b""),
        ("responses", b'{"type":"response.output_text.delta","delta":"hello"}', b"hello"),
        ("responses", b'{"type":"response.output_text.done","text":"hello"}', b""),
    ],
)
def test_the_texts_of_events_are_found_once(api: Any, events: bytes, text: bytes) -> None:
    assert b"".join(PROTOCOLS[api].texts.findall(events)) == text


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_longer_text_never_has_fewer_tokens(length: int, more: int) -> None:
    assert 0 <= tokens_of(length) <= tokens_of(length + more)
