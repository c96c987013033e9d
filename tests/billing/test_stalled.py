"""A client that stops reading, or reads slowly, is charged for what the upstream has written."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from router.cards import Card
from router.cards.price import Price
from router.dispatch import Timeouts
from router.formats.quantities import Dollars, Seconds
from router.gateway.config.gateway_yaml import GatewayConfig
from router.gateway.config.keys import Key, Keys, hash_of
from tests.gateway.servers import MemoryJournal, gateway_server, served, wait_for

REPORTED_TOKENS = 5000
KEYS = Keys([Key(id="team", hash=hash_of("pv-team"), budget_usd_per_day=Dollars(1e6))])


def events() -> Iterator[bytes]:
    """More bytes than the system's buffers hold, and few tokens before the usage."""
    for _ in range(600):
        choice = {"index": 0, "delta": {"content": "word "}, "finish_reason": None}
        yield f"data: {json.dumps({'choices': [choice], 'padding': 'x' * 20_000})}\n\n".encode()
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    usage = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": REPORTED_TOKENS}}
    yield f"data: {json.dumps(last)}\n\ndata: {json.dumps(usage)}\n\ndata: [DONE]\n\n".encode()


async def answer(_: Request) -> Response:
    return StreamingResponse(events(), media_type="text/event-stream")


@contextlib.contextmanager
def reading_client(timeouts: Timeouts) -> Iterator[tuple[socket.socket, MemoryJournal]]:
    """A client with a small buffer that has sent a request for a stream, and the log of its gateway."""
    config, log = GatewayConfig(timeouts=timeouts), MemoryJournal()
    price = Price(Dollars(0), Dollars(1e6))
    body = json.dumps({"model": "c", "stream": True, "messages": [{"role": "user", "content": "hi"}]}).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer pv-team\r\n"
    with (
        served(Starlette(routes=[Route("/v1/chat/completions", answer, methods=["POST"])])) as upstream,
        gateway_server(
            Card(id="c", provider="openai", model="m", base_url=f"{upstream}/v1", price=price),
            config=config,
            keys=KEYS,
            journal=log,
        ) as url,
        socket.socket() as client,
    ):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((urlsplit(url).hostname, urlsplit(url).port))
        client.sendall(head + b"content-length: %d\r\n\r\n" % len(body) + body)
        yield client, log


@pytest.fixture(autouse=True)
def provider_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-gateway-secret")


def test_a_client_that_stops_reading_is_charged_for_the_whole_answer() -> None:
    with reading_client(Timeouts(send_s=Seconds(0.5))) as (_, log):
        assert wait_for(lambda: bool(log.records), 30)
    outcome = log.records[0].outcome
    assert (outcome.error, outcome.cost_usd) == ("client_stalled", REPORTED_TOKENS)


def test_a_client_that_reads_slowly_until_the_deadline_is_charged_for_the_whole_answer() -> None:
    with reading_client(Timeouts(total_s=Seconds(1.5))) as (client, log):
        client.settimeout(0.05)

        def has_record() -> bool:
            with contextlib.suppress(TimeoutError, ConnectionError):
                client.recv(4096)
            return bool(log.records)

        assert wait_for(has_record, 30)
    outcome = log.records[0].outcome
    assert outcome.error is not None
    assert outcome.cost_usd == REPORTED_TOKENS
