"""A request from authentication to its record: keys, selection, conversations, queues, records and metrics."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from router.cards import Card, Catalog
from router.decide.policy import Policies, Policy
from router.dispatch import QueueLimits
from router.formats.quantities import Dollars, OptionalSeconds, Seconds
from router.gateway.app import Gateway, make_app
from router.gateway.config.gateway_yaml import GatewayConfig, Recording
from router.gateway.config.keys import Key, Keys, hash_of
from router.perceive.text.dependence import DEPENDENT, INDEPENDENT
from router.pipeline import Router
from router.store.records.journal import Journal
from router.store.records.record import Record
from tests.gateway.servers import (
    CHUNKS,
    IndifferentPredictor,
    Upstream,
    make_card,
    make_gateway,
    make_router,
    served,
    wait_for,
)

MESSAGES = [{"role": "user", "content": "hi"}]
FOLLOW_UP = [*MESSAGES, {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "and now?"}]
NEW_TOPIC = [*FOLLOW_UP[:-1], {"role": "user", "content": "Which rivers flow through Vienna and Budapest?"}]


class ListSink:
    """A record sink that appends to a list."""

    def __init__(self, gateway: Gateway) -> None:
        self.records: list[Record] = []
        gateway.services = msgspec.structs.replace(
            gateway.services, sinks=(*gateway.services.sinks, self.records.append)
        )


@contextlib.contextmanager
def gateway_client(*cards: Card, config: GatewayConfig | None = None, keys: Keys | None = None, **options: Any):
    """A client of a gateway over `cards`, and the list of its records."""
    gateway = make_gateway(make_router(*cards), config or GatewayConfig(), keys or Keys(), **options)
    sink = ListSink(gateway)
    with served(make_app(gateway)) as url, httpx.Client(base_url=url, trust_env=False) as client:
        yield client, sink.records


def keys(**fields: Any) -> Keys:
    return Keys([Key(id="team", hash=hash_of("pv-secret"), **fields)], ["a", "b"])


def chat(client: httpx.Client, model: str = "auto", headers: dict[str, str] | None = None, **fields: Any):
    body = {"model": model, "messages": MESSAGES, **fields}
    return client.post("/v1/chat/completions", json=body, headers=headers)


BEARER = {"authorization": "Bearer pv-secret"}


@pytest.fixture
def two_cards(upstream: Upstream) -> tuple[Card, Card]:
    return make_card("a", upstream.url, price=1.0), make_card("b", upstream.url, price=2.0)


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong"}, {"authorization": "Basic pv-secret"}])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/route", "/metrics", "/v1/messages"])
def test_a_request_without_a_valid_key_is_a_401(
    two_cards: tuple[Card, Card], path: str, headers: dict[str, str]
) -> None:
    with gateway_client(*two_cards, keys=keys()) as (client, _):
        method = "GET" if path in ("/v1/models", "/metrics") else "POST"
        response = client.request(method, path, headers=headers, json={"model": "auto"} if method == "POST" else None)
        assert response.status_code == 401
        assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200


@pytest.mark.parametrize("headers", [BEARER, {"x-api-key": "pv-secret"}])
def test_a_key_is_accepted_in_either_header(two_cards: tuple[Card, Card], headers: dict[str, str]) -> None:
    with gateway_client(*two_cards, keys=keys()) as (client, records):
        assert chat(client, headers=headers).status_code == 200
    assert records[0].key == "team"


def test_a_key_restricts_cards_policies_and_the_model_list(two_cards: tuple[Card, Card]) -> None:
    with gateway_client(*two_cards, keys=keys(cards=("b",), policies=("default",))) as (client, _):
        assert chat(client, headers=BEARER).headers["x-route-card"] == "b"
        assert chat(client, "a", headers=BEARER).status_code == 404
        assert chat(client, "auto/alone", headers=BEARER).status_code == 404
        model_ids = [entry["id"] for entry in client.get("/v1/models", headers=BEARER).json()["data"]]
        assert model_ids == ["auto", "auto/default", "b"]
        assert client.get("/v1/models/a", headers=BEARER).status_code == 404


def test_a_rate_limited_key_gets_a_429_with_retry_after(two_cards: tuple[Card, Card]) -> None:
    with gateway_client(*two_cards, keys=keys(rpm=2)) as (client, _):
        responses = [chat(client, headers=BEARER) for _ in range(3)]
    assert [response.status_code for response in responses] == [200, 200, 429]
    assert responses[2].json()["error"]["code"] == "rate_limit_exceeded"
    assert 1 <= int(responses[2].headers["retry-after"]) <= 30


def test_a_budget_is_checked_before_the_call_and_charged_after_it(upstream: Upstream) -> None:
    # The upstream reports two tokens a request, so a request costs a dollar.
    expensive = make_card("a", upstream.url, price=500_000.0)
    with gateway_client(expensive, keys=keys(budget_usd_per_day=Dollars(60.0))) as (client, records):
        codes = [chat(client, headers=BEARER).status_code for _ in range(12)]
        assert codes[0] == 200
        assert 429 in codes
        rejected = chat(client, headers=BEARER)
    assert rejected.json()["error"]["code"] == "insufficient_quota"
    assert rejected.headers["x-should-retry"] == "false"
    assert {record.outcome.cost_usd for record in records if record.outcome.status == 200} == {1.0}
    assert len(upstream.seen) == codes.count(200)


def test_an_alias_resolves_to_its_target(two_cards: tuple[Card, Card]) -> None:
    config = GatewayConfig(aliases={"gpt-4o": "auto[card=b]", "small": "a"})
    with gateway_client(*two_cards, config=config) as (client, _):
        assert chat(client, "gpt-4o").headers["x-route-card"] == "b"
        assert chat(client, "small").headers["x-route-card"] == "a"
        assert client.get("/v1/models/gpt-4o").json()["id"] == "gpt-4o"


def test_the_policy_in_the_header_overrides_the_body_and_the_body_overrides_the_model_name(
    two_cards: tuple[Card, Card],
) -> None:
    with gateway_client(*two_cards) as (client, _):
        route = {"policy": "unknown"}
        assert chat(client, "auto/alone").headers["x-route-policy"] == "alone"
        assert chat(client, route={"policy": "alone"}).headers["x-route-policy"] == "alone"
        assert chat(client, headers={"x-route-policy": "alone"}, route=route).headers["x-route-policy"] == "alone"
        assert chat(client, route=route).status_code == 404


@pytest.fixture
def similar_cards(upstream: Upstream) -> tuple[Card, ...]:
    """Two cards with almost equal prices, and a far more expensive one."""
    return tuple(make_card(name, upstream.url, price=price) for name, price in (("a", 1.0), ("b", 1.01), ("c", 50.0)))


def test_a_conversation_keeps_its_card(similar_cards: tuple[Card, ...]) -> None:
    with gateway_client(*similar_cards) as (client, records):
        assert chat(client, "auto[card=b]").headers["x-route-card"] == "b"
        response = chat(client, messages=FOLLOW_UP)
    # A slightly cheaper card is no reason to switch.
    assert response.headers["x-route-card"] == "b"
    assert records[1].decision is not None
    assert records[1].decision.conversation_card == "b"


def test_a_follow_up_stays_and_an_ask_of_its_own_is_routed_again(similar_cards: tuple[Card, ...]) -> None:
    with gateway_client(*similar_cards) as (client, records):
        assert chat(client, "auto[card=c]").headers["x-route-card"] == "c"
        assert chat(client, messages=FOLLOW_UP).headers["x-route-card"] == "c"
        assert chat(client, messages=NEW_TOPIC).headers["x-route-card"] == "a"
    follow_up, new_topic = (record.decision for record in records[1:])
    assert follow_up is not None
    assert new_topic is not None
    assert follow_up.dependence > DEPENDENT
    assert new_topic.dependence < INDEPENDENT


def test_a_session_id_identifies_a_conversation_without_history(similar_cards: tuple[Card, ...]) -> None:
    with gateway_client(*similar_cards) as (client, _):
        session = {"x-route-session": "s1"}
        chat(client, "auto[card=b]", headers=session)
        assert (
            chat(client, headers=session, messages=[{"role": "user", "content": "else"}]).headers["x-route-card"] == "b"
        )
        assert chat(client, route={"session": "s2"}).headers["x-route-card"] == "a"


def test_the_dry_run_returns_the_decision_without_an_upstream_call(
    two_cards: tuple[Card, Card], upstream: Upstream
) -> None:
    with gateway_client(*two_cards) as (client, _):
        body = {"model": "auto[card=b]", "messages": MESSAGES, "tools": []}
        decision = client.post("/route", json=body).json()
        named = client.post("/v1/route", json={"model": "a", "messages": MESSAGES}).json()
        decision_for_responses = client.post("/route", json={"model": "auto", "input": "hi"}).json()
        rejected = client.post("/route", json={"model": "auto[sise<7B]", "messages": MESSAGES})
    assert (decision["card"], list(decision["rejections"])) == ("b", ["a"])
    assert named == {"card": "a", "named": True}
    assert decision_for_responses["card"] == "a"
    assert (rejected.status_code, rejected.json()["error"]["code"]) == (400, "invalid_flag")
    assert upstream.seen == []


def test_tokens_are_estimated_where_no_upstream_counts_them(two_cards: tuple[Card, Card]) -> None:
    body = {"model": "a", "max_tokens": 5, "messages": MESSAGES}
    with gateway_client(*two_cards) as (client, _):
        assert client.post("/v1/messages/count_tokens", json=body).json()["input_tokens"] > 0
        rejected = client.post("/v1/messages/count_tokens", json={**body, "messages": 7})
    assert rejected.status_code == 400
    assert rejected.json()["type"] == "error"


def test_embeddings_require_a_named_card(two_cards: tuple[Card, Card]) -> None:
    with gateway_client(*two_cards) as (client, _):
        response = client.post("/v1/embeddings", json={"model": "auto", "input": "hi"})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "model")


@pytest.mark.parametrize("card", ["a", "b"])
def test_a_key_with_policies_only_embeds_with_the_cards_whose_facts_a_policy_allows(
    two_cards: tuple[Card, Card], card: str
) -> None:
    policies = Policies([Policy(id="default", description="x", limits=("price<=1$", "quality>0.99"))])
    router = Router(Catalog(two_cards), policies, IndifferentPredictor())
    with served(make_app(make_gateway(router, keys=keys(policies=("default",))))) as url:
        response = httpx.post(f"{url}/v1/embeddings", json={"model": card, "input": "hi"}, headers=BEARER)
        named = httpx.post(f"{url}/v1/chat/completions", json={"model": card, "messages": MESSAGES}, headers=BEARER)
    # The upstream of this test has no embeddings itself.
    assert ("there is no model" in response.text) == (card == "b")
    assert "there is no model" in named.text


def test_a_silent_stream_gets_keep_alive_comments_if_configured(upstream: Upstream) -> None:
    config = GatewayConfig(keepalive_s=OptionalSeconds(0.1))
    with gateway_client(make_card("slow", upstream.url, "slow"), config=config) as (client, _):
        stream = chat(client, "slow", stream=True).content
    assert stream.count(b": keep-alive\n\n") >= 2
    assert stream.replace(b": keep-alive\n\n", b"") == b"".join(CHUNKS)


def test_a_call_that_fails_after_a_keep_alive_is_an_error_in_the_stream(upstream: Upstream) -> None:
    config = GatewayConfig(keepalive_s=OptionalSeconds(0.05), retries=0)
    config = msgspec.structs.replace(
        config, timeouts=msgspec.structs.replace(config.timeouts, first_token_s=Seconds(0.3))
    )
    with gateway_client(make_card("hang", upstream.url, "hang"), config=config) as (client, _):
        response = chat(client, "hang", stream=True)
    *_, last, rest = response.content.split(b"\n\n")
    assert response.status_code == 200
    assert msgspec.json.decode(last.removeprefix(b"data: "))["error"]["code"] == "upstream_timeout"
    assert rest == b""


def test_a_call_that_fails_after_a_keep_alive_costs_nothing(upstream: Upstream) -> None:
    config = GatewayConfig(keepalive_s=OptionalSeconds(0.05), retries=0)
    config = msgspec.structs.replace(
        config, timeouts=msgspec.structs.replace(config.timeouts, first_token_s=Seconds(0.2))
    )
    card = make_card("hang", upstream.url, "hang", price=1.0)
    # Enough for one call that is expected to have 500 tokens.
    with gateway_client(card, config=config, keys=keys(budget_usd_per_day=Dollars(0.0008))) as (client, _):
        statuses = [chat(client, "hang", BEARER, stream=True).status_code for _ in range(2)]
    assert statuses == [200, 200]


def test_requests_beyond_the_concurrency_limit_wait_and_beyond_the_queue_get_a_503(upstream: Upstream) -> None:
    config = GatewayConfig(max_concurrency=1, queue=QueueLimits(size=1, wait_s=Seconds(20)))
    with gateway_client(make_card("slow", upstream.url, "slow"), config=config) as (client, _):
        responses: list[httpx.Response] = []
        threads = [
            threading.Thread(target=lambda: responses.append(chat(client, "slow", stream=True))) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(response.status_code for response in responses) == [200, 200, 503, 503]
    busy = next(response for response in responses if response.status_code == 503)
    assert (busy.json()["error"]["code"], busy.headers["retry-after"]) == ("overloaded", "1")


def test_a_record_has_the_attempts_the_decision_and_the_outcome(
    two_cards: tuple[Card, Card], upstream: Upstream
) -> None:
    with gateway_client(make_card("bad", upstream.url, "status-500", price=0.1), *two_cards) as (client, records):
        response = chat(client, stream=True, headers={"x-request-id": "mine"})
    record = records[0]
    assert (record.surface, record.asked, record.stream, record.prompt) == ("chat", "auto", True, None)
    assert record.id.startswith("mine.")
    assert [(attempt.card, attempt.status, attempt.fault) for attempt in record.outcome.attempts] == [
        ("bad", 500, "http_500"),
        ("a", 200, None),
    ]
    assert (record.outcome.card, record.outcome.status, record.outcome.error) == ("a", 200, None)
    assert record.decision is not None
    assert (record.decision.card, record.decision.fallbacks) == ("bad", ("a", "b"))
    assert response.content.endswith(b"data: [DONE]\n\n")


def test_prompts_are_recorded_only_if_configured(two_cards: tuple[Card, Card]) -> None:
    with gateway_client(*two_cards, config=GatewayConfig(records=Recording(prompts=True))) as (client, records):
        chat(client)
    assert records[0].prompt is not None
    assert msgspec.json.decode(records[0].prompt)["messages"] == MESSAGES


def test_a_client_disconnect_is_recorded_with_status_499(upstream: Upstream) -> None:
    with gateway_client(make_card("hang", upstream.url, "hang")) as (client, records):
        with pytest.raises(httpx.ReadTimeout):
            client.post(
                "/v1/chat/completions", json={"model": "hang", "messages": MESSAGES}, timeout=httpx.Timeout(5, read=0.3)
            )
        assert wait_for(lambda: bool(records))
    assert (records[0].outcome.status, records[0].outcome.error) == (499, "client_left")


def test_the_record_is_written_before_the_client_has_its_whole_response(
    two_cards: tuple[Card, Card], tmp_path: Path
) -> None:
    journal = Journal.open(tmp_path)
    with gateway_client(*two_cards, journal=journal) as (client, _):
        for stream in (False, True):
            chat(client, stream=stream)
            assert journal.written == 1 + stream


def test_metrics_openapi_and_readiness_are_served(two_cards: tuple[Card, Card]) -> None:
    with gateway_client(*two_cards) as (client, _):
        chat(client)
        metrics = client.get("/metrics").text
        assert "pulvinar_requests_total{" in metrics
        assert client.get("/openapi.json").json()["openapi"].startswith("3.1")
        assert client.get("/readyz").json() == {"ready": True}


def test_paths_work_with_and_without_v1_and_with_a_query(two_cards: tuple[Card, Card]) -> None:
    with gateway_client(*two_cards) as (client, _):
        body = {"model": "a", "messages": MESSAGES}
        for path in ("/chat/completions", "/v1/chat/completions?beta=true", "/v1/chat/completions"):
            assert client.post(path, json=body).status_code == 200
        assert client.head("/").status_code == client.get("/").status_code == 200


def test_an_error_has_the_format_of_the_requests_protocol(two_cards: tuple[Card, Card]) -> None:
    with gateway_client(*two_cards) as (client, _):
        openai = client.post("/v1/responses", json={"model": "unknown", "input": "hi"})
        anthropic = client.post("/v1/messages", json={"model": "unknown", "max_tokens": 5, "messages": MESSAGES})
        unknown_path = client.post("/v1/messages/nothing", json={})
    assert (openai.status_code, openai.json()["error"]["code"]) == (404, "model_not_found")
    assert (anthropic.status_code, anthropic.json()["error"]["type"]) == (404, "not_found_error")
    assert (unknown_path.status_code, unknown_path.json()["type"]) == (404, "error")
    assert anthropic.headers["request-id"] == anthropic.headers["x-request-id"]


def test_a_cooling_down_card_is_probed_if_it_is_the_only_candidate(upstream: Upstream) -> None:
    with gateway_client(make_card("bad", upstream.url, "status-500")) as (client, _):
        responses = [chat(client) for _ in range(5)]
    assert [response.status_code for response in responses] == [500] * 4 + [503]
    assert responses[-1].headers["retry-after"] == "1"
    assert len(upstream.seen) == 4
