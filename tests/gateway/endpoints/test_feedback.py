"""POST /v1/feedback, by clients with keys, about requests that this gateway has answered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from router.gateway.app import make_app
from router.gateway.config.gateway_yaml import GatewayConfig
from router.gateway.config.keys import Key, Keys, hash_of
from router.gateway.telemetry.spans import Traces
from router.store.backend import FolderBackend
from router.store.records.journal import Journal
from router.store.records.sqlite import SqliteRecords
from tests.gateway.servers import Upstream, make_card, make_gateway, make_router, served


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def client(upstream: Upstream, tmp_path: Path, spans: InMemorySpanExporter) -> Iterator[httpx.Client]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    keys = Keys([Key(id=name, hash=hash_of(name)) for name in ("ann", "bob")], ["working", "failing"])
    cards = make_card("working", upstream.url, "ok"), make_card("failing", upstream.url, "status-400")
    parts: dict[str, Any] = {
        "journal": Journal.open(tmp_path, interval_s=0.02),
        "backend": FolderBackend(tmp_path),
        "traces": Traces(provider, lambda _: None),
    }
    with (
        served(make_app(make_gateway(make_router(*cards), GatewayConfig(), keys, **parts))) as url,
        httpx.Client(base_url=url, trust_env=False, headers={"authorization": "Bearer ann"}) as http,
    ):
        yield http


def ask(client: httpx.Client, model: str = "working") -> str:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    return client.post("/v1/chat/completions", json=body).headers["x-request-id"]


def give(client: httpx.Client, **fields: Any) -> httpx.Response:
    return client.post("/v1/feedback", json=fields)


def test_feedback_about_an_answer_is_stored(client: httpx.Client, tmp_path: Path) -> None:
    id_ = ask(client)
    response = give(client, id=id_, value=0.25, comment="wrong unit", source="unit-tests")
    assert response.json() == {"id": id_, "source": "unit-tests", "value": 0.25, "is_new": True}
    with SqliteRecords.open(tmp_path) as records:
        [stored] = records.feedback_of(id_)
    assert (stored.key, stored.comment, stored.value) == ("ann", "wrong unit", 0.25)


def test_a_retry_gets_the_same_answer_and_a_change_a_409(client: httpx.Client) -> None:
    id_ = ask(client)
    first, again, other = (give(client, id=id_, verdict=word) for word in ("good", "good", "bad"))
    assert (first.json()["is_new"], again.json()["is_new"]) == (True, False)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "conflict")


def test_another_key_cannot_judge_the_answer(client: httpx.Client) -> None:
    id_ = ask(client)
    bob = {"authorization": "Bearer bob"}
    responses = [client.post("/v1/feedback", json={"id": name, "value": 0}, headers=bob) for name in (id_, "req_none")]
    messages = {
        response.json()["error"]["message"].replace(name, "…")
        for response, name in zip(responses, (id_, "req_none"), strict=True)
    }
    assert [response.status_code for response in responses] == [404, 404]
    assert len(messages) == 1


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"value": 1.5}, "value"),
        ({"value": "good"}, "value"),
        ({"verdict": "fine"}, "verdict"),
        ({}, "value"),
        ({"value": 1, "verdict": "good"}, "value"),
        ({"value": 1, "source": "two words"}, "source"),
        ({"value": 1, "comment": "x" * 2001}, "comment"),
        ({"value": 1, "score": 1}, "score"),
    ],
)
def test_what_cannot_be_feedback_is_a_400_that_names_the_field(
    client: httpx.Client, fields: dict[str, Any], param: str
) -> None:
    response = give(client, id="req_any", **fields)
    assert response.status_code == 400
    assert param in response.json()["error"]["message"]


def test_a_request_that_failed_cannot_be_judged(client: httpx.Client) -> None:
    assert give(client, id=give(client, id="req_none", value=1).headers["x-request-id"], value=1).status_code == 400


def test_feedback_is_counted_by_card_and_exported_as_an_evaluation(
    client: httpx.Client, spans: InMemorySpanExporter
) -> None:
    id_ = ask(client)
    give(client, id=id_, verdict="mixed", comment="secret words")
    give(client, id=id_, verdict="mixed", comment="secret words")
    text = client.get("/metrics").text
    assert 'pulvinar_feedback_value_count{card="working"} 1.0' in text
    assert 'pulvinar_feedback_value_sum{card="working"} 0.5' in text
    [event] = [event for span in spans.get_finished_spans() for event in span.events if "evaluation" in event.name]
    assert event.name == "gen_ai.evaluation.result"
    assert dict(event.attributes or {}) == {
        "gen_ai.evaluation.name": "client",
        "gen_ai.evaluation.score.value": 0.5,
        "gen_ai.evaluation.score.label": "mixed",
        "gen_ai.response.id": id_,
        "pulvinar.card": "working",
    }


def test_a_gateway_without_records_says_so(upstream: Upstream) -> None:
    with (
        served(make_app(make_gateway(make_router(make_card("working", upstream.url))))) as url,
        httpx.Client(base_url=url, trust_env=False) as http,
    ):
        response = give(http, id="req_any", value=1)
    assert response.status_code == 503
    assert "keeps no records" in response.json()["error"]["message"]


def test_a_store_that_cannot_be_written_is_a_503_that_may_pass(client: httpx.Client, tmp_path: Path) -> None:
    id_ = ask(client)
    give(client, id=id_, value=1, source="first")
    (tmp_path / "records.sqlite").write_bytes(b"this is no database, and never was one" * 40)
    for name in ("records.sqlite-wal", "records.sqlite-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    response = give(client, id=id_, value=1, source="second")
    assert response.status_code == 503
    assert "retry-after" in response.headers
    assert str(tmp_path) not in response.text


def test_only_an_operator_judges_as_the_operator(client: httpx.Client) -> None:
    refused = give(client, id=ask(client), value=1, source="operator")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "source")
