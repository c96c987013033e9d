from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import msgspec
import pytest

from router.errors import UpstreamError
from router.gateway.streaming import honest
from tests.gateway.servers import CHUNKS, Upstream

MESSAGES = [{"role": "user", "content": "hi"}]


def stream(gateway: httpx.Client, model: str) -> httpx.Response:
    body = {"model": model, "stream": True, "messages": MESSAGES}
    return gateway.post("/v1/chat/completions", json=body)


def honestly(*chunks: bytes, error: UpstreamError | None = None) -> bytes:
    async def upstream() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk
        if error:
            raise error

    async def main() -> bytes:
        return b"".join([chunk async for chunk in honest(upstream())])

    return asyncio.run(main())


def test_a_stream_passes_through_byte_for_byte(gateway: httpx.Client) -> None:
    answer = stream(gateway, "dear")
    assert answer.content == b"".join(CHUNKS)
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["x-route-card"] == "dear"


def test_a_stream_falls_back_before_its_first_byte(gateway: httpx.Client) -> None:
    answer = stream(gateway, "auto")
    assert (answer.content, answer.headers["x-route-card"]) == (b"".join(CHUNKS), "dear")


@pytest.mark.parametrize("model", ["cut", "mid-event", "no-done"])
def test_a_cut_stream_ends_with_an_error_and_no_done(gateway: httpx.Client, model: str) -> None:
    *events, last, rest = stream(gateway, model).content.split(b"\n\n")
    said = msgspec.json.decode(last.removeprefix(b"data: "))
    assert events == [CHUNKS[0].removesuffix(b"\n\n")]
    assert set(said["error"]) == {"message", "type", "param", "code"}
    assert rest == b""


@pytest.mark.parametrize("model", ["empty", "breaks-at-once"])
def test_a_stream_that_never_began_is_a_502(gateway: httpx.Client, model: str) -> None:
    answer = stream(gateway, model)
    assert answer.status_code == 502
    assert answer.json()["error"]["code"] == "upstream_unreachable"


def test_a_refusal_of_a_stream_keeps_its_status(gateway: httpx.Client) -> None:
    answer = stream(gateway, "status-429")
    assert (answer.status_code, answer.headers["content-type"]) == (429, "application/json")


def test_a_client_that_leaves_a_stream_ends_the_upstream_call(gateway: httpx.Client, upstream: Upstream) -> None:
    body = {"model": "quiet", "stream": True, "messages": MESSAGES}
    with gateway.stream("POST", "/v1/chat/completions", json=body) as answer:
        assert next(answer.iter_raw()) == CHUNKS[0]
    assert upstream.left.wait(1)


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_how_the_network_cuts_a_stream_makes_no_difference(size: int, newline: bytes) -> None:
    whole = b"".join(CHUNKS).replace(b"\n", newline)
    assert honestly(*(whole[at : at + size] for at in range(0, len(whole), size))) == whole


def test_a_done_without_its_blank_line_is_a_whole_stream() -> None:
    assert honestly(CHUNKS[0], b"data: [DONE]") == CHUNKS[0] + b"data: [DONE]"


def test_a_connection_that_breaks_after_done_is_a_whole_stream() -> None:
    assert honestly(*CHUNKS, error=UpstreamError("gone")) == b"".join(CHUNKS)


def test_words_that_look_like_done_inside_a_text_end_nothing() -> None:
    event = b'data: {"choices":[{"delta":{"content":"\\ndata: [DONE]"}}]}\n\n'
    assert b'"error"' in honestly(event)


def test_comments_and_events_of_other_kinds_pass() -> None:
    said = b": waiting\n\nevent: x\nid: 1\ndata: {}\n\ndata: [DONE]\n\n: bye\n\n"
    assert honestly(said) == said
