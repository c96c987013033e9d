from __future__ import annotations

import asyncio

import msgspec
import pytest

from router.dispatch import EventStream, Timeouts
from router.dispatch.stream import Source
from router.errors import UpstreamError
from router.types import Usage
from router.wire.protocols import CHAT, MESSAGES, RESPONSES, WireProtocol
from tests.gateway.servers import CHUNKS

ROLE = b'data: {"choices":[{"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}}\n\n'
DONE = b"data: [DONE]\n\n"


def stream_of(
    *chunks: bytes, protocol: WireProtocol = CHAT, keep_usage: bool = False, error: UpstreamError | None = None
) -> EventStream:
    left = list(chunks)

    async def read() -> bytes:
        if left:
            return left.pop(0)
        if error is not None:
            raise error
        return b""

    async def close() -> None:
        left.clear()

    return EventStream(Source("small", read, close), protocol, Timeouts(), keep_usage=keep_usage)


def read(stream: EventStream) -> bytes:
    """The whole stream, and the fault in angle brackets where one ended it."""

    async def main() -> bytes:
        chunks: list[bytes] = []
        try:
            await stream.start()
            async for chunk in stream:
                chunks.append(chunk)
        except UpstreamError as failure:
            chunks.append(f"<{failure.fault}>".encode())
        await stream.aclose()
        return b"".join(chunks)

    return asyncio.run(main())


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_the_sizes_of_network_chunks_make_no_difference(size: int, newline: bytes) -> None:
    whole = b"".join(CHUNKS).replace(b"\n", newline)
    assert read(stream_of(*(whole[at : at + size] for at in range(0, len(whole), size)))) == whole


def test_a_stream_is_complete_even_if_done_has_no_blank_line() -> None:
    assert read(stream_of(*CHUNKS[:2], b"data: [DONE]")) == b"".join(CHUNKS)


def test_done_is_added_to_a_finished_stream_whose_upstream_omits_it() -> None:
    assert read(stream_of(*CHUNKS[:2])) == b"".join(CHUNKS)


def test_a_stream_is_complete_even_if_the_connection_breaks_after_done() -> None:
    assert read(stream_of(*CHUNKS, error=UpstreamError("gone"))) == b"".join(CHUNKS)


def test_a_connection_that_breaks_before_done_is_a_failure_even_after_the_finish_reason() -> None:
    stream = stream_of(*CHUNKS[:2], error=UpstreamError("gone", fault="unreachable"))
    assert read(stream).endswith(b"<unreachable>")
    assert stream.failed


def test_a_text_that_looks_like_done_does_not_end_the_stream() -> None:
    event = b'data: {"choices":[{"delta":{"content":"\\ndata: [DONE]"}}]}\n\n'
    assert read(stream_of(event)) == event + b"<cut>"


def test_comments_and_unknown_events_are_passed_on() -> None:
    events = b": waiting\n\nevent: x\nid: 1\ndata: {}\n\n" + b"".join(CHUNKS)
    assert read(stream_of(events)) == events


def test_nothing_is_returned_before_the_first_content() -> None:
    async def main() -> bytes:
        stream = stream_of(ROLE, CHUNKS[0], CHUNKS[1], DONE)
        await stream.start()
        return await anext(stream)

    assert asyncio.run(main()) == ROLE + CHUNKS[0]


@pytest.mark.parametrize(
    ("chunks", "fault"),
    [
        ((), "empty"),
        ((ROLE,), "empty"),
        ((USAGE, DONE), "empty"),
        ((ROLE, b'data: {"error":{"message":"no"}}\n\n', DONE), "error_event"),
        ((ROLE, b'data: {"error":"no"}\n\n'), "error_event"),
    ],
)
def test_a_failure_before_the_first_content_is_a_failure_of_the_whole_call(
    chunks: tuple[bytes, ...], fault: str
) -> None:
    assert read(stream_of(*chunks)) == f"<{fault}>".encode()


def test_an_answer_without_text_is_complete() -> None:
    finish = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
    assert read(stream_of(ROLE, finish, DONE)) == ROLE + finish + DONE


def test_an_error_in_the_middle_ends_the_stream_with_the_upstreams_message() -> None:
    async def main() -> str:
        stream = stream_of(CHUNKS[0], b'data: {"error":{"message":"out of memory","code":503}}\n\n', DONE)
        await stream.start()
        assert await anext(stream) == CHUNKS[0]
        with pytest.raises(UpstreamError, match="out of memory") as caught:
            await anext(stream)
        return f"{caught.value.status} {caught.value.fault}"

    assert asyncio.run(main()) == "503 error_event"


def test_usage_that_the_client_did_not_request_is_left_out_but_recorded() -> None:
    stream = stream_of(*CHUNKS[:2], USAGE, DONE)
    assert read(stream) == b"".join(CHUNKS)
    assert stream.usage == Usage(7, 2)


def test_usage_that_the_client_requested_comes_before_done() -> None:
    assert read(stream_of(*CHUNKS[:2], USAGE + DONE, keep_usage=True)) == b"".join(CHUNKS[:2]) + USAGE + DONE


def test_an_endless_event_is_rejected() -> None:
    assert read(stream_of(CHUNKS[0], *([b"x" * 2**20] * 17))) == CHUNKS[0] + b"<garbage>"


def test_an_anthropic_stream_ends_with_its_message_stop() -> None:
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 3, "cache_read_input_tokens": 4}}}
    events = [
        start,
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ]
    chunks = [b"event: x\ndata: " + msgspec.json.encode(event) + b"\n\n" for event in events]
    stream = stream_of(*chunks, protocol=MESSAGES)
    assert read(stream) == b"".join(chunks)
    assert stream.usage == Usage(7, 5, 4)
    assert read(stream_of(*chunks[:-1], protocol=MESSAGES)).endswith(b"<cut>")


def test_a_response_that_fails_before_its_first_content_is_a_failure_of_the_whole_call() -> None:
    failed = {"type": "response.failed", "response": {"error": {"message": "no", "code": "server_error"}}}
    event = b"event: response.failed\ndata: " + msgspec.json.encode(failed) + b"\n\n"
    assert read(stream_of(event, protocol=RESPONSES)) == b"<error_event>"
    delta = b'event: x\ndata: {"type":"response.output_text.delta","delta":"hi"}\n\n'
    assert read(stream_of(delta, event, protocol=RESPONSES)) == delta + event
