"""Chat completions and errors, converted to Anthropic's and read by Anthropic's SDK."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from router.errors import UpstreamError
from router.wire import CONVERSIONS
from tests.wire.chats import ConversionGateway, call_message, completion

REQUEST: dict[str, Any] = {"model": "auto", "max_tokens": 64, "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(scope="module")
def client(one_server: ConversionGateway) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(api_key="k", base_url=one_server.url, max_retries=0) as client:
        yield client


def converted(**message: Any) -> dict[str, Any]:
    return CONVERSIONS["messages"].answer(completion(**message), {})


def test_the_sdk_reads_a_whole_answer(gateway: ConversionGateway, client: anthropic.Anthropic) -> None:
    gateway.chat = completion(
        "tool_calls",
        content="Sure.",
        reasoning_content="Hmm.",
        tool_calls=[call_message("a", "f", '{"x":1}'), call_message("b", "g", "")],
    )

    answer: Any = client.messages.create(**REQUEST, thinking={"type": "enabled", "budget_tokens": 2048})

    assert [block.type for block in answer.content] == ["thinking", "text", "tool_use", "tool_use"]
    assert [block.input for block in answer.content[2:]] == [{"x": 1}, {}]
    assert (answer.id, answer.model, answer.stop_reason) == ("msg_1", "served", "tool_use")
    assert (answer.usage.input_tokens, answer.usage.cache_read_input_tokens, answer.usage.output_tokens) == (40, 60, 20)


def test_an_answer_without_usage_has_zero_tokens() -> None:
    usage = CONVERSIONS["messages"].answer(completion(usage=None, content="x"), {})["usage"]

    assert (usage["input_tokens"], usage["output_tokens"]) == (0, 0)


def test_cache_writes_are_not_counted_as_input_tokens() -> None:
    usage = {"prompt_tokens": 100, "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30}}

    usage = CONVERSIONS["messages"].answer(completion(usage=usage, content="x"), {})["usage"]

    assert (usage["input_tokens"], usage["cache_creation_input_tokens"], usage["cache_read_input_tokens"]) == (
        10,
        30,
        60,
    )


def test_deepseeks_cached_tokens_are_read() -> None:
    usage = {"prompt_tokens": 100, "prompt_cache_hit_tokens": 60}

    assert CONVERSIONS["messages"].answer(completion(usage=usage), {})["usage"]["cache_read_input_tokens"] == 60


@pytest.mark.parametrize("arguments", ['{"x":', "[1]", "x=1"])
def test_arguments_that_are_not_an_object_are_passed_on_unchanged(arguments: str) -> None:
    [block] = converted(tool_calls=[call_message("a", "f", arguments)])["content"]

    assert block["input"] == {"INVALID_JSON": arguments}


def test_arguments_may_be_an_object() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}}

    assert converted(tool_calls=[call])["content"][0]["input"] == {"x": 1}


def test_an_object_of_arguments_with_half_a_surrogate_pair_is_kept_as_text() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": {"x": "\ud83d"}}}

    assert converted(tool_calls=[call])["content"][0]["input"] == {"INVALID_JSON": '{"x":"\\ud83d"}'}


def test_calls_without_ids_receive_distinct_ids() -> None:
    calls = [{"function": {"name": name, "arguments": "{}"}} for name in "fg"]

    assert [block["id"] for block in converted(tool_calls=calls)["content"]] == ["call_1_0", "call_1_1"]


@pytest.mark.parametrize("chat", [{}, {"choices": []}, {"choices": [5]}, {"error": {"message": "no"}}])
def test_an_invalid_completion_is_an_upstream_error(chat: dict[str, Any]) -> None:
    with pytest.raises(UpstreamError):
        CONVERSIONS["messages"].answer(chat, {})


@pytest.mark.parametrize(
    ("status", "kind", "raised"),
    [
        (400, "invalid_request_error", anthropic.BadRequestError),
        (401, "authentication_error", anthropic.AuthenticationError),
        (404, "not_found_error", anthropic.NotFoundError),
        (413, "request_too_large", anthropic.APIStatusError),
        (429, "rate_limit_error", anthropic.RateLimitError),
        (502, "api_error", anthropic.InternalServerError),
        (503, "overloaded_error", anthropic.APIStatusError),
        (504, "timeout_error", anthropic.APIStatusError),
    ],
)
def test_errors_have_anthropics_types(
    gateway: ConversionGateway,
    client: anthropic.Anthropic,
    status: int,
    kind: str,
    raised: type[anthropic.APIStatusError],
) -> None:
    gateway.error = (status, "no \ud83d", "upstream_error", "some_code")

    with pytest.raises(raised) as error:
        client.messages.create(**REQUEST)

    assert error.value.body == {"type": "error", "error": {"type": kind, "message": "no ?"}}
