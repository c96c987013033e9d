"""The fallback receives exactly the request of the first candidate."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.faults.gateways import KEY, KEY_VARIABLE, fault_card, short_timeouts
from tests.faults.upstream import Upstream
from tests.gateway.servers import gateway_server

FAULTS = ("server-error", "rate-limited", "cuts-before-headers", "cuts-after-role", "error-after-role")
_TOOL = {"name": "now", "description": "The time.", "parameters": {"type": "object", "properties": {}}}
_CALL = {"id": "call_1", "type": "function", "function": {"name": "now", "arguments": "{}"}}
BODIES: dict[str, dict[str, Any]] = {
    "plain": {"messages": [{"role": "user", "content": "hi"}]},
    "assistant-last": {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Well,"}]},
    "tools": {
        "messages": [
            {"role": "user", "content": "what time is it?"},
            {"role": "assistant", "content": None, "tool_calls": [_CALL]},
            {"role": "tool", "tool_call_id": "call_1", "content": "noon"},
        ],
        "tools": [{"type": "function", "function": _TOOL}],
        "tool_choice": "auto",
    },
    "cache-control": {
        "messages": [
            {
                "role": "system",
                "content": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
            },
            {"role": "user", "content": "hi"},
        ]
    },
    "unknown-fields": {
        "messages": [{"role": "user", "content": "hi", "odd": {"deep": [1, 2.5, None, "é", "\U0001f600"]}}],
        "seed": 7,
        "temperature": 0.0,
        "novel": {"a": [True, {"b": 1e-9}]},
    },
    "half-a-surrogate-pair": {"messages": [{"role": "user", "content": "cut \ud83d"}]},
}


CASES = tuple(
    (fault, body, stream, f"{fault}.{body}.{'stream' if stream else 'whole'}")
    for fault in FAULTS
    for body in BODIES
    for stream in (False, True)
)


@pytest.fixture(scope="module")
def gateway(upstream: Upstream) -> Iterator[httpx.Client]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEY_VARIABLE, KEY)
        # Two cards for each case: a card that failed in several cases would cool down.
        capabilities: dict[str, Any] = {"capabilities": ("tools",)}
        cards = [
            card
            for fault, _, _, name in CASES
            for card in (
                fault_card(f"{name}.bad", upstream.url, fault, tags=(name,), price=1.0, **capabilities),
                fault_card(f"{name}.good", upstream.url, "ok", tags=(name,), price=2.0, **capabilities),
            )
        ]
        with (
            gateway_server(*cards, config=short_timeouts()) as url,
            httpx.Client(base_url=url, trust_env=False, timeout=30) as client,
        ):
            yield client


@pytest.mark.parametrize(("fault", "body", "stream", "name"), CASES, ids=[case[3] for case in CASES])
def test_a_fallback_receives_the_clients_request(
    gateway: httpx.Client, upstream: Upstream, fault: str, body: str, stream: bool, name: str
) -> None:
    request = {"model": f"auto[tag={name}]", **BODIES[body], **({"stream": True} if stream else {})}
    response = gateway.post("/v1/chat/completions", content=json.dumps(request).encode())
    assert response.status_code == 200
    calls = [*upstream.seen_at(f"{name}.bad"), *upstream.seen_at(f"{name}.good")]
    # A broken connection is retried once.
    assert [call.model for call in calls] in ([fault, "ok"], [fault, fault, "ok"])
    for call in calls:
        # The gateway may request the usage itself.
        received = {key: value for key, value in call.body.items() if key != "stream_options"}
        assert received == {**request, "model": call.model}


def test_embeddings_are_not_streamed_even_if_requested(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    with gateway_server(fault_card("ok", upstream.url, "ok"), config=short_timeouts()) as url:
        body = {"model": "ok", "input": "hi", "stream": True}
        response = httpx.post(f"{url}/v1/embeddings", json=body, trust_env=False)
    assert response.status_code == 200
    assert response.json()["data"][0]["embedding"]
