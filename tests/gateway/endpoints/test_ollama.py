"""Clients of Ollama's API."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.gateway.servers import Upstream, gateway_server, make_card

CHAT = {"model": "dear", "messages": [{"role": "user", "content": "hi"}]}


def test_a_conversation_is_streamed_as_lines_by_default(gateway: httpx.Client, upstream: Upstream) -> None:
    response = gateway.post("/api/chat", json=CHAT)
    lines = [json.loads(line) for line in response.text.splitlines()]
    assert response.headers["content-type"] == "application/x-ndjson"
    assert response.headers["x-route-card"] == "dear"
    assert "".join(line["message"]["content"] for line in lines) == "Hello"
    assert [line["done"] for line in lines] == [False, False, True]
    assert upstream.seen[0].body["stream"] is True


@pytest.mark.parametrize("path", ["/api/chat", "/api//chat/"])
def test_a_conversation_is_answered_whole(gateway: httpx.Client, path: str) -> None:
    answer = gateway.post(path, json={**CHAT, "stream": False}).json()
    assert (answer["message"]["content"], answer["done"]) == ("Hello", True)
    assert (answer["prompt_eval_count"], answer["eval_count"]) == (1, 1)


def test_a_prompt_is_answered_and_routed(gateway: httpx.Client) -> None:
    response = gateway.post("/api/generate", json={"model": "auto:latest", "prompt": "hi", "stream": False})
    assert response.json()["response"] == "Hello"
    assert (response.headers["x-route-policy"], response.headers["x-route-card"]) == ("default", "dear")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({**CHAT, "model": "nobody"}, 404),
        ({"model": "auto", "messages": [{"role": "nobody"}]}, 400),
        ({**CHAT, "model": "status-429"}, 429),
    ],
)
def test_an_error_is_a_text(gateway: httpx.Client, body: dict[str, object], status: int) -> None:
    response = gateway.post("/api/chat", json=body)
    assert response.status_code == status
    assert isinstance(response.json()["error"], str)


def test_a_broken_stream_ends_with_an_error(gateway: httpx.Client) -> None:
    lines = gateway.post("/api/chat", json={**CHAT, "model": "cut"}).text.splitlines()
    assert "error" in json.loads(lines[-1])
    assert not any('"done":true' in line for line in lines)


def test_models_are_listed_and_described(gateway: httpx.Client) -> None:
    listed = [entry["name"] for entry in gateway.get("/api/tags").json()["models"]]
    assert listed[0] == "auto"
    assert {"dear", "cheap", "auto/alone"} <= set(listed)
    for name in ("dear", "auto", "auto:latest"):
        shown = gateway.post("/api/show", json={"model": name}).json()
        family = shown["model_info"]["general.architecture"]
        assert shown["model_info"][f"{family}.context_length"] > 0
        assert "completion" in shown["capabilities"]
    assert gateway.post("/api/show", json={"model": "nobody"}).status_code == 404
    assert gateway.get("/api/version").json()["version"]


def test_a_card_shows_what_it_can_do(upstream: Upstream) -> None:
    card = make_card(
        "a", upstream.url, capabilities=("tools", "reasoning"), modalities=("text", "image"), family="llama"
    )
    with gateway_server(card) as url:
        shown = httpx.post(f"{url}/api/show", json={"model": "a"}, trust_env=False).json()
    assert shown["capabilities"] == ["completion", "tools", "thinking", "vision"]
    assert shown["details"]["family"] == "llama"


@pytest.mark.parametrize(
    ("path", "fields", "said", "reason"),
    [
        ("/api/generate", {}, {"response": ""}, "load"),
        ("/api/generate", {"prompt": "", "keep_alive": 0}, {"response": ""}, "unload"),
        ("/api/chat", {"messages": []}, {"message": {"role": "assistant", "content": ""}}, "load"),
    ],
)
def test_a_request_without_a_prompt_loads_the_model_and_asks_nobody(
    gateway: httpx.Client,
    upstream: Upstream,
    path: str,
    fields: dict[str, object],
    said: dict[str, object],
    reason: str,
) -> None:
    answer = gateway.post(path, json={"model": "dear", **fields}).json()
    assert answer == {
        "model": "dear", "created_at": "1970-01-01T00:00:00Z", **said, "done": True, "done_reason": reason
    }  # fmt: skip
    assert upstream.seen == []
