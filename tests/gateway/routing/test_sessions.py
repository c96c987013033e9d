"""Conversations find their card and their server again: end to end, with two servers of one card."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from router.cards import Card
from router.cards.servers import Place
from router.gateway.app import make_app
from router.gateway.config.gateway_yaml import GatewayConfig
from router.gateway.config.keys import Key, Keys, hash_of
from router.gateway.routing.sessions import Made
from tests.gateway.servers import COMPLETION, make_card, make_gateway, make_router, served

HI = {"role": "user", "content": "hi"}
GO = [{"role": "assistant", "content": "yes"}, {"role": "user", "content": "go on"}]


@dataclass
class Server:
    """A server of the Responses and chat APIs that reads only what it made itself. `broken`: it answers 503."""

    name: str
    url: str = ""
    broken: bool = False
    bodies: list[dict[str, Any]] = field(default_factory=list)

    async def chat(self, request: Request) -> Response:
        self.bodies.append(await request.json())
        return JSONResponse(COMPLETION)

    async def responses(self, request: Request) -> Response:
        body = await request.json()
        self.bodies.append(body)
        if self.broken:
            return JSONResponse({"error": {"message": "down"}}, 503)
        if body.get("previous_response_id") not in (None, f"resp_{self.name}"):
            return JSONResponse({"error": {"message": "not found", "code": "previous_response_not_found"}}, 400)
        items = body["input"] if isinstance(body["input"], list) else []
        if any(item.get("encrypted_content", self.name) != self.name for item in items):
            return JSONResponse({"error": {"message": "no", "code": "invalid_encrypted_content"}}, 400)
        reasoning = {"type": "reasoning", "id": f"rs_{self.name}", "summary": [], "encrypted_content": self.name}
        content = [{"type": "output_text", "text": "x", "annotations": []}]
        message = {"type": "message", "id": f"msg_{self.name}", "role": "assistant", "content": content}
        usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
        response = {"id": f"resp_{self.name}", "object": "response", "status": "completed", "model": body["model"]}
        response |= {"output": [reasoning, message], "usage": usage}
        if not body.get("stream"):
            return JSONResponse(response)
        events = [
            {"type": "response.created", "response": {**response, "status": "in_progress", "output": []}},
            {"type": "response.output_text.delta", "delta": "x"},
            {"type": "response.completed", "response": response},
        ]
        return Response("".join(f"data: {json.dumps(event)}\n\n" for event in events), media_type="text/event-stream")


@contextlib.contextmanager
def servers(*names: str) -> Iterator[list[Server]]:
    with contextlib.ExitStack() as stack:
        started = []
        for name in names:
            server = Server(name)
            routes = [
                Route("/v1/responses", server.responses, methods=["POST"]),
                Route("/v1/chat/completions", server.chat, methods=["POST"]),
            ]
            server.url = stack.enter_context(served(Starlette(routes=routes)))
            started.append(server)
        yield started


@contextlib.contextmanager
def client_of(*cards: Card, **parts: Any) -> Iterator[httpx.Client]:
    gateway = make_gateway(make_router(*cards), GatewayConfig(), **parts)
    with served(make_app(gateway)) as url, httpx.Client(base_url=url, trust_env=False) as client:
        yield client


def several(id_: str, *at: Server, **facts: Any) -> Card:
    """A card of the Responses API with several servers."""
    places = tuple(Place(f"{server.url}/v1") for server in at)
    return make_card(id_, "http://unused", base_url=None, deployments=places, apis=("chat", "responses"), **facts)


def ask(client: httpx.Client, model: str, input_: Any = "hi", **fields: Any) -> httpx.Response:
    headers = fields.pop("headers", None)
    return client.post("/v1/responses", json={"model": model, "input": input_, **fields}, headers=headers)


@contextlib.contextmanager
def two_servers() -> Iterator[tuple[httpx.Client, Server, Server]]:
    with servers("a", "b") as (a, b), client_of(several("two", a, b)) as client:
        yield client, a, b


def follow_up(first: httpx.Response) -> list[Any]:
    return [HI, *first.json()["output"], {"role": "user", "content": "go"}]


@pytest.mark.parametrize("model", ["two", "auto"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_stored_answer_is_continued_at_the_server_that_has_it(model: str, stream: bool) -> None:
    with two_servers() as (client, a, b):
        b.broken = True
        assert ask(client, model, stream=stream).status_code == 200
        b.broken = False
        # The other server is as little busy.
        asked = len(a.bodies)
        for _ in range(3):
            assert ask(client, model, "go", previous_response_id="resp_a").status_code == 200
        assert len(a.bodies) == asked + 3


def test_encrypted_reasoning_returns_to_its_server_without_any_session() -> None:
    with two_servers() as (client, a, b):
        a.broken = True
        first = ask(client, "two")
        a.broken = False
        moved = [{"role": "user", "content": "compacted"}, *follow_up(first)[1:]]
        assert ask(client, "two", moved).status_code == 200
        assert any("encrypted_content" in item for item in b.bodies[-1]["input"])


def test_encrypted_reasoning_is_left_out_when_its_server_fails() -> None:
    with two_servers() as (client, a, b):
        b.broken = True
        first = ask(client, "two")
        a.broken, b.broken = True, False
        second = ask(client, "two", follow_up(first))
        assert second.status_code == 200
        assert [item.get("type") for item in b.bodies[-1]["input"]] == [None, "message", None]
        assert "id" not in b.bodies[-1]["input"][1]


def test_a_stored_answer_is_asked_for_nowhere_else_when_its_server_fails() -> None:
    with two_servers() as (client, a, b):
        b.broken = True
        ask(client, "two")
        a.broken, b.broken = True, False
        asked = len(b.bodies)
        assert ask(client, "two", "go", previous_response_id="resp_a").status_code == 503
        assert len(b.bodies) == asked


def test_the_error_says_why_no_other_server_was_asked() -> None:
    with servers("b") as (b,), contextlib.ExitStack() as running:
        (a,) = running.enter_context(servers("a"))
        with client_of(several("two", a, b)) as client:
            b.broken = True
            ask(client, "two")
            b.broken = False
            running.close()
            answer = ask(client, "two", "go", previous_response_id="resp_a")
    assert answer.status_code == 502
    assert "`previous_response_id` refers to what only this server has" in answer.text


def test_under_auto_a_stored_answer_is_continued_by_the_card_that_made_it() -> None:
    with servers("a", "b") as (a, b):
        cards = [several("cheap", a), several("dear", b, price=9.0)]
        with client_of(*cards) as client:
            assert ask(client, "dear").status_code == 200
            second = ask(client, "auto", "Which rivers flow through Vienna?", previous_response_id="resp_b")
            assert (second.status_code, second.headers["x-route-card"]) == (200, "dear")
            refused = ask(client, "auto[card=cheap]", "go", previous_response_id="resp_b")
            assert refused.status_code == 400
            assert "`previous_response_id` refers to what only a server of the card" in refused.text


def test_a_reference_that_is_unknown_here_is_left_to_the_server() -> None:
    with two_servers() as (client, _, _):
        answer = ask(client, "two", "go", previous_response_id="resp_other")
        assert answer.status_code == 400
        assert "not found" in answer.text


def test_a_chat_returns_to_the_server_whose_prefix_cache_it_has() -> None:
    with two_servers() as (client, a, b):
        body = {"model": "two", "messages": [{"role": "system", "content": "Now: 21:36:25"}, HI]}
        client.post("/v1/chat/completions", json=body)
        first, other = (a, b) if a.bodies else (b, a)
        for clock in ("21:36:40", "21:37:01"):
            system = {"role": "system", "content": f"Now: {clock}"}
            client.post("/v1/chat/completions", json={"model": "two", "messages": [system, HI, *GO]})
        assert (len(first.bodies), len(other.bodies)) == (3, 0)


IDS: list[tuple[dict[str, str], dict[str, Any]]] = [
    ({"x-route-session": "s"}, {}),
    ({}, {"prompt_cache_key": "s"}),
    ({"x-claude-code-session-id": "s"}, {}),
    ({"session_id": "s"}, {}),
    ({"x-session-affinity": "s"}, {}),
    ({}, {"metadata": {"user_id": '{"device_id":"d","session_id":"s1234567"}'}}),
]


@pytest.mark.parametrize(("headers", "fields"), IDS)
def test_a_conversation_with_an_id_keeps_its_card_whatever_its_beginning(
    headers: dict[str, str], fields: dict[str, Any]
) -> None:
    with servers("a") as (a,), client_of(several("cheap", a), several("near", a, price=1.01)) as client:

        def chat(model: str, *messages: dict[str, Any]) -> str:
            body = {"model": model, "messages": messages, **fields}
            return client.post("/v1/chat/completions", json=body, headers=headers).headers["x-route-card"]

        assert chat("auto[card=near]", HI) == "near"
        assert chat("auto", {"role": "user", "content": "a summary of the conversation so far"}, *GO) == "near"


def test_two_keys_never_share_a_conversation() -> None:
    keys = Keys([Key(id=name, hash=hash_of(f"pv-{name}")) for name in ("one", "two")], ["cheap", "near"])
    with servers("a") as (a,), client_of(several("cheap", a), several("near", a, price=1.01), keys=keys) as client:

        def chat(key: str, model: str) -> str:
            headers = {"authorization": f"Bearer pv-{key}"}
            body = {"model": model, "messages": [HI, *GO], "prompt_cache_key": "shared"}
            return client.post("/v1/chat/completions", json=body, headers=headers).headers["x-route-card"]

        assert chat("one", "auto[card=near]") == "near"
        assert (chat("one", "auto"), chat("two", "auto")) == ("near", "cheap")


def test_a_step_after_the_result_of_a_tool_keeps_the_card() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    facts: dict[str, Any] = {"capabilities": ("tools",)}
    with (
        servers("a") as (a,),
        client_of(several("cheap", a, **facts), several("near", a, price=1.01, **facts)) as client,
    ):

        def chat(model: str, *messages: dict[str, Any]) -> str:
            body = {"model": model, "messages": messages, "tools": [tool]}
            return client.post("/v1/chat/completions", json=body).headers["x-route-card"]

        assert chat("auto[card=near]", HI) == "near"
        calls = {"role": "assistant", "content": None, "tool_calls": [call]}
        assert chat("auto", HI, calls, {"role": "tool", "tool_call_id": "c", "content": "1"}) == "near"


def test_a_need_of_a_request_chooses_the_card_and_is_named_where_none_has_it() -> None:
    plain: dict[str, Any] = {"capabilities": ("tools",)}
    with servers("a") as (a,):
        rich = several("rich", a, price=9.0, capabilities=("tools", "logprobs"))
        with client_of(several("cheap", a, **plain), rich) as client:
            body = {"model": "auto", "messages": [HI], "logprobs": True}
            assert client.post("/v1/chat/completions", json=body).headers["x-route-card"] == "rich"
            refused = client.post("/v1/chat/completions", json={**body, "web_search_options": {}})
            assert refused.status_code == 400
            assert "add web_search to the capabilities of a card" in refused.json()["error"]["message"]
            # A request that names its card is passed on as it is.
            named = client.post("/v1/chat/completions", json={**body, "model": "cheap", "web_search_options": {}})
            assert named.status_code == 200
            assert a.bodies[-1]["web_search_options"] == {}


def test_an_answer_that_is_not_stored_is_remembered_by_its_encrypted_reasoning_alone() -> None:
    made = Made()
    made.add(b'{"id":"resp_1","output":[{"id":"rs_1","encrypted_content":"secret"}]}')
    assert [name.partition(":")[0] for name in made.names({})] == ["response", "encrypted", "item"]
    assert [name.partition(":")[0] for name in made.names({"store": False})] == ["encrypted"]
