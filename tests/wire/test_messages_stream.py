"""Chat streams, converted to Anthropic's events and read by Anthropic's SDK."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from router.wire import CONVERSIONS
from tests.wire.chats import USAGE, ConversionGateway, call_delta, chunk, events, streamed, usage_chunk

REQUEST: dict[str, Any] = {"model": "auto", "max_tokens": 64, "messages": [{"role": "user", "content": "hi"}]}
THINKING: dict[str, Any] = {"thinking": {"type": "enabled", "budget_tokens": 2048}}


@pytest.fixture(scope="module")
def client(one_server: ConversionGateway) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(api_key="k", base_url=one_server.url, max_retries=0) as client:
        yield client


def message(client: anthropic.Anthropic, **fields: Any) -> Any:
    """The message that the SDK builds from the stream."""
    with client.messages.stream(**REQUEST, **fields) as stream:
        return stream.get_final_message()


def types(*chunks: Any) -> list[str]:
    return [event["type"] for event in events(streamed("messages", chunks, THINKING))]


def test_the_sdk_reads_a_text(gateway: ConversionGateway, client: anthropic.Anthropic) -> None:
    gateway.chunks = [
        chunk(role="assistant", content=""),
        chunk(content="Hel"),
        chunk(content="lo"),
        chunk("stop"),
        usage_chunk(),
    ]

    answer = message(client)

    assert (answer.id, answer.model, answer.role) == ("msg_1", "served", "assistant")
    assert [block.text for block in answer.content] == ["Hello"]
    assert (answer.stop_reason, answer.stop_sequence) == ("end_turn", None)


def test_the_sdk_reads_the_usage_without_counting_the_cache_twice(
    gateway: ConversionGateway, client: anthropic.Anthropic
) -> None:
    gateway.chunks = [chunk(content="Hello"), chunk("stop"), usage_chunk()]

    usage = message(client).usage

    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (40, 60, 20)
    assert usage.output_tokens_details.thinking_tokens == 8


def test_events_come_in_the_order_that_anthropic_documents() -> None:
    assert types(chunk(role="assistant", content=""), chunk(content="a"), chunk(content="b"), chunk("stop")) == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


def test_interleaved_calls_keep_their_arguments(gateway: ConversionGateway, client: anthropic.Anthropic) -> None:
    gateway.chunks = [
        chunk(role="assistant", content=None),
        chunk(tool_calls=[call_delta(0, "", id="a", name="f")]),
        chunk(tool_calls=[call_delta(1, "", id="b", name="g")]),
        chunk(tool_calls=[call_delta(0, '{"x"')]),
        chunk(tool_calls=[call_delta(1, '{"y":')]),
        chunk(tool_calls=[call_delta(0, ":1}")]),
        chunk(tool_calls=[call_delta(1, "2}")]),
        chunk("tool_calls"),
        usage_chunk(),
    ]

    answer = message(client)

    assert [(block.id, block.name, block.input) for block in answer.content] == [
        ("a", "f", {"x": 1}),
        ("b", "g", {"y": 2}),
    ]
    assert answer.stop_reason == "tool_use"


def test_calls_in_one_chunk_are_separate(gateway: ConversionGateway, client: anthropic.Anthropic) -> None:
    both = [call_delta(0, "{}", id="a", name="f"), call_delta(1, '{"y":2}', id="b", name="g")]
    gateway.chunks = [chunk(tool_calls=both), chunk("tool_calls")]

    assert [(block.id, block.input) for block in message(client).content] == [("a", {}), ("b", {"y": 2})]


@pytest.mark.parametrize("index", [0, None], ids=["index 0 for all", "no index"])
def test_calls_without_a_distinct_index_are_distinguished_by_id(index: int | None) -> None:
    chunks = [
        chunk(tool_calls=[call_delta(index, '{"x":', id="a", name="f")]),
        chunk(tool_calls=[call_delta(index, "1}")]),
        chunk(tool_calls=[call_delta(index, '{"y":2}', id="b", name="g")]),
        chunk("tool_calls"),
    ]

    stream = events(streamed("messages", chunks))

    started = [event["content_block"]["id"] for event in stream if event["type"] == "content_block_start"]
    assert started == ["a", "b"]
    assert [event["delta"]["partial_json"] for event in stream if event["type"] == "content_block_delta"] == [
        '{"x":',
        "1}",
        '{"y":2}',
    ]


def test_the_second_call_is_streamed_as_soon_as_the_first_is_complete() -> None:
    first = [chunk(tool_calls=[call_delta(0, '{"x":1}', id="a", name="f")])]
    second = [chunk(tool_calls=[call_delta(1, '{"y":', id="b", name="g")])]

    stream = events(streamed("messages", [*first, *second]))

    assert {"type": "input_json_delta", "partial_json": '{"y":'} in [event.get("delta") for event in stream]


def test_a_call_without_arguments_has_an_empty_input(gateway: ConversionGateway, client: anthropic.Anthropic) -> None:
    gateway.chunks = [chunk(tool_calls=[call_delta(0, "", id="a", name="now")]), chunk("tool_calls")]

    assert message(client).content[0].input == {}


def test_a_call_without_an_id_gets_one(gateway: ConversionGateway, client: anthropic.Anthropic) -> None:
    gateway.chunks = [chunk(tool_calls=[call_delta(0, "{}", name="now")]), chunk("stop")]

    answer = message(client)

    assert answer.content[0].id == "call_1_0"
    assert answer.stop_reason == "tool_use"


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_becomes_thinking(gateway: ConversionGateway, client: anthropic.Anthropic, field: str) -> None:
    gateway.chunks = [chunk(**{field: "Hm"}), chunk(**{field: "m."}), chunk(content="Yes."), chunk("stop")]

    answer = message(client, **THINKING)

    assert [(block.type, getattr(block, block.type)) for block in answer.content] == [
        ("thinking", "Hmm."),
        ("text", "Yes."),
    ]


def test_reasoning_that_was_not_requested_is_left_out(gateway: ConversionGateway, client: anthropic.Anthropic) -> None:
    gateway.chunks = [chunk(reasoning_content="Hmm."), chunk(content="Yes."), chunk("stop")]

    assert [block.type for block in message(client).content] == ["text"]


def test_mistrals_content_parts_are_converted() -> None:
    thinking = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hmm."}]}]
    chunks = [chunk(content=thinking), chunk(content=[{"type": "text", "text": "Yes."}]), chunk("stop")]

    deltas = [
        event["delta"]
        for event in events(streamed("messages", chunks, THINKING))
        if "index" in event and "delta" in event
    ]

    assert deltas == [
        {"type": "thinking_delta", "thinking": "Hmm."},
        {"type": "text_delta", "text": "Yes."},
    ]


def test_a_message_in_place_of_a_delta_is_read() -> None:
    said = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": None}]}
    written = events(streamed("messages", [said, chunk("stop")], THINKING))
    assert [event["delta"]["text"] for event in written if event["type"] == "content_block_delta"] == ["Hello"]


def test_a_message_that_repeats_the_deltas_is_not_read_again() -> None:
    whole = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}]}
    written = events(streamed("messages", [chunk(content="Hello"), whole], THINKING))
    assert [event["delta"]["text"] for event in written if event["type"] == "content_block_delta"] == ["Hello"]


def test_a_legacy_function_call_is_a_tool_call() -> None:
    chunks = [
        chunk(function_call={"name": "find", "arguments": '{"a":'}),
        chunk(function_call={"arguments": "1}"}),
        chunk("function_call"),
    ]
    written = events(streamed("messages", chunks, THINKING))
    started = [event["content_block"] for event in written if event["type"] == "content_block_start"]
    assert [(block["type"], block["name"]) for block in started] == [("tool_use", "find")]
    said = [event["delta"]["partial_json"] for event in written if event["type"] == "content_block_delta"]
    assert "".join(said) == '{"a":1}'


def test_text_after_a_call_is_a_separate_block(gateway: ConversionGateway, client: anthropic.Anthropic) -> None:
    gateway.chunks = [
        chunk(content="Before."),
        chunk(tool_calls=[call_delta(0, "{}", id="a", name="f")]),
        chunk(content="After."),
        chunk("tool_calls"),
    ]

    assert [block.type for block in message(client).content] == ["text", "tool_use", "text"]


@pytest.mark.parametrize(
    ("finish", "stop_reason"),
    [("stop", "end_turn"), ("length", "max_tokens"), ("content_filter", "refusal"), ("eos", "end_turn")],
)
def test_finish_reasons_are_converted_to_stop_reasons(
    gateway: ConversionGateway, client: anthropic.Anthropic, finish: str, stop_reason: str
) -> None:
    gateway.chunks = [chunk(content="x"), chunk(finish)]

    assert message(client).stop_reason == stop_reason


@pytest.mark.parametrize("field", ["stop_reason", "matched_stop"])
def test_the_stop_sequence_is_reported_where_the_upstream_reports_it(
    gateway: ConversionGateway, client: anthropic.Anthropic, field: str
) -> None:
    last = chunk("stop")
    last["choices"][0][field] = "END"
    gateway.chunks = [chunk(content="x"), last]

    answer = message(client, stop_sequences=["END"])

    assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", "END")


def test_a_stop_token_is_not_a_stop_sequence() -> None:
    last = chunk("stop")
    last["choices"][0]["stop_reason"] = 151643

    assert events(streamed("messages", [last]))[-2]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}


def test_a_refusal_is_text_with_the_stop_reason_refusal(
    gateway: ConversionGateway, client: anthropic.Anthropic
) -> None:
    gateway.chunks = [chunk(refusal="I will "), chunk(refusal="not."), chunk("stop")]

    answer = message(client)

    assert (answer.content[0].text, answer.stop_reason) == ("I will not.", "refusal")
    assert answer.stop_details.explanation == "I will not."


def test_a_first_chunk_without_choices_starts_no_message() -> None:
    azure_chunk = {"id": "", "model": "", "created": 0, "choices": [], "prompt_filter_results": []}

    start = events(streamed("messages", [azure_chunk, chunk(content="x"), chunk("stop")]))[0]

    assert (start["message"]["id"], start["message"]["model"]) == ("msg_1", "served")


def test_an_empty_answer_is_a_message_without_blocks(gateway: ConversionGateway, client: anthropic.Anthropic) -> None:
    gateway.chunks = [chunk(role="assistant"), chunk("stop")]

    assert message(client).content == []


@pytest.mark.parametrize(
    "broken",
    [
        [],
        [{"error": {"message": "boom"}}],
        [chunk("error")],
        [chunk("abort")],
        [chunk(content=5)],
        [chunk(tool_calls=[call_delta(0, "{}", id="a")]), chunk("tool_calls")],
    ],
    ids=["cut", "error chunk", "finish reason error", "aborted", "content is a number", "nameless call"],
)
def test_the_sdk_raises_if_the_stream_breaks_off(
    gateway: ConversionGateway, client: anthropic.Anthropic, broken: list[dict[str, Any]]
) -> None:
    gateway.chunks = [chunk(content="Hel"), *broken]

    with pytest.raises(anthropic.APIStatusError) as raised:
        message(client)

    assert raised.value.body == {
        "type": "error",
        "error": {"type": "api_error", "message": raised.value.body["error"]["message"]},  # type: ignore[index]
    }


def test_a_stream_that_breaks_off_has_no_message_stop() -> None:
    assert types(chunk(content="Hel"))[-1] == "error"
    assert "message_stop" not in types(chunk(content="Hel"))


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("429", "rate_limit_error"),
        ("529", "overloaded_error"),
        ("upstream_timeout", "timeout_error"),
        (None, "api_error"),
    ],
)
def test_a_failure_in_a_stream_has_anthropics_error_type(code: str | None, kind: str) -> None:
    failed = CONVERSIONS["messages"].events({}).fail("no", "upstream_error", code)

    assert events(failed) == [{"type": "error", "error": {"type": kind, "message": "no"}}]


def test_usage_in_every_chunk_is_not_summed() -> None:
    counts = [{**USAGE, "completion_tokens": n, "total_tokens": 100 + n} for n in (11, 12, 13)]
    chunks = [{**chunk(content="x"), "usage": usage} for usage in counts]

    stream = events(streamed("messages", [*chunks, chunk("stop")]))

    assert stream[0]["message"]["usage"]["input_tokens"] == 40
    assert stream[-2]["usage"]["output_tokens"] == 13


def test_text_after_an_incomplete_call_is_held_back_in_one_block() -> None:
    chunks = [
        chunk(tool_calls=[call_delta(0, "{", id="a", name="f")]),
        chunk(content="A"),
        chunk(tool_calls=[call_delta(1, "{}", id="b", name="g")]),
        chunk(content="B"),
        chunk(tool_calls=[call_delta(0, "}")]),
        chunk("tool_calls"),
    ]

    stream = events(streamed("messages", chunks))

    assert [event["delta"].get("text") for event in stream if event["type"] == "content_block_delta"] == [
        None,
        None,
        "AB",
        None,
    ]


def test_a_call_that_continues_after_its_end_is_an_upstream_error() -> None:
    done = [
        chunk(tool_calls=[call_delta(0, "{}", id="a", name="f")]),
        chunk(tool_calls=[call_delta(1, "{}", id="b", name="g")]),
    ]

    assert types(*done, chunk(tool_calls=[call_delta(0, "\n")]), chunk("stop"))[-1] == "message_stop"
    assert types(*done, chunk(tool_calls=[call_delta(0, "{}")]), chunk("stop"))[-1] == "error"
