"""Whole chat answers, and errors, as Anthropic's own SDK reads them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from router.errors import UpstreamError
from router.wire import CONVERSIONS
from tests.wire.chats import Converting, call_message, completion

ASK: dict[str, Any] = {"model": "auto", "max_tokens": 64, "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(scope="module")
def client(one_server: Converting) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(api_key="k", base_url=one_server.url, max_retries=0) as client:
        yield client


def answered(**message: Any) -> dict[str, Any]:
    return CONVERSIONS["messages"].answer(completion(**message), {})


def test_the_sdk_reads_a_whole_answer(gateway: Converting, client: anthropic.Anthropic) -> None:
    gateway.chat = completion(
        "tool_calls",
        content="Sure.",
        reasoning_content="Hmm.",
        tool_calls=[call_message("a", "f", '{"x":1}'), call_message("b", "g", "")],
    )

    said: Any = client.messages.create(**ASK, thinking={"type": "enabled", "budget_tokens": 2048})

    assert [block.type for block in said.content] == ["thinking", "text", "tool_use", "tool_use"]
    assert [block.input for block in said.content[2:]] == [{"x": 1}, {}]
    assert (said.id, said.model, said.stop_reason) == ("msg_1", "served", "tool_use")
    assert (said.usage.input_tokens, said.usage.cache_read_input_tokens, said.usage.output_tokens) == (40, 60, 20)


def test_an_answer_without_usage_counts_nothing() -> None:
    usage = CONVERSIONS["messages"].answer(completion(usage=None, content="x"), {})["usage"]

    assert (usage["input_tokens"], usage["output_tokens"]) == (0, 0)


def test_tokens_written_to_the_cache_are_no_input_either() -> None:
    counted = {"prompt_tokens": 100, "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30}}

    usage = CONVERSIONS["messages"].answer(completion(usage=counted, content="x"), {})["usage"]

    assert (usage["input_tokens"], usage["cache_creation_input_tokens"], usage["cache_read_input_tokens"]) == (
        10,
        30,
        60,
    )


def test_deepseeks_name_for_cached_tokens_is_known() -> None:
    counted = {"prompt_tokens": 100, "prompt_cache_hit_tokens": 60}

    assert CONVERSIONS["messages"].answer(completion(usage=counted), {})["usage"]["cache_read_input_tokens"] == 60


@pytest.mark.parametrize("arguments", ['{"x":', "[1]", "x=1"])
def test_arguments_that_are_no_object_are_handed_on_as_they_are(arguments: str) -> None:
    [block] = answered(tool_calls=[call_message("a", "f", arguments)])["content"]

    assert block["input"] == {"INVALID_JSON": arguments}


def test_arguments_that_came_as_an_object_are_read() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}}

    assert answered(tool_calls=[call])["content"][0]["input"] == {"x": 1}


def test_calls_without_ids_get_different_ones() -> None:
    calls = [{"function": {"name": name, "arguments": "{}"}} for name in "fg"]

    assert [block["id"] for block in answered(tool_calls=calls)["content"]] == ["call_1_0", "call_1_1"]


@pytest.mark.parametrize("chat", [{}, {"choices": []}, {"choices": [5]}, {"error": {"message": "no"}}])
def test_what_is_no_completion_is_the_upstreams_fault(chat: dict[str, Any]) -> None:
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
def test_errors_are_those_of_anthropic(
    gateway: Converting,
    client: anthropic.Anthropic,
    status: int,
    kind: str,
    raised: type[anthropic.APIStatusError],
) -> None:
    gateway.refusal = (status, "no \ud83d", "upstream_error", "some_code")

    with pytest.raises(raised) as error:
        client.messages.create(**ASK)

    assert error.value.body == {"type": "error", "error": {"type": kind, "message": "no ?"}}
