"""The application under a server of others: uvicorn with its own protocol, as Ray Serve runs it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import httpx
import pytest
import uvicorn

from router.gateway.app import make_app
from router.gateway.server.listener import listen
from tests.gateway.servers import Upstream, make_card, make_gateway, make_router, wait_for

HI = {"messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
def client(upstream: Upstream) -> Iterator[httpx.Client]:
    cards = (make_card("ok", upstream.url), make_card("hang", upstream.url, "hang", price=2.0))
    listener = listen("127.0.0.1", 0)
    config = uvicorn.Config(make_app(make_gateway(make_router(*cards))), log_config=None, lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    assert wait_for(lambda: server.started, 10)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", trust_env=False) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


def test_a_request_is_routed_and_answered(client: httpx.Client) -> None:
    answer = client.post("/v1/chat/completions", json={"model": "auto", **HI}, headers={"x-request-id": "mine"})
    assert answer.json()["choices"][0]["message"]["content"] == "Hello"
    assert (answer.headers["x-route-card"], answer.headers["x-request-id"]) == ("ok", "mine")


def test_a_stream_ends_with_its_last_event(client: httpx.Client) -> None:
    answer = client.post("/v1/chat/completions", json={"model": "ok", "stream": True, **HI})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.endswith("data: [DONE]\n\n")


def test_errors_and_pages_are_those_of_the_gateway(client: httpx.Client) -> None:
    assert client.get("/healthz").status_code == 200
    assert client.post("/v1/chat/completions", content=b"{").json()["error"]["type"] == "invalid_request_error"
    assert "text/html" in client.get("/dashboard").headers["content-type"]


def test_a_long_body_and_a_long_answer_arrive_whole(client: httpx.Client, upstream: Upstream) -> None:
    text = "word " * 50_000
    body = {"model": "ok", "messages": [{"role": "user", "content": text}]}
    assert client.post("/v1/chat/completions", content=json.dumps(body)).status_code == 200
    assert upstream.seen[-1].body["messages"][0]["content"] == text


def test_a_client_that_leaves_ends_the_call(client: httpx.Client, upstream: Upstream) -> None:
    with pytest.raises(httpx.ReadTimeout):
        client.post("/v1/chat/completions", json={"model": "hang", **HI}, timeout=0.5)
    assert upstream.left.wait(10)
