"""A request from its head to its record: keys, choices, conversations, queues, and what is left behind."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from router.cards import Card
from router.dispatch import Queue
from router.formats.quantities import Dollars, OptionalSeconds, Seconds
from router.gateway.app import Gateway, make_app
from router.gateway.config.gateway_yaml import GatewayConfig, Recording
from router.gateway.config.keys import Key, Keys, hash_of
from router.store.records.journal import Journal
from router.store.records.record import Record
from tests.gateway.servers import CHUNKS, Upstream, make_card, make_gateway, make_router, served, wait_for

MESSAGES = [{"role": "user", "content": "hi"}]
FOLLOW_UP = [*MESSAGES, {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "and now?"}]


class Kept:
    """A sink that keeps what it gets."""

    def __init__(self, gateway: Gateway) -> None:
        self.records: list[Record] = []
        gateway.parts = msgspec.structs.replace(gateway.parts, sinks=(*gateway.parts.sinks, self.records.append))


@contextlib.contextmanager
def asked(*cards: Card, config: GatewayConfig | None = None, keys: Keys | None = None, **parts: Any):
    """A client of a gateway over `cards`, and the records that the gateway leaves."""
    gateway = make_gateway(make_router(*cards), config or GatewayConfig(), keys or Keys(), **parts)
    kept = Kept(gateway)
    with served(make_app(gateway)) as url, httpx.Client(base_url=url, trust_env=False) as client:
        yield client, kept.records


def keys(**facts: Any) -> Keys:
    return Keys([Key(id="team", hash=hash_of("pv-secret"), **facts)], ["a", "b"])


def chat(client: httpx.Client, model: str = "auto", headers: dict[str, str] | None = None, **fields: Any):
    body = {"model": model, "messages": MESSAGES, **fields}
    return client.post("/v1/chat/completions", json=body, headers=headers)


BEARER = {"authorization": "Bearer pv-secret"}


@pytest.fixture
def two(upstream: Upstream) -> tuple[Card, Card]:
    return make_card("a", upstream.url, price=1.0), make_card("b", upstream.url, price=2.0)


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong"}, {"authorization": "Basic pv-secret"}])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/route", "/metrics", "/v1/messages"])
def test_without_its_key_nothing_is_answered(two: tuple[Card, Card], path: str, headers: dict[str, str]) -> None:
    with asked(*two, keys=keys()) as (client, _):
        method = "GET" if path in ("/v1/models", "/metrics") else "POST"
        answer = client.request(method, path, headers=headers, json={"model": "auto"} if method == "POST" else None)
        assert answer.status_code == 401
        assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200


@pytest.mark.parametrize("headers", [BEARER, {"x-api-key": "pv-secret"}])
def test_a_key_is_taken_from_either_header(two: tuple[Card, Card], headers: dict[str, str]) -> None:
    with asked(*two, keys=keys()) as (client, records):
        assert chat(client, headers=headers).status_code == 200
    assert records[0].key == "team"


def test_a_key_limits_cards_policies_and_the_list_of_models(two: tuple[Card, Card]) -> None:
    with asked(*two, keys=keys(cards=("b",), policies=("default",))) as (client, _):
        assert chat(client, headers=BEARER).headers["x-route-card"] == "b"
        assert chat(client, "a", headers=BEARER).status_code == 404
        assert chat(client, "auto/alone", headers=BEARER).status_code == 404
        listed = [entry["id"] for entry in client.get("/v1/models", headers=BEARER).json()["data"]]
        assert listed == ["auto", "auto/default", "b"]
        assert client.get("/v1/models/a", headers=BEARER).status_code == 404


def test_a_key_that_asks_too_often_is_told_when_to_come_back(two: tuple[Card, Card]) -> None:
    with asked(*two, keys=keys(rpm=2)) as (client, _):
        answers = [chat(client, headers=BEARER) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].json()["error"]["code"] == "rate_limit_exceeded"
    assert 1 <= int(answers[2].headers["retry-after"]) <= 30


def test_a_budget_is_checked_before_the_call_and_charged_after_it(upstream: Upstream) -> None:
    # The upstream counts two tokens a request, so each costs a dollar.
    dear = make_card("a", upstream.url, price=500_000.0)
    with asked(dear, keys=keys(budget_usd_per_day=Dollars(60.0))) as (client, records):
        codes = [chat(client, headers=BEARER).status_code for _ in range(12)]
        assert codes[0] == 200
        assert 429 in codes
        refused = chat(client, headers=BEARER)
    assert refused.json()["error"]["code"] == "insufficient_quota"
    assert refused.headers["x-should-retry"] == "false"
    assert {record.outcome.cost_usd for record in records if record.outcome.status == 200} == {1.0}
    assert len(upstream.seen) == codes.count(200)


def test_an_alias_stands_for_what_it_names(two: tuple[Card, Card]) -> None:
    config = GatewayConfig(aliases={"gpt-4o": "auto[card=b]", "small": "a"})
    with asked(*two, config=config) as (client, _):
        assert chat(client, "gpt-4o").headers["x-route-card"] == "b"
        assert chat(client, "small").headers["x-route-card"] == "a"
        assert client.get("/v1/models/gpt-4o").json()["id"] == "gpt-4o"


def test_a_policy_is_named_by_header_before_body_before_model(two: tuple[Card, Card]) -> None:
    with asked(*two) as (client, _):
        route = {"policy": "nobody's"}
        assert chat(client, "auto/alone").headers["x-route-policy"] == "alone"
        assert chat(client, route={"policy": "alone"}).headers["x-route-policy"] == "alone"
        assert chat(client, headers={"x-route-policy": "alone"}, route=route).headers["x-route-policy"] == "alone"
        assert chat(client, route=route).status_code == 404


@pytest.fixture
def near(upstream: Upstream) -> tuple[Card, ...]:
    """Two cards that hardly differ, beside one that is far dearer."""
    return tuple(make_card(name, upstream.url, price=price) for name, price in (("a", 1.0), ("b", 1.01), ("c", 50.0)))


def test_a_conversation_keeps_its_card(near: tuple[Card, ...]) -> None:
    with asked(*near) as (client, records):
        assert chat(client, "auto[card=b]").headers["x-route-card"] == "b"
        answer = chat(client, messages=FOLLOW_UP)
    # That the other is a little cheaper is no reason to change.
    assert answer.headers["x-route-card"] == "b"
    assert records[1].decision is not None
    assert records[1].decision.kept == "b"


def test_a_conversation_leaves_its_card_for_one_that_is_clearly_better(near: tuple[Card, ...]) -> None:
    with asked(*near) as (client, _):
        assert chat(client, "auto[card=c]").headers["x-route-card"] == "c"
        assert chat(client, messages=FOLLOW_UP).headers["x-route-card"] == "a"


def test_a_session_that_is_named_needs_no_history(near: tuple[Card, ...]) -> None:
    with asked(*near) as (client, _):
        named = {"x-route-session": "s1"}
        chat(client, "auto[card=b]", headers=named)
        assert (
            chat(client, headers=named, messages=[{"role": "user", "content": "else"}]).headers["x-route-card"] == "b"
        )
        assert chat(client, route={"session": "s2"}).headers["x-route-card"] == "a"


def test_the_dry_run_tells_the_decision_and_calls_nobody(two: tuple[Card, Card], upstream: Upstream) -> None:
    with asked(*two) as (client, _):
        body = {"model": "auto[card=b]", "messages": MESSAGES, "tools": []}
        said = client.post("/route", json=body).json()
        named = client.post("/v1/route", json={"model": "a", "messages": MESSAGES}).json()
        responses = client.post("/route", json={"model": "auto", "input": "hi"}).json()
        refused = client.post("/route", json={"model": "auto[sise<7B]", "messages": MESSAGES})
    assert (said["card"], list(said["rejections"])) == ("b", ["a"])
    assert named == {"card": "a", "named": True}
    assert responses["card"] == "a"
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_flag")
    assert upstream.seen == []


def test_tokens_are_estimated_where_no_upstream_counts(two: tuple[Card, Card]) -> None:
    body = {"model": "a", "max_tokens": 5, "messages": MESSAGES}
    with asked(*two) as (client, _):
        assert client.post("/v1/messages/count_tokens", json=body).json()["input_tokens"] > 0
        refused = client.post("/v1/messages/count_tokens", json={**body, "messages": 7})
    assert refused.status_code == 400
    assert refused.json()["type"] == "error"


def test_vectors_are_only_asked_of_a_card_that_is_named(two: tuple[Card, Card]) -> None:
    with asked(*two) as (client, _):
        answer = client.post("/v1/embeddings", json={"model": "auto", "input": "hi"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "model")


def test_a_quiet_stream_is_kept_alive_where_that_is_asked_for(upstream: Upstream) -> None:
    config = GatewayConfig(keepalive_s=OptionalSeconds(0.1))
    with asked(make_card("slow", upstream.url, "slow"), config=config) as (client, _):
        said = chat(client, "slow", stream=True).content
    assert said.count(b": keep-alive\n\n") >= 2
    assert said.replace(b": keep-alive\n\n", b"") == b"".join(CHUNKS)


def test_a_call_that_fails_after_a_sign_of_life_is_an_error_in_the_stream(upstream: Upstream) -> None:
    config = GatewayConfig(keepalive_s=OptionalSeconds(0.05), retries=0)
    config = msgspec.structs.replace(
        config, timeouts=msgspec.structs.replace(config.timeouts, first_token_s=Seconds(0.3))
    )
    with asked(make_card("hang", upstream.url, "hang"), config=config) as (client, _):
        answer = chat(client, "hang", stream=True)
    *_, last, rest = answer.content.split(b"\n\n")
    assert answer.status_code == 200
    assert msgspec.json.decode(last.removeprefix(b"data: "))["error"]["code"] == "upstream_timeout"
    assert rest == b""


def test_requests_beyond_the_limit_wait_and_beyond_the_queue_are_sent_away(upstream: Upstream) -> None:
    config = GatewayConfig(max_concurrency=1, queue=Queue(size=1, wait_s=Seconds(20)))
    with asked(make_card("slow", upstream.url, "slow"), config=config) as (client, _):
        answers: list[httpx.Response] = []
        threads = [threading.Thread(target=lambda: answers.append(chat(client, "slow", stream=True))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(answer.status_code for answer in answers) == [200, 200, 503, 503]
    busy = next(answer for answer in answers if answer.status_code == 503)
    assert (busy.json()["error"]["code"], busy.headers["retry-after"]) == ("overloaded", "1")


def test_a_record_tells_what_happened(two: tuple[Card, Card], upstream: Upstream) -> None:
    with asked(make_card("bad", upstream.url, "status-500", price=0.1), *two) as (client, records):
        answer = chat(client, stream=True, headers={"x-request-id": "mine"})
    record = records[0]
    assert (record.surface, record.asked, record.stream, record.prompt) == ("chat", "auto", True, None)
    assert record.id.startswith("mine.")
    assert [(each.card, each.status, each.fault) for each in record.outcome.attempts] == [
        ("bad", 500, "http_500"),
        ("a", 200, None),
    ]
    assert (record.outcome.card, record.outcome.status, record.outcome.error) == ("a", 200, None)
    assert record.decision is not None
    assert (record.decision.card, record.decision.fallbacks) == ("bad", ("a", "b"))
    assert answer.content.endswith(b"data: [DONE]\n\n")


def test_prompts_are_recorded_only_where_that_is_asked_for(two: tuple[Card, Card]) -> None:
    with asked(*two, config=GatewayConfig(records=Recording(prompts=True))) as (client, records):
        chat(client)
    assert records[0].prompt is not None
    assert msgspec.json.decode(records[0].prompt)["messages"] == MESSAGES


def test_a_client_that_leaves_is_recorded_as_such(upstream: Upstream) -> None:
    with asked(make_card("hang", upstream.url, "hang")) as (client, records):
        with pytest.raises(httpx.ReadTimeout):
            client.post(
                "/v1/chat/completions", json={"model": "hang", "messages": MESSAGES}, timeout=httpx.Timeout(5, read=0.3)
            )
        assert wait_for(lambda: bool(records))
    assert (records[0].outcome.status, records[0].outcome.error) == (499, "client_left")


def test_the_record_is_safe_when_the_client_has_its_answer(two: tuple[Card, Card], tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    with asked(*two, journal=journal) as (client, _):
        for stream in (False, True):
            chat(client, stream=stream)
            assert journal.written == 1 + stream


def test_metrics_and_the_document_are_served(two: tuple[Card, Card]) -> None:
    with asked(*two) as (client, _):
        chat(client)
        said = client.get("/metrics").text
        assert "pulvinar_requests_total{" in said
        assert client.get("/openapi.json").json()["openapi"].startswith("3.1")
        assert client.get("/readyz").json()["status"] == "ready"


def test_paths_work_with_and_without_their_version_and_with_a_query(two: tuple[Card, Card]) -> None:
    with asked(*two) as (client, _):
        body = {"model": "a", "messages": MESSAGES}
        for path in ("/chat/completions", "/v1/chat/completions?beta=true", "/v1/chat/completions"):
            assert client.post(path, json=body).status_code == 200
        assert client.head("/").status_code == client.get("/").status_code == 200


def test_an_error_has_the_shape_of_the_protocol_that_was_spoken(two: tuple[Card, Card]) -> None:
    with asked(*two) as (client, _):
        openai = client.post("/v1/responses", json={"model": "nobody", "input": "hi"})
        anthropic = client.post("/v1/messages", json={"model": "nobody", "max_tokens": 5, "messages": MESSAGES})
        lost = client.post("/v1/messages/nothing", json={})
    assert (openai.status_code, openai.json()["error"]["code"]) == (404, "model_not_found")
    assert (anthropic.status_code, anthropic.json()["error"]["type"]) == (404, "not_found_error")
    assert (lost.status_code, lost.json()["type"]) == (404, "error")
    assert anthropic.headers["request-id"] == anthropic.headers["x-request-id"]


def test_where_only_a_resting_card_is_left_it_is_tried_all_the_same(upstream: Upstream) -> None:
    with asked(make_card("bad", upstream.url, "status-500")) as (client, _):
        answers = [chat(client) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [500] * 5
    assert len(upstream.seen) == 5
