"""Which cards can be called, and what the servers on this machine list."""

from __future__ import annotations

import asyncio
import gzip
import socket
import subprocess
import sys

import msgspec
import pytest

from router.cards.schema import Card
from router.dispatch.availability import ListingProblem, ModelServer, list_servers
from tests.dispatch.http1.servers import server
from tests.gateway.servers import make_card, served


def listing(*models: str, key: str | None = None):  # type: ignore[no-untyped-def]
    """An upstream that only lists its models, to clients that send `key`."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    async def models_endpoint(request: Request) -> JSONResponse:
        if key is not None and request.headers.get("authorization") != f"Bearer {key}":
            return JSONResponse({"error": "Unauthorized"}, 401)
        return JSONResponse({"object": "list", "data": [{"id": model, "owned_by": "vllm"} for model in models]})

    return Starlette(routes=[Route("/v1/models", models_endpoint)])


def local(name: str, url: str) -> Card:
    return msgspec.structs.replace(make_card(name, url), provider="hosted_vllm", api_key_env=None, model=f"org/{name}")


def unavailable_cards(*cards: Card) -> dict[str, str]:
    return asyncio.run(list_servers(cards)).unavailable_cards(cards)


def test_a_card_whose_server_lists_its_model_can_be_called() -> None:
    with served(listing("org/a")) as url:
        assert unavailable_cards(local("a", url)) == {}


def test_the_models_are_listed_at_the_server_that_the_relay_calls() -> None:
    with served(listing("org/a")) as url:
        assert unavailable_cards(local("a", url.removesuffix("/v1"))) == {}


def test_a_card_whose_server_lists_other_models_cannot_be_called() -> None:
    with served(listing("org/b")) as url:
        reason = unavailable_cards(local("a", url))["a"]
    port = url.rpartition(":")[2].partition("/")[0]
    assert reason == f"the server on port {port} of this machine does not list org/a"


def test_a_card_whose_server_is_down_cannot_be_called_and_the_reason_contains_no_url() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    reason = unavailable_cards(local("a", f"http://127.0.0.1:{port}/v1"))["a"]
    assert reason == f"no server responds on port {port} of this machine"


def test_a_server_that_accepts_and_does_not_answer_is_slow_rather_than_down() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        card = local("a", f"http://127.0.0.1:{silent.getsockname()[1]}/v1")
        (server,) = asyncio.run(list_servers([card], timeout_s=0.1)).servers.values()
    assert server.problem is ListingProblem.SLOW


def answering(answer: bytes) -> ListingProblem | None:
    """What is wrong with the list of a server that sends these bytes and keeps the connection."""

    async def find() -> ListingProblem | None:
        async with server(lambda peer: peer.answer_all(answer)) as running:
            card = local("a", str(running.url.with_path("/v1")))
            (found,) = (await list_servers([card])).servers.values()
            return found.problem

    return asyncio.run(find())


@pytest.mark.parametrize(
    "framing", [b"transfer-encoding: chunked\r\n\r\n5\r\nwrong\r\n", b"content-length: 99\r\n\r\nwrong"]
)
def test_a_key_is_required_although_the_body_of_the_answer_does_not_end(framing: bytes) -> None:
    assert answering(b"HTTP/1.1 401 Unauthorized\r\n" + framing) is ListingProblem.KEY_REQUIRED


def test_a_compressed_list_is_read_although_none_was_asked_for() -> None:
    body = gzip.compress(b'{"data": [{"id": "org/a"}]}')
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(body)
    assert answering(head + body) is None
    assert answering(head + bytes(len(body))) is ListingProblem.NO_RESPONSE


def test_a_hosted_card_without_its_key_cannot_be_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    card = Card(id="x", provider="openai", model="x")
    assert unavailable_cards(card) == {"x": "OPENAI_API_KEY is not set"}


def test_the_models_are_listed_with_the_key_of_the_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIGHT_KEY", "right")
    monkeypatch.setenv("WRONG_KEY", "wrong")
    with served(listing("org/a", key="right")) as url:
        right, wrong, none = (
            msgspec.structs.replace(local("a", url), id=name, api_key_env=variable)
            for name, variable in (("right", "RIGHT_KEY"), ("wrong", "WRONG_KEY"), ("none", None))
        )
        reasons = unavailable_cards(right, wrong, none)
    server = f"the server on port {url.rpartition(':')[2]} of this machine"
    assert reasons == {
        "wrong": f"{server} rejects the API key",
        "none": f"{server} requires an API key; set api_key_env in the card",
    }


def test_an_invalid_base_url_makes_only_its_card_unavailable() -> None:
    with served(listing("org/a")) as url:
        broken = msgspec.structs.replace(local("b", url), base_url="http://a..é/v1")
        assert unavailable_cards(local("a", url), broken) == {"b": "base_url is not a valid URL"}


def test_the_inventory_contains_the_kind_and_the_models_of_every_server() -> None:
    with served(listing("org/a", "org/b")) as url, socket.create_server(("127.0.0.1", 0)) as unused:
        down = f"http://127.0.0.1:{unused.getsockname()[1]}"
        unused.close()
        cards = local("a", url), local("down", down), Card(id="remote", provider="openai", model="x")
        inventory = asyncio.run(list_servers(cards))
    assert inventory.servers == {
        "a": ModelServer(f"{url}/v1/models", "vLLM", ("org/a", "org/b")),
        "down": ModelServer(f"{down}/v1/models", "a server", (), ListingProblem.NO_RESPONSE),
    }


def test_a_gateway_asks_the_servers_of_its_machine_without_the_memory_of_aiohttp() -> None:
    script = (
        "import asyncio, sys\nimport router.gateway.server.serve\n"
        "from router.dispatch.availability import well_known_servers\n"
        "asyncio.run(well_known_servers())\nassert 'aiohttp' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
