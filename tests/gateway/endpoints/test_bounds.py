"""What one key, one card and one slow client may take of the gateway."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import socket
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from router.dispatch import QueueLimits, Timeouts
from router.formats.quantities import Seconds
from router.gateway.app import make_app
from router.gateway.config.gateway_yaml import GatewayConfig
from router.gateway.config.keys import Key, Keys, hash_of
from router.store.records.record import Record
from tests.dispatch.calls import unused_address
from tests.gateway.servers import Upstream, gateway_server, make_card, make_gateway, make_router, served, wait_for

KEYS = Keys(
    (
        Key(id="a", hash=hash_of("pv-a"), rpm=3),
        Key(id="b", hash=hash_of("pv-b")),
        Key(id="c", hash=hash_of("pv-c"), concurrency=1),
    )
)
MESSAGES = [{"role": "user", "content": "hi"}]
EVERY_ENDPOINT = [
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/embeddings"),
    ("POST", "/v1/responses"),
    ("POST", "/v1/messages"),
    ("POST", "/v1/messages/count_tokens"),
    ("POST", "/route"),
    ("POST", "/v1/moderations"),
    ("GET", "/v1/files"),
    ("GET", "/v1/responses/resp_1"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/ok"),
    ("POST", "/api/chat"),
    ("POST", "/api/show"),
    ("GET", "/api/tags"),
    ("GET", "/metrics"),
]


class Journal:
    """Keeps records in memory."""

    dropped = 0

    def __init__(self) -> None:
        self.records: list[Record] = []

    def append(self, record: Record) -> None:
        self.records.append(record)

    def keep(self, _: object) -> bool:
        return True

    def close(self) -> None:
        pass


def bearer(key: str) -> Mapping[str, str]:
    return {"authorization": f"Bearer pv-{key}"}


def body(model: str = "ok", **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": MESSAGES, **fields}


@pytest.fixture
def journal() -> Journal:
    return Journal()


@pytest.fixture
def client(upstream: Upstream, journal: Journal) -> Iterator[httpx.Client]:
    """A gateway of eight requests at once, with a card that hangs."""
    config = GatewayConfig(
        max_concurrency=8,
        queue=QueueLimits(wait_s=Seconds(0.3)),
        timeouts=Timeouts(total_s=Seconds(20)),
        max_body_bytes=2**20,  # type: ignore[arg-type]
    )
    router = make_router(make_card("ok", upstream.url), make_card("hang", upstream.url, "hang", price=9.0))
    app = make_app(make_gateway(router, config, KEYS, journal=journal))  # type: ignore[arg-type]
    with served(app) as url, httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        yield client


@pytest.mark.parametrize(("method", "path"), EVERY_ENDPOINT)
def test_a_request_to_any_endpoint_counts_against_the_rate_of_its_key(
    client: httpx.Client, method: str, path: str
) -> None:
    for _ in range(3):
        client.request(method, path, headers=bearer("a"))
    assert client.request(method, path, headers=bearer("a")).status_code == 429
    assert client.post("/v1/chat/completions", json=body(), headers=bearer("b")).status_code == 200


@pytest.mark.parametrize(("method", "path"), EVERY_ENDPOINT)
def test_a_request_to_any_endpoint_is_recorded(client: httpx.Client, journal: Journal, method: str, path: str) -> None:
    status = client.request(method, path, headers=bearer("b")).status_code
    if path == "/metrics":
        # Read every few seconds, and in the log only.
        assert journal.records == []
        return
    record = journal.records[-1]
    assert (record.key, record.outcome.status, len(journal.records)) == ("b", status, 1)
    # The address is for the log alone.
    assert record.client is None


def test_a_request_that_asks_no_model_is_recorded(client: httpx.Client, journal: Journal) -> None:
    assert client.post("/api/generate", json={"model": "ok"}, headers=bearer("b")).status_code == 200
    assert [(record.surface, record.key) for record in journal.records] == [("ollama_generate", "b")]


def test_metrics_and_lists_are_served_where_the_gateway_is_busy(upstream: Upstream) -> None:
    config = GatewayConfig(max_concurrency=1, queue=QueueLimits(size=0))
    with (
        gateway_server(make_card("hang", upstream.url, "hang"), config=config) as url,
        concurrent.futures.ThreadPoolExecutor(1) as pool,
        httpx.Client(base_url=url, trust_env=False, timeout=30) as client,
    ):
        pool.submit(httpx.post, f"{url}/v1/chat/completions", json=body("hang"), timeout=2)
        assert wait_for(lambda: len(upstream.seen) == 1)
        assert [client.get(path).status_code for path in ("/metrics", "/v1/models", "/api/tags")] == [200, 200, 200]
        assert client.post("/route", json=body("auto")).status_code == 503


def test_the_rate_is_counted_before_the_body_is_read(client: httpx.Client) -> None:
    for _ in range(3):
        client.get("/v1/models", headers=bearer("a"))
    url = urlsplit(str(client.base_url))
    with socket.create_connection((url.hostname, url.port), timeout=10) as sock:
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer pv-a\r\n"
        sock.sendall(head + b"content-length: 1000\r\n\r\n")
        assert sock.recv(100).startswith(b"HTTP/1.1 429")


def test_calls_of_one_key_to_a_card_that_hangs_leave_room_for_others(client: httpx.Client, upstream: Upstream) -> None:
    with concurrent.futures.ThreadPoolExecutor(8) as pool, httpx.Client(base_url=client.base_url) as hanging:
        for _ in range(8):
            pool.submit(hanging.post, "/v1/chat/completions", json=body("hang"), headers=bearer("b"), timeout=2)
        assert wait_for(lambda: len(upstream.seen) == 4)
        for key in ("c", "a"):
            assert client.post("/v1/chat/completions", json=body(), headers=bearer(key)).status_code == 200
        # The same card, too: one key must not take it from the others.
        with contextlib.suppress(httpx.ReadTimeout):
            hanging.post("/v1/chat/completions", json=body("hang"), headers=bearer("a"), timeout=1)
        assert len([seen for seen in upstream.seen if seen.body["model"] == "hang"]) == 5


def test_a_key_has_a_limit_of_requests_in_progress(client: httpx.Client, upstream: Upstream) -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as pool, httpx.Client(base_url=client.base_url) as hanging:
        pool.submit(hanging.post, "/v1/chat/completions", json=body("hang"), headers=bearer("c"), timeout=2)
        assert wait_for(lambda: len(upstream.seen) == 1)
        refused = client.post("/v1/chat/completions", json=body(), headers=bearer("c"))
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert "its limit" in refused.json()["error"]["message"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_total_time_limit_is_that_of_all_calls_together(upstream: Upstream, stream: bool) -> None:
    config = GatewayConfig(timeouts=Timeouts(first_token_s=Seconds(0.8), total_s=Seconds(1.0)))
    cards = [make_card(f"hang-{number}", upstream.url, "hang", price=number) for number in range(1, 5)]
    with gateway_server(*cards, config=config) as url:
        # Each of the four had 0.8 s or 1.0 s before, so this client would have left.
        answer = httpx.post(
            f"{url}/v1/chat/completions", json=body("auto", stream=stream), timeout=2.5, trust_env=False
        )
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "upstream_timeout")
    assert len(upstream.seen) == 4


def test_a_card_that_hangs_leaves_time_for_its_fallback(upstream: Upstream) -> None:
    config = GatewayConfig(timeouts=Timeouts(total_s=Seconds(2.0)))
    cards = make_card("hang", upstream.url, "hang", price=1.0), make_card("ok", upstream.url, price=2.0)
    with gateway_server(*cards, config=config) as url:
        answer = httpx.post(f"{url}/v1/chat/completions", json=body("auto"), timeout=30, trust_env=False)
    assert (answer.status_code, answer.headers["x-route-card"]) == (200, "ok")


def test_waiting_for_a_place_ends_at_the_total_time_limit(upstream: Upstream) -> None:
    config = GatewayConfig(timeouts=Timeouts(total_s=Seconds(1.0)), max_concurrency=1)
    with (
        gateway_server(make_card("hang", upstream.url, "hang"), config=config) as url,
        concurrent.futures.ThreadPoolExecutor(2) as pool,
        httpx.Client(base_url=url, trust_env=False, timeout=30) as client,
    ):
        both = [pool.submit(client.post, "/v1/chat/completions", json=body("hang")) for _ in range(2)]
        assert [each.result().status_code for each in both] == [504, 504]


def test_failures_of_all_cards_do_not_multiply_the_calls() -> None:
    cards = [make_card(f"down-{number}", unused_address(), price=number) for number in range(1, 4)]
    with gateway_server(*cards) as url, httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        for _ in range(20):
            # A refused connection cools its card down at once, so most requests are not sent anywhere.
            assert client.post("/v1/chat/completions", json=body("auto")).status_code in (502, 503)
        calls = client.get("/metrics").text
    made = sum(
        float(line.rpartition(" ")[2]) for line in calls.splitlines() if line.startswith("pulvinar_upstream_att")
    )
    # One each, a fifth of that, and ten; before there were more than fifty.
    assert 3 <= made <= 34


def test_a_card_that_fails_always_has_a_fallback_for_every_request(upstream: Upstream) -> None:
    cards = make_card("down", unused_address(), price=1.0), make_card("ok", upstream.url, price=2.0)
    with (
        gateway_server(*cards) as url,
        concurrent.futures.ThreadPoolExecutor(60) as pool,
        httpx.Client(base_url=url, trust_env=False, timeout=30) as client,
    ):
        answers = [pool.submit(client.post, "/v1/chat/completions", json=body("auto")) for _ in range(60)]
        assert {answer.result().status_code for answer in answers} == {200}


def test_a_body_of_many_small_values_is_refused_before_it_is_decoded(client: httpx.Client) -> None:
    lists = json.dumps(body())[:-1].encode() + b',"x":[' + b"[]," * 200_000 + b"[]]}"
    refused = client.post("/v1/chat/completions", content=lists, headers=bearer("b"))
    assert refused.status_code == 400
    assert "JSON values" in refused.json()["error"]["message"]


def test_a_count_of_tokens_ends_with_its_client(upstream: Upstream) -> None:
    card = make_card("c", upstream.url, "hang", apis=("messages",))
    with gateway_server(card) as url, httpx.Client(base_url=url, timeout=0.5, trust_env=False) as client:
        with pytest.raises(httpx.ReadTimeout):
            client.post("/v1/messages/count_tokens", json={"model": "c", "messages": MESSAGES})
        assert wait_for(upstream.left.is_set)
