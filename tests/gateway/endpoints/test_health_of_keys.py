"""What the requests of one key do to another key, and how soon a card is used again, end to end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from router.dispatch import Cooldown
from router.formats.quantities import Seconds
from router.gateway.config.gateway_yaml import GatewayConfig
from router.gateway.config.keys import Key, Keys, hash_of
from tests.gateway.endpoints.test_completion import gateway_client
from tests.gateway.servers import CHUNKS, COMPLETION, make_card, served

KEYS = Keys([Key(id=name, hash=hash_of(f"pv-{name}")) for name in ("evil", "other", "victim")], ["a", "b"])
ERRORS: dict[str, tuple[int, str, dict[str, str]]] = {
    "missing item": (404, "Item with id 'rs_1' not found", {}),
    "bad field": (400, "unknown", {}),
    "bad image": (500, "the image cannot be read", {}),
    "too large": (429, "Rate limit reached on tokens per min (TPM): Limit 9, Used 8", {"retry-after": "300"}),
    "quotes a key": (400, "bad value: 'invalid api key'", {}),
    "flagged": (403, "your input was refused: 'api key expired'", {}),
}

FLAGGED_LATER = "flagged later"


class Server:
    """A model server that fails where the prompt says so. `is_down`: every answer is an error, after a while."""

    def __init__(self) -> None:
        self.is_down = False
        self.calls = 0

    async def answer(self, request: Request) -> Response:
        self.calls += 1
        text = (await request.json())["messages"][0]["content"]
        if self.is_down:
            await asyncio.sleep(0.3)
            return JSONResponse({"error": {"message": "down"}}, 500)
        if text in ERRORS:
            status, message, headers = ERRORS[text]
            return JSONResponse({"error": {"message": message, "type": "error"}}, status, headers)
        if text == FLAGGED_LATER:
            error = b'data: {"error": {"message": "stopped by the content filter", "code": "content_filter"}}\n\n'
            return StreamingResponse(iter([CHUNKS[0], error]), media_type="text/event-stream")
        return JSONResponse(COMPLETION)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def client(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-gateway-secret")
    routes = [Route("/v1/chat/completions", server.answer, methods=["POST"])]
    config = GatewayConfig(cooldown=Cooldown(time_s=Seconds(1)))
    with (
        served(Starlette(routes=routes)) as url,
        gateway_client(make_card("a", url, price=1.0), make_card("b", url, price=2.0), config=config, keys=KEYS) as (
            client,
            _,
        ),
    ):
        yield client


def chat(client: httpx.Client, key: str, model: str, text: str = "hi") -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": text == FLAGGED_LATER}
    return client.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer pv-{key}"}, timeout=30)


@pytest.mark.parametrize("text", ERRORS)
def test_failing_requests_of_one_key_leave_all_cards_to_another(client: httpx.Client, text: str) -> None:
    for model in ("a", "b") * 4:
        assert chat(client, "evil", model, text).status_code >= 400
    for model, expected in (("a", "a"), ("b", "b"), ("auto", "a")):
        answer = chat(client, "victim", model)
        assert (answer.status_code, answer.headers["x-route-card"]) == (200, expected)


def test_requests_whose_streams_end_in_an_error_of_their_own_leave_the_card_to_others(client: httpx.Client) -> None:
    for key in ("evil", "other") * 3:
        assert "content filter" in chat(client, key, "a", FLAGGED_LATER).text
    for key in ("victim", "evil"):
        assert chat(client, key, "auto").headers["x-route-card"] == "a"


def test_a_key_waits_as_long_as_the_server_asks(client: httpx.Client, server: Server) -> None:
    chat(client, "evil", "a", "too large")
    answer = chat(client, "evil", "a")
    assert (answer.status_code, server.calls) == (429, 1)
    assert int(answer.headers["retry-after"]) > 200


def test_a_card_is_used_again_one_cooldown_after_many_calls_failed_at_once(
    client: httpx.Client, server: Server
) -> None:
    async def fail_together() -> None:
        async with httpx.AsyncClient(base_url=client.base_url, trust_env=False, timeout=60) as together:
            body = {"model": "a", "messages": [{"role": "user", "content": "hi"}]}
            keys = [{"authorization": f"Bearer pv-{name}"} for name in ("other", "victim")]
            calls = (together.post("/v1/chat/completions", json=body, headers=keys[n % 2]) for n in range(40))
            await asyncio.gather(*calls)

    server.is_down = True
    asyncio.run(fail_together())
    server.is_down = False
    # With a doubled cooldown for every call it would be half a minute.
    deadline_s = time.monotonic() + 20
    while chat(client, "victim", "auto").headers["x-route-card"] != "a":
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
