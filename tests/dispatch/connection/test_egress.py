"""Proxies, certificate authorities, headers and several keys, on loopback servers."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import json
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from yarl import URL

from router.cards import Card
from router.dispatch import Call, Dispatcher, DispatchSettings
from router.dispatch.configured import missing_configuration
from router.dispatch.connection.egress import target
from router.errors import UpstreamError
from tests.dispatch.calls import BODY, call, unused_address
from tests.gateway.servers import COMPLETION, Upstream, make_card

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def _no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@contextlib.contextmanager
def http_server(
    status_of: Callable[[http.server.BaseHTTPRequestHandler], int], context: ssl.SSLContext | None = None
) -> Iterator[str]:
    """A server that answers a chat completion where `status_of` the request is 200, else `{}`; the value is its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            status = status_of(self)
            body = json.dumps(COMPLETION if status == 200 else {}).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    class Server(socketserver.ThreadingTCPServer):
        def handle_error(self, *_: object) -> None:
            """A client that does not trust the certificate ends the handshake."""

    with Server(("127.0.0.1", 0), Handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http{'s' if context else ''}://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@dataclass
class ForwardProxy:
    """A proxy that answers every request itself, whatever its host is."""

    url: str = ""
    asked: list[str] = field(default_factory=list)
    credentials: list[str | None] = field(default_factory=list)


@pytest.fixture
def proxy() -> Iterator[ForwardProxy]:
    seen = ForwardProxy()

    def status_of(request: http.server.BaseHTTPRequestHandler) -> int:
        seen.asked.append(request.path)
        seen.credentials.append(request.headers.get("proxy-authorization"))
        return 200

    with http_server(status_of) as seen.url:
        yield seen


FAR = "http://llm.example.test"


def far_card(**facts: object) -> Card:
    return make_card("far", FAR, **facts)


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_the_proxy_of_the_environment_is_used(
    proxy: ForwardProxy, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, proxy.url.replace("//", "//user:secret@"))
    assert call(far_card())[0].status == 200
    assert proxy.asked == [f"{FAR}/v1/chat/completions"]
    assert proxy.credentials == ["Basic dXNlcjpzZWNyZXQ="]


def test_the_cards_own_proxy_takes_precedence(proxy: ForwardProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", unused_address())
    assert call(far_card(proxy=proxy.url))[0].status == 200
    assert len(proxy.asked) == 1


def test_what_a_proxy_says_that_wants_credentials_is_hidden() -> None:
    with http_server(lambda _: 407) as url, pytest.raises(UpstreamError, match="refuses the gateway") as caught:
        call(far_card(proxy=url))
    assert (caught.value.status, caught.value.fault) == (502, "proxy")


def test_a_server_of_this_machine_is_called_directly(
    proxy: ForwardProxy, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    assert call(make_card("near", upstream.url))[0].status == 200
    assert (proxy.asked, upstream.models) == ([], ["ok"])


@pytest.mark.parametrize(
    ("no_proxy", "url", "is_direct"),
    [
        ("", "https://llm.example.test/v1", False),
        ("llm.example.test", "https://llm.example.test/v1", True),
        (".example.test", "https://llm.example.test/v1", True),
        ("example.test", "https://llm.example.test/v1", True),
        ("llm.example.test:8443", "https://llm.example.test:8443/v1", True),
        ("llm.example.test:8443", "https://llm.example.test/v1", False),
        ("*", "https://llm.example.test/v1", True),
        ("other.test", "https://llm.example.test/v1", False),
        ("", "http://127.0.0.1:8000/v1", True),
        ("", "http://localhost:8000/v1", True),
        ("", "http://[::1]:8000/v1", True),
    ],
)
def test_no_proxy_and_this_machine_are_exceptions(
    monkeypatch: pytest.MonkeyPatch, no_proxy: str, url: str, is_direct: bool
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.test:3128")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert (target(make_card("a", "http://x"), URL(url)).origin.proxy is None) == is_direct
    assert target(make_card("a", "http://x", proxy="none"), URL(url)).origin.proxy is None


def test_a_proxy_of_another_kind_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "socks5://127.0.0.1:1080")
    with pytest.raises(UpstreamError, match="proxy for outgoing calls is not supported"):
        call(far_card())


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key in the same folder."""
    folder = tmp_path_factory.mktemp("authority")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext"
    subprocess.run(
        [*command.split(), "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key.pem", "-out", folder / "ca.pem"],
        check=True,
        capture_output=True,
    )
    return folder / "ca.pem"


def test_a_private_authority_is_trusted_where_the_card_names_it(authority: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, authority.with_name("key.pem"))
    with http_server(lambda _: 200, context) as url:
        assert call(make_card("a", url, ca_bundle=str(authority)))[0].status == 200
        with pytest.raises(UpstreamError, match="no connection to the upstream"):
            call(make_card("a", url))


def test_a_missing_bundle_or_variable_makes_the_card_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CORP_TOKEN", raising=False)
    assert missing_configuration(far_card(ca_bundle="/nowhere/ca.pem")) == (
        "ca_bundle: the file /nowhere/ca.pem does not exist"
    )
    assert missing_configuration(far_card(headers={"x-team": "${CORP_TOKEN}"})) == "CORP_TOKEN is not set"
    problem = missing_configuration(Card(id="g", provider="gemini", model="m", proxy="http://p:1", api_key_env="PATH"))
    assert problem is not None
    assert "litellm" in problem


def test_the_cards_headers_are_sent_with_the_values_of_variables(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORP_TOKEN", "t0k")
    call(make_card("a", upstream.url, headers={"X-Team": "search", "x-auth": "Token ${CORP_TOKEN}"}))
    assert upstream.seen[0].headers["x-team"] == "search"
    assert upstream.seen[0].headers["x-auth"] == "Token t0k"


def test_an_error_that_quotes_a_variable_or_the_host_is_shown_without_them(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORP_TOKEN", "corp-secret")
    upstream.error = {"error": {"message": "127.0.0.1 does not like Token corp-secret"}}
    response, body = call(make_card("a", upstream.url, "status-400", headers={"x-auth": "Token ${CORP_TOKEN}"}))
    assert response.status == 400
    assert b"[hidden] does not like Token [hidden]" in body


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        ({"proxy": "socks5://p:1"}, "proxy: must be an http or https URL"),
        ({"proxy": "http://user:pw@p:1"}, "without user and password"),
        ({"headers": {"host": "x"}}, '"host" is set by the gateway itself'),
        ({"headers": {"x-a": "line\nbreak"}}, '"x-a" is not a header'),
        ({"headers": {"x a": "b"}}, '"x a" is not a header'),
        ({"api_key_env": ("A", "A")}, "names a variable twice"),
        ({"api_key_env": ("sk-123",)}, "must be the name of a variable"),
        ({"api_key_env": ()}, "must be the name of a variable"),
    ],
)
def test_an_invalid_connection_is_rejected(facts: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        far_card(**facts)


def keys_used(upstream: Upstream) -> list[str]:
    return [seen.headers["authorization"].removeprefix("Bearer ") for seen in upstream.seen]


def ask_often(card: Card, times: int) -> list[int]:
    """The statuses of requests, one after the other, by one dispatcher."""

    async def main() -> list[int]:
        dispatcher = Dispatcher(DispatchSettings(retries=0))
        try:
            return [(await dispatcher.send_first_healthy([card], Call("chat", BODY))).status for _ in range(times)]
        finally:
            await dispatcher.aclose()

    return asyncio.run(main())


@pytest.fixture
def three_keys(monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    for name in ("A", "B", "C"):
        monkeypatch.setenv(f"KEY_{name}", f"sk-{name}-secret")
    return "KEY_A", "KEY_B", "KEY_C"


def test_the_keys_of_a_card_are_used_in_turn(upstream: Upstream, three_keys: tuple[str, ...]) -> None:
    assert ask_often(make_card("a", upstream.url, api_key_env=three_keys), 6) == [200] * 6
    assert keys_used(upstream) == ["sk-A-secret", "sk-B-secret", "sk-C-secret"] * 2


def test_a_key_that_is_not_set_is_skipped(
    upstream: Upstream, three_keys: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KEY_A")
    card = make_card("a", upstream.url, api_key_env=three_keys)
    assert missing_configuration(card) is None
    assert ask_often(card, 3) == [200] * 3
    assert keys_used(upstream) == ["sk-B-secret", "sk-C-secret", "sk-B-secret"]


@pytest.mark.parametrize("status", [401, 403, 429])
def test_a_key_that_is_refused_or_limited_is_followed_by_the_next(three_keys: tuple[str, ...], status: int) -> None:
    with http_server(lambda request: status if "sk-A" in request.headers["authorization"] else 200) as url:
        assert ask_often(make_card("a", url, api_key_env=three_keys), 4) == [200] * 4


def test_a_key_is_rotated_by_the_file_of_variables_without_a_restart(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "providers.env"
    file.write_text("# keys\nexport KEY_A='sk-first-secret'\n")
    monkeypatch.setenv("PULVINAR_ENV_FILE", str(file))
    monkeypatch.setenv("KEY_A", "sk-stale-secret")
    card = make_card("a", upstream.url, api_key_env="KEY_A")

    async def main() -> None:
        dispatcher = Dispatcher(DispatchSettings(retries=0))
        await dispatcher.send_first_healthy([card], Call("chat", BODY))
        replaced = tmp_path / "new"
        replaced.write_text('KEY_A="sk-second-secret"\nNOT A LINE\n')
        replaced.replace(file)
        await dispatcher.send_first_healthy([card], Call("chat", BODY))
        file.unlink()
        await dispatcher.send_first_healthy([card], Call("chat", BODY))
        await dispatcher.aclose()

    asyncio.run(main())
    assert keys_used(upstream) == ["sk-first-secret", "sk-second-secret", "sk-stale-secret"]
