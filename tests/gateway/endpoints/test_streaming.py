from __future__ import annotations

import httpx
import msgspec
import pytest

from tests.gateway.servers import CHUNKS, Upstream

MESSAGES = [{"role": "user", "content": "hi"}]


def stream(gateway: httpx.Client, model: str) -> httpx.Response:
    body = {"model": model, "stream": True, "messages": MESSAGES}
    return gateway.post("/v1/chat/completions", json=body)


def test_a_stream_is_relayed_byte_for_byte(gateway: httpx.Client) -> None:
    response = stream(gateway, "dear")
    assert response.content == b"".join(CHUNKS)
    assert response.headers["content-type"] == "text/event-stream"
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["x-accel-buffering"] == "no"
    assert response.headers["x-route-card"] == "dear"


def test_a_stream_falls_back_before_its_first_byte(gateway: httpx.Client) -> None:
    response = stream(gateway, "auto")
    assert (response.content, response.headers["x-route-card"]) == (b"".join(CHUNKS), "dear")


@pytest.mark.parametrize("model", ["cut", "mid-event", "no-done"])
def test_an_interrupted_stream_ends_with_an_error_and_without_done(gateway: httpx.Client, model: str) -> None:
    *events, last, rest = stream(gateway, model).content.split(b"\n\n")
    error_event = msgspec.json.decode(last.removeprefix(b"data: "))
    assert events == [CHUNKS[0].removesuffix(b"\n\n")]
    assert set(error_event["error"]) == {"message", "type", "param", "code"}
    assert rest == b""


@pytest.mark.parametrize("model", ["empty", "breaks-at-once"])
def test_a_stream_that_ends_before_its_first_event_is_a_502(gateway: httpx.Client, model: str) -> None:
    response = stream(gateway, model)
    assert response.status_code == 502
    assert response.json()["error"]["code"] == "upstream_unreachable"


def test_an_upstream_error_before_a_stream_keeps_its_status(gateway: httpx.Client) -> None:
    response = stream(gateway, "status-429")
    assert (response.status_code, response.headers["content-type"]) == (429, "application/json")


def test_a_client_disconnect_during_a_stream_cancels_the_upstream_call(
    gateway: httpx.Client, upstream: Upstream
) -> None:
    body = {"model": "quiet", "stream": True, "messages": MESSAGES}
    with gateway.stream("POST", "/v1/chat/completions", json=body) as response:
        assert next(response.iter_raw()) == CHUNKS[0]
    assert upstream.left.wait(1)
