"""Web pages, desktop applications and host names: closed by default, opened by gateway.yaml."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from router.gateway.app import make_app
from router.gateway.config.gateway_yaml import GatewayConfig
from router.gateway.config.keys import Key, Keys, hash_of
from router.gateway.http.origins import Cors, Visitors
from tests.gateway.servers import Upstream, make_card, make_gateway, make_router, served

KEY = "pv-" + "k" * 40
CHAT = "/v1/chat/completions"
BODY = {"model": "dear", "messages": [{"role": "user", "content": "hi"}]}
ORIGINS = ("https://chat.example.org", "app://obsidian.md", "vscode-webview://*", "https://*.pages.example", "null")
ALLOWED = [
    "https://chat.example.org",
    "HTTPS://chat.example.org",
    "app://obsidian.md",
    "vscode-webview://1ab2c3",
    "https://a.b.pages.example",
    "null",
]
REFUSED = [
    "https://chat.example.org.evil.example",
    "http://chat.example.org",
    "https://evil.example",
    "app://obsidian.md.evil",
    "https://pages.example.evil",
    "file://",
    "",
]


def client_of(upstream: Upstream, config: GatewayConfig, keys: Keys) -> Iterator[httpx.Client]:
    gateway = make_gateway(make_router(make_card("dear", upstream.url)), config, keys)
    with served(make_app(gateway)) as url, httpx.Client(base_url=url, trust_env=False) as client:
        yield client


CONFIG = GatewayConfig(cors=Cors(origins=ORIGINS), allowed_hosts=("host.docker.internal", "*.internal.example"))


@pytest.fixture
def open_gateway(upstream: Upstream) -> Iterator[httpx.Client]:
    """A gateway without keys that allows some pages and hosts."""
    yield from client_of(upstream, CONFIG, Keys())


@pytest.fixture
def keyed_gateway(upstream: Upstream) -> Iterator[httpx.Client]:
    """The same with a key."""
    yield from client_of(upstream, CONFIG, Keys([Key(id="ci", hash=hash_of(KEY))]))


def preflight(client: httpx.Client, origin: str, **headers: str) -> httpx.Response:
    asked = {"origin": origin, "access-control-request-method": "POST", **headers}
    return client.options(CHAT, headers=asked)


@pytest.mark.parametrize("origin", ALLOWED)
def test_an_allowed_page_may_ask_before_its_request_without_a_key(keyed_gateway: httpx.Client, origin: str) -> None:
    response = preflight(keyed_gateway, origin, **{"access-control-request-headers": "authorization,x-stainless-os"})
    assert response.status_code == 204
    assert response.headers["access-control-allow-origin"] == origin
    assert response.headers["access-control-allow-headers"] == "authorization,x-stainless-os"
    assert "POST" in response.headers["access-control-allow-methods"]
    assert response.headers["vary"] == "origin"
    assert "access-control-allow-credentials" not in response.headers


@pytest.mark.parametrize("origin", [ALLOWED[0], REFUSED[0]])
def test_a_preflight_request_gets_its_id_back_like_any_other(keyed_gateway: httpx.Client, origin: str) -> None:
    assert preflight(keyed_gateway, origin, **{"x-request-id": "abc"}).headers["x-request-id"] == "abc"


@pytest.mark.parametrize("origin", ALLOWED)
def test_an_allowed_page_may_read_answers_and_errors(
    keyed_gateway: httpx.Client, open_gateway: httpx.Client, origin: str
) -> None:
    answers = [
        keyed_gateway.post(CHAT, json=BODY, headers={"origin": origin, "authorization": f"Bearer {KEY}"}),
        keyed_gateway.post(CHAT, json=BODY, headers={"origin": origin}),
        open_gateway.post(CHAT, json=BODY, headers={"origin": origin}),
        open_gateway.post(CHAT, json={**BODY, "stream": True}, headers={"origin": origin}),
        open_gateway.get("/nowhere", headers={"origin": origin}),
    ]
    assert [answer.status_code for answer in answers] == [200, 401, 200, 200, 404]
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == origin
        assert "x-route-card" in answer.headers["access-control-expose-headers"]


@pytest.mark.parametrize("origin", REFUSED)
def test_another_page_may_not(
    keyed_gateway: httpx.Client, open_gateway: httpx.Client, upstream: Upstream, origin: str
) -> None:
    for client in (keyed_gateway, open_gateway):
        response = preflight(client, origin)
        assert response.status_code == 403
        assert "access-control-allow-origin" not in response.headers
    assert open_gateway.post(CHAT, json=BODY, headers={"origin": origin}).status_code == 403
    assert upstream.seen == []


@pytest.mark.parametrize("origin", [*ALLOWED, *REFUSED])
def test_by_default_no_page_may_ask(gateway: httpx.Client, origin: str) -> None:
    response = preflight(gateway, origin)
    assert response.status_code == 403
    assert not any(name.startswith("access-control") for name in response.headers)


def test_a_page_of_this_machine_needs_no_setting_but_cannot_read_other_origins_answers(gateway: httpx.Client) -> None:
    assert gateway.post(CHAT, json=BODY, headers={"origin": "http://localhost:3000"}).status_code == 200


def test_all_origins_are_for_gateways_with_keys() -> None:
    everyone = Visitors(needs_no_key=True, origins=("*",))
    assert not everyone.are_allowed({"origin": "https://evil.example"})
    assert Visitors(needs_no_key=False, origins=("*",)).cors_headers("https://a.example")[1][1] == b"https://a.example"


def test_chrome_may_ask_for_a_private_network(open_gateway: httpx.Client) -> None:
    response = preflight(open_gateway, "null", **{"access-control-request-private-network": "true"})
    assert response.headers["access-control-allow-private-network"] == "true"


@pytest.mark.parametrize(
    "host", ["host.docker.internal", "host.docker.internal:8686", "HOST.docker.internal", "a.internal.example", "[::1]"]
)
def test_an_allowed_host_is_answered(open_gateway: httpx.Client, host: str) -> None:
    assert open_gateway.post(CHAT, json=BODY, headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "host.docker.internal.evil.example", "xhost.docker.internal:1", "a@b"]
)
def test_another_host_is_refused(open_gateway: httpx.Client, host: str) -> None:
    assert open_gateway.post(CHAT, json=BODY, headers={"host": host}).status_code == 403
