from __future__ import annotations

import httpx
import msgspec
import pytest

from tests.gateway.servers import CHUNKS, Upstream

MESSAGES = [{"role": "user", "content": "hi"}]


def stream(gateway: httpx.Client, model: str) -> httpx.Response:
    body = {"model": model, "stream": True, "messages": MESSAGES}
    return gateway.post("/v1/chat/completions", json=body)


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
