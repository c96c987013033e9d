from __future__ import annotations

import socket

import msgspec
import pytest

from router.cards.schema import Card
from router.dispatch.availability import unavailable_cards
from tests.gateway.servers import make_card, served


def listing(*models: str, key: str | None = None):  # type: ignore[no-untyped-def]
    """An upstream that does nothing but list its models, to those who have its key."""
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


def test_a_card_whose_server_lists_its_model_can_be_called() -> None:
    with served(listing("org/a")) as url:
        assert unavailable_cards([local("a", url)]) == {}


def test_a_server_is_asked_where_the_relay_would_call_it() -> None:
    with served(listing("org/a")) as url:
        assert unavailable_cards([local("a", url.removesuffix("/v1"))]) == {}


def test_a_card_whose_server_lists_other_models_cannot_be_called() -> None:
    with served(listing("org/b")) as url:
        reason = unavailable_cards([local("a", url)])["a"]
    assert reason.endswith("does not list org/a")


def test_a_card_whose_server_is_down_cannot_be_called_and_no_url_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    reason = unavailable_cards([local("a", f"http://127.0.0.1:{port}/v1")])["a"]
    assert reason == f"no server answers on port {port} of this machine"


def test_a_hosted_card_without_its_key_cannot_be_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    card = Card(id="x", provider="openai", model="x")
    assert unavailable_cards([card]) == {"x": "OPENAI_API_KEY is not set"}


def test_a_server_is_asked_with_its_cards_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIGHT_KEY", "right")
    monkeypatch.setenv("WRONG_KEY", "wrong")
    with served(listing("org/a", key="right")) as url:
        right, wrong, none = (
            msgspec.structs.replace(local("a", url), id=name, api_key_env=variable)
            for name, variable in (("right", "RIGHT_KEY"), ("wrong", "WRONG_KEY"), ("none", None))
        )
        reasons = unavailable_cards([right, wrong, none])
    where = f"the server on port {url.rpartition(':')[2]} of this machine"
    assert reasons == {
        "wrong": f"{where} refuses the key",
        "none": f"{where} wants a key, and the card states no api_key_env",
    }


def test_a_card_whose_address_is_no_url_cannot_be_called_and_stops_nothing() -> None:
    with served(listing("org/a")) as url:
        broken = msgspec.structs.replace(local("b", url), base_url="http://a..é/v1")
        assert unavailable_cards([local("a", url), broken]) == {"b": "its base_url is not a URL"}
