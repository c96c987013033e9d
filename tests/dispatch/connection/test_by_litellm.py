"""Calls through litellm: the proxy of the environment, the card's headers, and the upstream's rate-limit headers."""

from __future__ import annotations

import asyncio
import http.server
import json
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from router.dispatch import Call, Dispatcher, DispatchSettings, UpstreamResponse
from tests.dispatch.calls import BODY
from tests.gateway.servers import make_card

pytestmark = [
    pytest.mark.slow,
    # pydantic warns about litellm's types when it first builds their schema.
    pytest.mark.filterwarnings("ignore:Item .* is using the `ReadOnly` qualifier:UserWarning"),
]
MESSAGE = {
    "id": "m1",
    "type": "message",
    "role": "assistant",
    "model": "served",
    "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 3, "output_tokens": 2},
}

VECTORS = {"id": "e1", "embeddings": {"float": [[0.5]]}, "meta": {"billed_units": {"input_tokens": 3}}}


@dataclass
class Claude:
    """A server of Anthropic's messages, which is also a proxy for every host."""

    url: str = ""
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)


@pytest.fixture
def claude(monkeypatch: pytest.MonkeyPatch) -> Iterator[Claude]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-secret")
    seen = Claude()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            self.rfile.read(int(self.headers["content-length"]))
            body = json.dumps(VECTORS if "embed" in self.path else MESSAGE).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.send_header("anthropic-ratelimit-requests-remaining", "49")
            self.send_header("x-secret", "1")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        seen.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield seen
        finally:
            server.shutdown()
            thread.join()


def ask(url: str, **facts: object) -> UpstreamResponse:
    facts = {"provider": "anthropic", "base_url": url, "api_key_env": "ANTHROPIC_API_KEY", **facts}
    card = make_card("claude", url, "claude-x", **facts)

    async def main() -> UpstreamResponse:
        dispatcher = Dispatcher(DispatchSettings(retries=0, forward_headers=("anthropic-ratelimit-*",)))
        try:
            return await dispatcher.send_first_healthy([card], Call("chat", {**BODY, "max_tokens": 5}))
        finally:
            await dispatcher.aclose()

    return asyncio.run(main())


def test_the_proxy_of_the_environment_is_used(claude: Claude, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", claude.url)
    assert ask("http://claude.example.test").status == 200
    assert [path for path, _ in claude.asked] == ["http://claude.example.test/v1/messages"]


def test_a_server_of_this_machine_is_called_directly(claude: Claude, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert ask(claude.url).status == 200
    assert [path for path, _ in claude.asked] == ["/v1/messages"]


def test_the_cards_headers_are_sent_and_the_named_ones_come_back(claude: Claude) -> None:
    response = ask(claude.url, headers={"x-team": "search"})
    assert claude.asked[0][1]["x-team"] == "search"
    assert response.headers["anthropic-ratelimit-requests-remaining"] == "49"
    assert "x-secret" not in response.headers


def test_the_cards_headers_are_sent_with_embeddings(claude: Claude) -> None:
    facts = {"provider": "cohere", "api_key_env": "ANTHROPIC_API_KEY", "headers": {"x-team": "search"}}
    card = make_card("vectors", claude.url, "embed-v3", base_url=f"{claude.url}/embed", **facts)

    async def main() -> UpstreamResponse:
        dispatcher = Dispatcher()
        try:
            return await dispatcher.send(card, Call("embeddings", {"input": ["hi"]}))
        finally:
            await dispatcher.aclose()

    assert asyncio.run(main()).status == 200
    assert claude.asked[0][1]["x-team"] == "search"
