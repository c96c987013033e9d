"""The second request of a tool loop, at servers that are strict about the answer to the first."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from router.cards import Card
from router.dispatch import Call, Dispatcher, UpstreamResponse
from tests.dispatch.strict_upstreams import KINDS, REASONING, StrictUpstream, strict_server
from tests.dispatch.tool_loops import CLIENTS, Client, turn_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Item .* is using the `ReadOnly` qualifier:UserWarning"),
]
# Clients that keep what the gateway sealed; of chat, all reasoning is visible text.
SEALED = [name for name in CLIENTS if not name.startswith("chat")]


@pytest.fixture(scope="module")
def upstreams() -> Iterator[dict[str, StrictUpstream]]:
    contexts = {name: strict_server(name) for name in KINDS}
    servers = {name: context.__enter__() for name, context in contexts.items()}
    try:
        yield servers
    finally:
        for context in contexts.values():
            context.__exit__(None, None, None)


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", "sk-test-1234567")


def card(name: str, upstream: StrictUpstream) -> Card:
    url = f"{upstream.url}/v1"
    dialect = "gemini_openai" if name == "gemini" else None
    kind = upstream.kind
    return Card(
        id=name, provider=kind.provider, model=kind.model, base_url=url, api_key_env="TEST_KEY", dialect=dialect
    )


async def ask(dispatcher: Dispatcher, card: Card, client: Client, body: dict[str, Any], stream: bool) -> Any:
    call = Call(client.api, {"model": card.id, **body, "stream": stream}, stream)
    response: UpstreamResponse = await dispatcher.send(card, call)
    if isinstance(response.body, bytes):
        whole = response.body
    else:
        whole = b"".join([piece async for piece in response.body])
        await response.body.aclose()
    assert response.status == 200
    return turn_of(client.api, whole, stream)


def loop(client: Client, first: Card, second: Card, stream: bool = False) -> str:
    """The last turn of a loop whose requests go to these two cards."""

    async def main() -> str:
        dispatcher = Dispatcher()
        try:
            turn = await ask(dispatcher, first, client, client.first, stream)
            return json.dumps(await ask(dispatcher, second, client, client.second(turn), stream))
        finally:
            await dispatcher.aclose()

    return asyncio.run(main())


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("client", CLIENTS)
def test_the_second_request_of_a_tool_loop_is_accepted(
    upstreams: dict[str, StrictUpstream], client: str, kind: str, stream: bool
) -> None:
    server = upstreams[kind]

    last = loop(CLIENTS[client], card(kind, server), card(kind, server), stream)

    assert "done" in last


@pytest.mark.parametrize("kind", ["deepseek", "kimi", "vllm", "openrouter", "claude"])
@pytest.mark.parametrize("client", [*SEALED, "chat"])
def test_the_server_that_reasoned_gets_its_reasoning_back(
    upstreams: dict[str, StrictUpstream], client: str, kind: str
) -> None:
    server = upstreams[kind]

    loop(CLIENTS[client], card(kind, server), card(kind, server))

    assert REASONING in json.dumps(server.bodies[-1]["messages"])


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(KINDS, 2)))
@pytest.mark.parametrize("client", SEALED)
def test_another_server_accepts_the_conversation_and_gets_no_foreign_reasoning(
    upstreams: dict[str, StrictUpstream], client: str, first: str, second: str
) -> None:
    last = loop(CLIENTS[client], card(first, upstreams[first]), card(second, upstreams[second]))

    sent = json.dumps(upstreams[second].bodies[-1])
    assert "done" in last
    assert REASONING not in sent
    assert "pulvinar1." not in sent
    assert "route_state" not in sent


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(KINDS, 2)))
def test_a_chat_client_may_move_to_another_server(
    upstreams: dict[str, StrictUpstream], first: str, second: str
) -> None:
    assert "done" in loop(CLIENTS["chat"], card(first, upstreams[first]), card(second, upstreams[second]))
