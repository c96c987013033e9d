"""Fields that a card's server does not support: left out with a note, or answered by another card."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.gateway.servers import Upstream, gateway_server, make_card

HI = {"messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
def client(upstream: Upstream) -> Iterator[httpx.Client]:
    """A gateway whose cheapest card has a strict server, in front of one that accepts everything."""
    cards = (
        make_card("strict", upstream.url, "status-999", price=1.0, provider="groq"),
        make_card("mistral", upstream.url, "ok", price=2.0, provider="mistral"),
        make_card("open", upstream.url, "ok", price=3.0),
    )
    with gateway_server(*cards) as url, httpx.Client(base_url=url, trust_env=False) as client:
        yield client


def ask(client: httpx.Client, model: str, **fields: Any) -> httpx.Response:
    return client.post("/v1/chat/completions", json={"model": model, **HI, **fields})


def test_a_hint_is_left_out_and_a_header_names_it(client: httpx.Client, upstream: Upstream) -> None:
    response = ask(client, "mistral", seed=7, store=True, user="u", max_completion_tokens=5, presence_penalty=0)

    assert response.status_code == 200
    assert response.headers["x-route-dropped"] == "store, user"
    assert upstream.seen[0].body == {"model": "ok", **HI, "random_seed": 7, "max_tokens": 5, "presence_penalty": 0}


def test_the_header_of_a_stream_names_it_too(client: httpx.Client) -> None:
    response = ask(client, "mistral", store=True, stream=True)

    assert response.headers["x-route-dropped"] == "store"
    assert response.text.endswith("data: [DONE]\n\n")


def test_nothing_is_noted_where_nothing_is_lost(client: httpx.Client) -> None:
    for fields in ({}, {"store": False, "n": 1, "logprobs": False, "frequency_penalty": 0}):
        assert "x-route-dropped" not in ask(client, "mistral", **fields).headers


@pytest.mark.parametrize("fields", [{"logit_bias": {"5": -100}}, {"logprobs": True}, {"audio": {"voice": "a"}}])
def test_a_card_whose_server_refuses_the_request_is_no_candidate(
    client: httpx.Client, upstream: Upstream, fields: dict[str, Any]
) -> None:
    response = ask(client, "auto/alone", **fields)

    assert (response.status_code, response.headers["x-route-card"]) == (200, "open")
    assert len(upstream.seen) == 1


def test_a_named_card_refuses_in_our_words(client: httpx.Client, upstream: Upstream) -> None:
    response = ask(client, "mistral", logit_bias={"5": -100})

    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, "logit_bias")
    assert error["message"].startswith("`logit_bias` is not supported by Mistral")
    assert upstream.seen == []


def test_where_every_card_refuses_the_error_names_the_field(upstream: Upstream) -> None:
    cards = (make_card("a", upstream.url, provider="mistral"), make_card("b", upstream.url, provider="groq"))
    with gateway_server(*cards) as url:
        response = httpx.post(
            f"{url}/v1/chat/completions", json={"model": "auto", **HI, "logit_bias": {"5": 1}}, trust_env=False
        )

    assert response.status_code == 400
    assert "`logit_bias` is not supported by" in response.json()["error"]["message"]
