"""What requests are booked with, end to end: the upstream's usage in its own words, records, costs and budgets."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from router.cards import Card
from router.cards.price import Price
from router.formats.quantities import Dollars, read_quantity
from router.store.records.record import Record
from router.types import Usage
from tests.gateway.endpoints.test_completion import BEARER, gateway_client, keys
from tests.gateway.servers import served

PRICE = {"input": "3$", "output": "15$", "cached_input": "0.3$"}
TEXT = "Four score and seven years ago our fathers brought forth a new nation. " * 4
CHAT_MESSAGES = [{"role": "user", "content": "hello there " * 20}]


class Teller:
    """A server of chat completions, messages and embeddings that reports usage as it is given. None reports nothing."""

    def __init__(self) -> None:
        self.usage: dict[str, Any] | None = None
        self.beside: dict[str, Any] = {}
        self.breaks = False
        self.choice: dict[str, Any] = {"finish_reason": "stop"}
        self.url = ""

    async def chat(self, request: Request) -> Response:
        body = json.loads(await request.body())
        head = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", **self.beside}
        usage = {} if self.usage is None else {"usage": self.usage}
        if not body.get("stream"):
            message = {"role": "assistant", "content": TEXT}
            return JSONResponse({**head, "choices": [{"index": 0, "message": message, **self.choice}], **usage})
        events = [
            {**head, "choices": [{"index": 0, "delta": {"content": f"{word} "}, "finish_reason": None}]}
            for word in TEXT.split(" ")
        ]
        events.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        if usage:
            events.append({**head, "choices": [], **usage})
        return StreamingResponse(
            iter([*(f"data: {json.dumps(event)}\n\n" for event in events), "data: [DONE]\n\n"]),
            media_type="text/event-stream",
        )

    async def messages(self, request: Request) -> Response:
        body = json.loads(await request.body())
        message = {"id": "m1", "type": "message", "role": "assistant", "model": "m", "stop_sequence": None}
        usage = self.usage or {}
        if not body.get("stream"):
            content = [{"type": "text", "text": TEXT}]
            return JSONResponse({**message, "content": content, "stop_reason": "end_turn", "usage": usage})
        start = {**message, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
        events = [
            {"type": "message_start", "message": start},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": TEXT}},
            {"type": "content_block_stop", "index": 0},
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                "usage": {"output_tokens": usage.get("output_tokens", 0)},
            },
            {"type": "message_stop"},
        ]
        if self.breaks:
            del events[3:]
        written = (f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
        return StreamingResponse(written, media_type="text/event-stream")

    async def embeddings(self, _: Request) -> Response:
        usage = {} if self.usage is None else {"usage": self.usage}
        data = [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}]
        return JSONResponse({"object": "list", "model": "m", "data": data, **usage})


@pytest.fixture
def teller(monkeypatch: pytest.MonkeyPatch) -> Iterator[Teller]:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-gateway-secret")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-gateway-secret")
    server = Teller()
    routes = [
        Route("/v1/chat/completions", server.chat, methods=["POST"]),
        Route("/v1/messages", server.messages, methods=["POST"]),
        Route("/v1/embeddings", server.embeddings, methods=["POST"]),
    ]
    with served(Starlette(routes=routes)) as url:
        server.url = url
        yield server


def card(teller: Teller, provider: str = "openai", model: str = "m", **price: Any) -> Card:
    stated = msgspec.convert({**PRICE, **price}, Price, dec_hook=read_quantity)
    return Card(id="c", provider=provider, model=model, base_url=f"{teller.url}/v1", price=stated)


@contextlib.contextmanager
def claude_through_litellm(teller: Teller, **options: Any) -> Iterator[tuple[httpx.Client, list[Record]]]:
    with gateway_client(card(teller, "anthropic", "claude-sonnet-4-5"), **options) as (client, records):
        client.timeout = httpx.Timeout(60)
        yield client, records


def ask(client: httpx.Client, path: str = "chat/completions", **fields: Any) -> httpx.Response:
    body = {"model": "c", "messages": CHAT_MESSAGES, **fields}
    return client.post(f"/v1/{path}", json=body, headers=BEARER)


def booked(records: list[Record]) -> tuple[Usage | None, float | None]:
    outcome = records[-1].outcome
    return outcome.usage, outcome.cost_usd


ANTHROPIC = {
    "input_tokens": 1000,
    "output_tokens": 200,
    "cache_creation_input_tokens": 3000,
    "cache_read_input_tokens": 6000,
    "cache_creation": {"ephemeral_5m_input_tokens": 1000, "ephemeral_1h_input_tokens": 2000},
}
ANTHROPIC_USD = (1000 * 3 + 1000 * 3.75 + 2000 * 6 + 6000 * 0.3 + 200 * 15) / 1e6


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["messages", "chat/completions"])
def test_a_claude_is_booked_to_the_token_in_both_protocols(teller: Teller, path: str, stream: bool) -> None:
    teller.usage = ANTHROPIC
    with claude_through_litellm(teller) as (client, records):
        assert ask(client, path, stream=stream, max_tokens=500).status_code == 200
        usage, cost = booked(records)
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (10_000, 200)
    assert (usage.cached_input_tokens, usage.cache_write_tokens, usage.cache_write_1h_tokens) == (6000, 3000, 2000)
    assert not usage.estimated
    assert cost == pytest.approx(ANTHROPIC_USD)


@pytest.mark.parametrize("stream", [False, True])
def test_a_budget_stops_chat_requests_to_a_claude(teller: Teller, stream: bool) -> None:
    teller.usage = {**ANTHROPIC, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "cache_creation": {}}
    with claude_through_litellm(teller, keys=keys(budget_usd_per_day=Dollars(0.03))) as (client, _):
        codes = [ask(client, stream=stream, max_tokens=200).status_code for _ in range(8)]
    assert codes[0] == 200
    assert codes[-1] == 429


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 1000, "completion_tokens": 200, "cache_read_input_tokens": 0}, (1000, 200)),
        ({"promptTokenCount": 1000, "candidatesTokenCount": 50, "thoughtsTokenCount": 150}, (1000, 200)),
        (
            {
                "prompt_tokens": 1000,
                "completion_tokens": 50,
                "total_tokens": 1200,
                "completion_tokens_details": {"reasoning_tokens": 150},
            },
            (1000, 200),
        ),
    ],
    ids=["both-vocabularies", "gemini", "xai"],
)
def test_a_relayed_answer_is_booked_in_its_vendors_words(
    teller: Teller, usage: dict[str, Any], tokens: tuple[int, int], stream: bool
) -> None:
    teller.usage = usage
    with gateway_client(card(teller)) as (client, records):
        ask(client, stream=stream)
        booking, cost = booked(records)
    assert booking is not None
    assert (booking.input_tokens, booking.output_tokens) == tokens
    assert cost == pytest.approx((1000 * 3 + 200 * 15) / 1e6)


@pytest.mark.parametrize("path", ["chat/completions", "messages", "responses"])
@pytest.mark.parametrize("stream", [False, True])
def test_an_upstream_that_reports_nothing_is_booked_by_what_it_delivered(
    teller: Teller, path: str, stream: bool
) -> None:
    with gateway_client(card(teller)) as (client, records):
        fields = {"input": CHAT_MESSAGES, "messages": None} if path == "responses" else {}
        response = ask(client, path, stream=stream, max_tokens=500, **fields)
        assert response.status_code == 200
        usage, cost = booked(records)
    assert usage is not None
    assert usage.estimated
    assert 50 <= usage.input_tokens <= 80
    assert 60 <= usage.output_tokens <= 100
    assert cost == pytest.approx((usage.input_tokens * 3 + usage.output_tokens * 15) / 1e6)
    assert records[-1].outcome.status == 200


@pytest.mark.parametrize("path", ["chat/completions", "messages", "responses"])
@pytest.mark.parametrize("choice", [{"finish_reason": "error"}, {"finish_reason": 5}], ids=["given-up", "malformed"])
def test_a_whole_answer_that_cannot_be_used_is_booked_by_what_arrived(
    teller: Teller, path: str, choice: dict[str, Any]
) -> None:
    teller.choice = choice
    with gateway_client(card(teller)) as (client, records):
        fields = {"input": CHAT_MESSAGES, "messages": None} if path == "responses" else {}
        status = ask(client, path, max_tokens=500, **fields).status_code
    # A client of chat gets the answer of the server as it is, unless the server says that it failed.
    assert status == (200 if path == "chat/completions" and choice["finish_reason"] == 5 else 502)
    cost = records[-1].outcome.cost_usd
    assert cost is not None
    assert cost > 60 * 15 / 1e6


def test_a_stream_that_breaks_off_is_booked_with_what_was_delivered(teller: Teller) -> None:
    teller.usage, teller.breaks = {"input_tokens": 1000, "output_tokens": 200}, True
    with claude_through_litellm(teller) as (client, records):
        assert "event: error" in ask(client, "messages", stream=True, max_tokens=500).text
        usage, cost = booked(records)
    # One token of output was reported at the start.
    assert usage == Usage(1000, 71, estimated=True)
    assert cost == pytest.approx((1000 * 3 + 71 * 15) / 1e6)


def test_a_budget_stops_an_upstream_that_reports_nothing(teller: Teller) -> None:
    with gateway_client(card(teller), keys=keys(budget_usd_per_day=Dollars(0.006))) as (client, _):
        codes = [ask(client).status_code for _ in range(8)]
    assert codes[0] == 200
    assert codes[-1] == 429


@pytest.mark.parametrize("count", [-5, 10**18, True, None])
@pytest.mark.parametrize("stream", [False, True])
def test_impossible_counts_are_replaced_by_estimates(teller: Teller, count: Any, stream: bool) -> None:
    teller.usage = {"prompt_tokens": count, "completion_tokens": count, "total_tokens": count}
    with gateway_client(card(teller)) as (client, records):
        ask(client, stream=stream)
        usage, cost = booked(records)
    assert usage is not None
    assert usage.estimated
    assert cost is not None
    assert 0 < cost < 0.01


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("tier", "asked", "factor"),
    [("flex", {}, 0.5), ("default", {"service_tier": "priority"}, 1.0), (None, {"service_tier": "flex"}, 0.5)],
    ids=["of-the-response", "not-granted", "of-the-request"],
)
def test_the_service_tier_that_was_granted_is_booked(
    teller: Teller, tier: str | None, asked: dict[str, Any], factor: float, stream: bool
) -> None:
    teller.usage = {"prompt_tokens": 1000, "completion_tokens": 200}
    teller.beside = {} if tier is None else {"service_tier": tier}
    with gateway_client(card(teller, flex=0.5, priority=2)) as (client, records):
        ask(client, stream=stream, **asked)
    assert booked(records)[1] == pytest.approx(factor * 0.006)


def test_embeddings_are_booked_by_their_input_alone(teller: Teller) -> None:
    teller.usage = {"prompt_tokens": 1000, "total_tokens": 1000}
    with gateway_client(card(teller)) as (client, records):
        assert ask(client, "embeddings", messages=None, input="hello").status_code == 200
    assert booked(records) == (Usage(1000, 0), pytest.approx(0.003))


def test_the_cost_of_a_whole_answer_is_in_its_header(teller: Teller) -> None:
    teller.usage = {"prompt_tokens": 1000, "completion_tokens": 200}
    with gateway_client(card(teller)) as (client, _):
        assert ask(client).headers["x-route-cost-usd"] == "0.006000"
