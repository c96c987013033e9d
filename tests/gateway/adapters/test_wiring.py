"""Calls of adapters in one gateway: fallbacks, errors, streams, conversations, waiting, tenants."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import msgspec
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from router.cards import Card, Catalog
from router.cards.adapter.serving import AdapterServer
from router.decide.plans.catalog import Plans
from router.decide.plans.spec import Panel
from router.decide.policy import Policies, Policy
from router.dispatch import QueueLimits
from router.formats.quantities import Seconds
from router.gateway.app import make_app
from router.gateway.config.gateway_yaml import GatewayConfig
from router.gateway.config.keys import Key, Keys, hash_of
from router.pipeline import Router
from tests.dispatch.lora.scripted import ScriptedServer, ScriptedVllm, chat_answer, running
from tests.gateway.adapters.setup import make_cards, router_of
from tests.gateway.servers import IndifferentPredictor, make_card, make_gateway, served, upstream_server, wait_for

BODY = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}


@contextlib.contextmanager
def gateway(cards: list[Card], keys: Keys = Keys(), config: GatewayConfig = GatewayConfig()) -> Iterator[httpx.Client]:  # noqa: B008 - frozen
    with (
        served(make_app(make_gateway(router_of(cards), config, keys))) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=30) as client,
    ):
        yield client


def chat(client: httpx.Client, model: str, key: str = "", **fields: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer pv-{key}"} if key else {}
    return client.post("/v1/chat/completions", json={**BODY, "model": model, **fields}, headers=headers)


def text(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    return str(response.json()["choices"][0]["message"]["content"])


def held(client: httpx.Client) -> dict[str, int]:
    """The calls that use each adapter."""
    servers = client.get("/adapters").json()["servers"]
    return {each["adapter"]: each["uses"] for server in servers for each in server["adapters"]}


@pytest.fixture
def server() -> Iterator[ScriptedVllm]:
    one = ScriptedVllm(8)
    with running(one):
        yield one


def test_where_an_adapter_cannot_be_loaded_the_next_card_answers(server: ScriptedVllm) -> None:
    server.absent_paths = {"/adapters/a"}
    with gateway(make_cards([server.url], ("a",))) as client:
        response = chat(client, "auto")
        again = chat(client, "auto")
    assert (text(response), response.headers["x-route-card"]) == ("base-model", "base")
    assert text(again) == "base-model"
    # It is not tried again for every request.
    assert server.loads("a") == 1


def test_an_adapter_that_is_named_has_no_stand_in(server: ScriptedVllm) -> None:
    server.absent_paths = {"/adapters/a"}
    with gateway(make_cards([server.url], ("a",))) as client:
        response = chat(client, "a")
    assert response.status_code == 502
    assert response.json()["error"]["message"] == 'the server of the card "a" did not load the adapter'


def test_an_error_names_no_other_card_of_the_server(server: ScriptedVllm) -> None:
    server.absent_paths = {"/adapters/zoo"}
    keys = Keys([Key(id=name, hash=hash_of(f"pv-{name}")) for name in ("acme", "bob")], (), {"a-secret": "acme"})
    cards = make_cards([server.url], ("a-secret", "zoo"), facts={"a-secret": {"tenant": "acme"}}, dispatchable=False)
    with gateway(cards, keys) as client:
        refused = chat(client, "zoo", "bob")
        assert text(chat(client, "a-secret", "acme")) == "a-secret"
        assert chat(client, "a-secret", "bob").status_code == 404
    assert refused.status_code == 502
    assert "a-secret" not in refused.text
    assert server.loads("a-secret") == 1


def test_an_adapter_is_in_use_until_its_stream_ends() -> None:
    with upstream_server() as upstream:
        settings = AdapterServer("vllm", 2, manage=False)
        base = make_card("base", upstream.url, "ok", provider="hosted_vllm", adapters=settings)
        adapter = make_card("slow", upstream.url, "slow", provider="hosted_vllm", kind="adapter", base="base")
        with gateway([base, adapter]) as client:
            body = {**BODY, "model": "slow", "stream": True}
            with client.stream("POST", "/v1/chat/completions", json=body) as response:
                pieces = response.iter_raw()
                next(pieces)
                with httpx.Client(base_url=client.base_url, trust_env=False) as other:
                    during = held(other)
                list(pieces)
            assert wait_for(lambda: held(client)["slow"] == 0)
    assert during["slow"] == 1


def test_a_call_waits_for_room_and_then_gets_its_adapter(server: ScriptedVllm) -> None:
    server.is_holding = True
    with gateway(make_cards([server.url], ("a", "b"), slots=1)) as client:

        def waits() -> int:
            return int(client.get("/adapters").json()["servers"][0]["waits"])

        answers: list[str] = []
        threads = [
            threading.Thread(target=lambda name=name: answers.append(text(chat(client, name)))) for name in ("a", "b")
        ]
        for thread in threads:
            thread.start()
            assert wait_for(lambda: bool(server.chats), 10)
        assert wait_for(lambda: waits() == 1, 10)
        server.is_holding = False
        for thread in threads:
            thread.join(20)
        assert waits() == 1
    assert answers == ["a", "b"]
    assert server.most_at_once == 1


def test_a_call_that_waits_too_long_is_told_to_come_back(server: ScriptedVllm) -> None:
    server.is_holding = True
    config = GatewayConfig(queue=QueueLimits(wait_s=Seconds(0.3)))
    with (
        gateway(make_cards([server.url], ("a", "b"), slots=1), config=config) as client,
        ThreadPoolExecutor() as pool,
    ):
        first = pool.submit(chat, client, "a")
        assert wait_for(lambda: len(server.chats) == 1, 10)
        busy = chat(client, "b")
        second = pool.submit(chat, client, "auto[card!=a]")
        assert wait_for(lambda: len(server.chats) == 2, 10)
        server.is_holding = False
        routed = second.result()
        assert text(first.result()) == "a"
    assert (busy.status_code, busy.headers["retry-after"]) == (503, "1")
    assert routed.headers["x-route-card"] == "base"


def test_a_conversation_stays_at_the_server_that_answered_it() -> None:
    servers = ScriptedVllm(8), ScriptedVllm(8)
    with running(*servers), gateway(make_cards([each.url for each in servers], ("a",))) as client:
        messages: list[dict[str, str]] = []
        for turn in range(4):
            messages.append({"role": "user", "content": f"turn {turn}"})
            answer = text(chat(client, "a", messages=messages))
            messages.append({"role": "assistant", "content": answer})
    assert sorted(len(each.chats) for each in servers) == [0, 4]
    assert sorted(each.loads() for each in servers) == [0, 1]


@pytest.mark.parametrize("pinned", [(), ("a",)])
def test_a_pinned_adapter_is_never_unloaded_for_others(server: ScriptedVllm, pinned: tuple[str, ...]) -> None:
    with gateway(make_cards([server.url], ("a", "b", "c"), slots=2, pinned=pinned)) as client:
        for name in ("a", "b", "c", "b", "c", "a"):
            assert text(chat(client, name)) == name
    assert server.loads("a") == (1 if pinned else 2)


def test_a_plan_calls_its_members_adapters(server: ScriptedVllm) -> None:
    plans = Plans([Panel(id="both", description="d", members=("a", "b"), writer="base")])
    policy = Policy(id="default", description="d", goals={"cheapest": 1.0}, headers="on")
    cards = make_cards([server.url], ("a", "b"))
    router = Router(Catalog(cards), Policies([policy]), IndifferentPredictor(), plans=plans)
    with served(make_app(make_gateway(router))) as url, httpx.Client(base_url=url, trust_env=False) as client:
        assert chat(client, "plan/both").status_code == 200
    assert {body["model"] for body in server.chats} == {"a", "b", "base-model"}
    assert set(server.adapters) == {"a", "b"}


def test_cards_without_adapters_are_asked_nothing() -> None:
    asked: list[str] = []

    class Watching(ScriptedServer):
        def routes(self) -> list[Any]:
            async def answer(request: Request) -> Response:
                asked.append(request.url.path)
                return chat_answer("x", "x")

            return [Route("/{path:path}", answer, methods=["GET", "POST"])]

    one = Watching()
    with running(one):
        base, adapter = make_cards([one.url], ("a",))
        plain = [msgspec.structs.replace(card, adapters=None) for card in (base, adapter)]
        with gateway(plain) as client:
            assert chat(client, "a").status_code == 200
            time.sleep(0.8)
            assert client.get("/adapters").json() == {"servers": []}
            assert "\npulvinar_adapter" not in client.get("/metrics").text
    assert asked == ["/v1/chat/completions"]
