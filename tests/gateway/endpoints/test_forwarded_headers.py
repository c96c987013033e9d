"""Headers of an upstream that gateway.yaml lets clients see."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from router.gateway.config.gateway_yaml import GatewayConfig
from tests.dispatch.calls import raw_server
from tests.gateway.servers import CHUNKS, COMPLETION, gateway_server, make_card, served

SENT = {
    "x-ratelimit-remaining-tokens": "149984",
    "anthropic-ratelimit-requests-remaining": "49",
    "x-request-id": "req_upstream",
    "set-cookie": "a=b",
    "x-secret": "1",
    "openai-organization": "org",
}
PATTERNS = ("x-ratelimit-*", "anthropic-ratelimit-*", "openai-organization", "set-cookie", "x-request-id")


async def answer(request: Request) -> Response:
    body = json.loads(await request.body())
    if body["model"] == "busy":
        return Response(b'{"error": {"message": "slow down"}}', 429, SENT, "application/json")
    if body.get("stream"):
        return Response(b"".join(CHUNKS), 200, SENT, "text/event-stream")
    return Response(json.dumps(COMPLETION), 200, SENT, "application/json")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served(Starlette(routes=[Route("/v1/chat/completions", answer, methods=["POST"])])) as upstream:
        yield upstream


def ask(url: str, model: str, patterns: tuple[str, ...], path: str, **fields: object) -> httpx.Response:
    config = GatewayConfig(forward_headers=patterns)
    with gateway_server(make_card("a", url, model), config=config) as gateway:
        body = {"model": "a", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], **fields}
        return httpx.post(gateway + path, json=body, trust_env=False)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize(("model", "stream"), [("ok", False), ("ok", True), ("busy", False)])
def test_the_named_headers_come_back_with_answers_streams_and_errors(
    url: str, path: str, model: str, stream: bool
) -> None:
    response = ask(url, model, PATTERNS, path, stream=stream)
    assert response.status_code == (429 if model == "busy" else 200)
    assert response.headers["x-ratelimit-remaining-tokens"] == "149984"
    assert response.headers["anthropic-ratelimit-requests-remaining"] == "49"
    assert response.headers["openai-organization"] == "org"
    assert response.headers["x-request-id"] != "req_upstream"
    assert not {"x-secret", "set-cookie"} & set(response.headers)


@pytest.mark.parametrize("stream", [False, True])
def test_by_default_none_does(url: str, stream: bool) -> None:
    response = ask(url, "ok", (), "/v1/chat/completions", stream=stream)
    assert not [name for name in response.headers if "ratelimit" in name or "organization" in name]


def test_a_header_with_control_characters_does_not_break_a_good_answer() -> None:
    body = json.dumps(COMPLETION).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-should-retry: tr\x01ue\r\nretry-after: 3\r\n"
    with raw_server(head + b"content-length: %d\r\nconnection: close\r\n\r\n%s" % (len(body), body)) as upstream:
        response = ask(upstream, "ok", PATTERNS, "/v1/chat/completions")
    assert (response.status_code, response.headers.get("x-should-retry")) == (200, None)
    assert response.json()["choices"][0]["message"]["content"] == "Hello"
