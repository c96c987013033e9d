"""What clients and records get where an upstream answers with an error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from router.store.records.record import Record, Snapshot
from tests.dispatch.errors_upstream import ErrorsUpstream, errors_upstream
from tests.gateway.servers import gateway_server, make_card

MESSAGES = [{"role": "user", "content": "hi"}]
OURS = {"key": "upstream_key", "key-400": "upstream_key", "credit": "upstream_credit", "tier": "upstream_permission"}


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> Iterator[ErrorsUpstream]:
    monkeypatch.setenv("FIRST_KEY", "sk-first-1234567890")
    with errors_upstream() as server:
        yield server


class Records(list[Record]):
    """The journal of the gateway, in memory."""

    dropped, keep_days = 0, 1

    def keep(self, snapshot: Snapshot) -> bool:
        return True

    def flush(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def records() -> Records:
    return Records()


@pytest.fixture
def client(upstream: ErrorsUpstream, records: Records) -> Iterator[httpx.Client]:
    models = (*OURS, "tools", "context", "template", "unknown", "list-in-200")
    cards = [make_card(model, upstream.url, model, api_key_env="FIRST_KEY", price=9.0) for model in models]
    cards += [make_card(f"tagged-{model}", upstream.url, model, price=1.0, tags=(f"t-{model}",)) for model in models]
    cards.append(make_card("ok", upstream.url, price=2.0, tags=tuple(f"t-{model}" for model in models)))
    with gateway_server(*cards, journal=records) as url, httpx.Client(base_url=url, trust_env=False) as client:
        yield client


def ask(client: httpx.Client, model: str, path: str = "/v1/chat/completions", **fields: Any) -> httpx.Response:
    return client.post(path, json={"model": model, "max_tokens": 9, "messages": MESSAGES, **fields})


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize(("model", "code"), OURS.items())
def test_a_refused_key_is_a_502_without_the_upstreams_words(
    client: httpx.Client, model: str, code: str, path: str
) -> None:
    response = ask(client, model, path)
    assert (response.status_code, response.headers["x-should-retry"]) == (502, "false")
    assert response.json()["error"]["message"].startswith(f'the upstream of the card "{model}" ')
    assert "sk-" not in response.text
    assert "valid API key" not in response.text
    assert path == "/v1/messages" or response.json()["error"]["code"] == code


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize(
    ("model", "status", "words"),
    [
        ("tools", 400, "model m does not support tools"),
        ("context", 400, "prompt is too long"),
        ("template", 400, "System message must be at the beginning."),
        ("unknown", 400, "the flux is inverted"),
        ("list-in-200", 400, "model m does not support tools"),
    ],
)
def test_a_fault_of_the_request_reaches_the_client_in_the_upstreams_words(
    client: httpx.Client, model: str, status: int, words: str, path: str
) -> None:
    response = ask(client, model, path)
    assert (response.status_code, response.json()["error"]["message"]) == (status, words)


@pytest.mark.parametrize("model", [*OURS, "tools", "context", "template", "unknown", "list-in-200"])
def test_a_client_sees_no_error_while_another_card_is_healthy(client: httpx.Client, model: str) -> None:
    response = ask(client, f"auto[tag=t-{model}]")
    assert (response.status_code, response.headers["x-route-card"]) == (200, "ok")


def test_the_record_of_a_refused_key_is_kept_with_its_attempts(client: httpx.Client, records: Records) -> None:
    ask(client, "key")
    outcome = records[0].outcome
    assert (outcome.status, outcome.error, [attempt.status for attempt in outcome.attempts]) == (
        502,
        "upstream_key",
        [401],
    )
