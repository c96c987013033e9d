"""Keys are tried at their provider with one request for a list of models."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import msgspec
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from router.cards import Card
from router.dispatch.discovery.key_check import KeyCheck, check_keys
from tests.dispatch.calls import raw_server, unused_address
from tests.gateway.servers import make_card, served

RIGHT, VARIABLE = "right-key", "PULVINAR_TEST_KEY"
WRONG_XAI = {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: xa***gA."}
WRONG_GEMINI = {
    "error": {
        "code": 400,
        "message": "API key not valid. Please pass a valid API key.",
        "status": "INVALID_ARGUMENT",
        "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}],
    }
}


@contextlib.contextmanager
def provider(header: str, path: str, status: int = 401, body: object = None) -> Iterator[tuple[str, list[str]]]:
    """A provider that answers `status` to a wrong key in `header`; the values are its URL and the requested paths."""
    paths: list[str] = []

    async def answer(request: Request) -> Response:
        paths.append(request.url.path)
        if request.url.path != path:
            return JSONResponse({}, 404)
        key = request.headers.get(header, "").removeprefix("Bearer ")
        return JSONResponse({"data": []}) if key == RIGHT else JSONResponse(body or {}, status)

    with served(Starlette(routes=[Route("/{path:path}", answer)])) as url:
        yield url, paths


def check(*cards: Card, timeout_s: float = 5.0) -> tuple[KeyCheck, ...]:
    return asyncio.run(check_keys(cards, timeout_s))


def hosted(url: str, name: str = "gpt", provider: str = "openai") -> Card:
    return make_card(name, url, provider=provider, base_url=url, api_key_env=VARIABLE)


@pytest.mark.parametrize(
    ("name", "header", "base", "path", "status", "body"),
    [
        ("openai", "authorization", "/v1", "/v1/models", 401, None),
        ("groq", "authorization", "/openai/v1", "/openai/v1/models", 401, None),
        ("mistral", "authorization", "/v1", "/v1/models", 401, {"detail": "Unauthorized"}),
        ("deepseek", "authorization", "/v1", "/v1/models", 401, None),
        ("xai", "authorization", "/v1", "/v1/models", 400, WRONG_XAI),
        ("anthropic", "x-api-key", "", "/v1/models", 401, None),
        ("gemini", "x-goog-api-key", "/v1beta", "/v1beta/models", 400, WRONG_GEMINI),
        ("openrouter", "authorization", "/api/v1", "/api/v1/key", 401, None),
    ],
)
def test_a_key_is_accepted_or_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, header: str, base: str, path: str, status: int, body: object
) -> None:
    with provider(header, path, status, body) as (url, paths):
        monkeypatch.setenv(VARIABLE, RIGHT)
        (accepted,) = check(hosted(f"{url}{base}", provider=name))
        monkeypatch.setenv(VARIABLE, "wrong-key")
        (refused,) = check(hosted(f"{url}{base}", provider=name))
    assert (accepted.state, accepted.problem) == ("ok", None)
    assert refused.state == "refused"
    assert refused.problem == f"{VARIABLE} is refused by 127.0.0.1 (HTTP {status})"
    assert paths == [path, path]


def test_a_provider_that_does_not_respond_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, RIGHT)
    (unreachable,) = check(hosted(f"{unused_address()}/v1"))
    assert unreachable.state == "unreachable"
    assert unreachable.detail.startswith("127.0.0.1 cannot be reached: ")
    assert "Connect call failed" in unreachable.detail
    assert unreachable.problem == unreachable.detail


def test_a_provider_is_unreachable_where_the_gateway_would_not_accept_its_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(VARIABLE, RIGHT)
    with raw_server(b"HTTP/1.1 200 OK\r\nx-a: b\r\n c\r\ncontent-length: 2\r\n\r\n{}") as url:
        (checked,) = check(hosted(f"{url}/v1"))
    assert checked.problem == "127.0.0.1 cannot be reached: a header of the answer is folded"


def test_a_proxy_that_the_gateway_cannot_use_makes_a_provider_unreachable_and_ends_no_other_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(VARIABLE, RIGHT)
    monkeypatch.setenv("HTTP_PROXY", "socks5://127.0.0.1:1080")
    with provider("authorization", "/v1/models") as (url, _):
        far, near = check(hosted("http://far.test/v1", "far"), hosted(f"{url}/v1", "near"))
    assert (far.state, near.state) == ("unreachable", "ok")
    assert "proxy" in far.detail


def test_a_provider_that_is_too_slow_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, RIGHT)

    async def answer(_: Request) -> Response:
        await asyncio.sleep(1)
        return JSONResponse({})

    with served(Starlette(routes=[Route("/v1/models", answer)])) as url:
        (slow,) = check(hosted(f"{url}/v1"), timeout_s=0.05)
    assert slow.problem == "127.0.0.1 did not answer within 0.05 s"


@pytest.mark.parametrize(("status", "state"), [(429, "ok"), (404, "unknown"), (503, "unknown"), (400, "unknown")])
def test_another_status_does_not_make_a_key_refused(monkeypatch: pytest.MonkeyPatch, status: int, state: str) -> None:
    monkeypatch.setenv(VARIABLE, "some-key")
    with provider("authorization", "/v1/models", status, {"error": "something else"}) as (url, _):
        (checked,) = check(hosted(f"{url}/v1"))
    assert (checked.state, checked.problem) == (state, None)


def test_a_key_is_tried_once_for_all_its_cards_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "secret-wrong-key")
    with provider("authorization", "/v1/models") as (url, paths):
        (checked,) = check(hosted(f"{url}/v1", "a"), hosted(f"{url}/v1", "b"))
    assert checked.cards == ("a", "b")
    assert paths == ["/v1/models"]
    assert "secret" not in msgspec.json.encode(checked).decode()


def test_a_card_without_a_key_is_not_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert check(hosted("http://127.0.0.1:9/v1"), make_card("local", "http://127.0.0.1:9")) == ()


def test_a_key_that_no_header_may_contain_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "two\nlines")
    with provider("authorization", "/v1/models") as (url, _):
        (checked,) = check(hosted(f"{url}/v1"))
    assert (checked.state, checked.detail) == ("refused", "it has characters that no header may contain")


def test_a_provider_whose_keys_cannot_be_tried_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, RIGHT)
    (checked,) = check(Card(id="x", provider="cohere", model="x", api_key_env=VARIABLE))
    assert (checked.state, checked.problem) == ("unknown", None)


@pytest.mark.parametrize(
    ("status", "body", "state", "detail"),
    [
        (400, [WRONG_GEMINI], "refused", "HTTP 400"),
        (402, {"error": {"message": "Insufficient Balance"}}, "refused", "HTTP 402: no credit"),
        (400, {"error": {"message": "no such list"}}, "unknown", "HTTP 400"),
    ],
)
def test_what_an_error_of_the_list_says_about_the_key(
    monkeypatch: pytest.MonkeyPatch, status: int, body: object, state: str, detail: str
) -> None:
    monkeypatch.setenv(VARIABLE, "wrong-key")
    with provider("authorization", "/v1/models", status, body) as (url, _):
        (checked,) = check(hosted(f"{url}/v1"))
    assert (checked.state, checked.detail) == (state, detail)
