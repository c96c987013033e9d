"""URLs that clients name: at providers that litellm calls, no address of this machine or network gets a request."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from router.dispatch import Call, Dispatcher, DispatchSettings
from router.dispatch.connection import fetching
from router.dispatch.connection.fetching import is_allowed, is_public, urls_in, with_media
from router.errors import FieldError, PulvinarError
from router.formats.json import json_or_none
from tests.dispatch.anthropic_upstream import AnthropicUpstream, anthropic_server
from tests.gateway.servers import make_card

PNG = b"\x89PNG\r\n\x1a\n" + bytes(16)
pytestmark = [
    pytest.mark.filterwarnings("ignore:Item .* is using the `ReadOnly` qualifier:UserWarning"),
    # Older versions of litellm leave coroutines of their loggers behind.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


class Listener:
    """Counts the connections to a loopback port, and answers each with a picture."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.hits = 0
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.hits += 1
            with connection:
                connection.settimeout(1)
                try:
                    connection.recv(65536)
                    head = b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: %d\r\n\r\n" % len(PNG)
                    connection.sendall(head + PNG)
                except OSError:
                    continue

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def internal() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.close()


@pytest.fixture
def claude(monkeypatch: pytest.MonkeyPatch) -> Iterator[AnthropicUpstream]:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-secret")
    with anthropic_server() as server:
        yield server


def parts_naming(url: str) -> dict[str, dict[str, Any]]:
    return {
        "image": {"type": "image_url", "image_url": {"url": url}},
        "image as text": {"type": "image_url", "image_url": url},
        "file": {"type": "file", "file": {"file_id": url}},
        "file data": {"type": "file", "file": {"file_data": url, "format": "application/pdf"}},
        "video": {"type": "video_url", "video_url": {"url": url}},
        "document": {"type": "document", "source": {"type": "url", "url": url}},
        "tool result": {"type": "tool_result", "content": [{"type": "image", "source": {"type": "url", "url": url}}]},
    }


def asked(url: str, provider: str, message: Any, *, stream: bool = False, hosts: tuple[str, ...] = ()) -> Any:
    """The answer of a card that litellm calls, or the error."""
    card = make_card("claude", url, "ok", provider=provider, base_url=url, api_key_env="ANTHROPIC_API_KEY")

    async def run() -> Any:
        dispatcher = Dispatcher(DispatchSettings(retries=0, fetch_hosts=hosts))
        try:
            body = {"model": "claude", "messages": [message], "max_tokens": 5, "stream": stream}
            response = await dispatcher.send(card, Call("chat", body, stream=stream))
            if isinstance(response.body, bytes):
                return response.status, json_or_none(response.body)
            return response.status, b"".join([event async for event in response.body])
        except PulvinarError as error:
            return error
        finally:
            await dispatcher.aclose()

    return asyncio.run(run())


PROVIDERS = ("anthropic", "gemini", "cohere_chat", "bedrock")
ADDRESSES = (
    "http://127.0.0.1:{port}/x.png",
    "https://127.0.0.1:{port}/x.png",
    "HTTP://localhost:{port}/x",
    " http:/127.0.0.1:{port}",
)


@pytest.mark.slow
@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("address", ADDRESSES)
def test_no_address_of_this_machine_gets_a_request(
    provider: str, address: str, internal: Listener, claude: AnthropicUpstream
) -> None:
    for part in parts_naming(address.format(port=internal.port)).values():
        asked(claude.url, provider, {"role": "user", "content": [{"type": "text", "text": "?"}, part]}, stream=True)
    assert internal.hits == 0


@pytest.mark.slow
def test_the_metadata_service_gets_no_request(claude: AnthropicUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    reached: list[Any] = []
    connect = socket.socket.connect

    def noted(self: socket.socket, address: Any) -> None:
        reached.append(address)
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", noted)
    part = parts_naming("http://169.254.169.254/latest/meta-data/")["image"]
    error = asked(claude.url, "anthropic", {"role": "user", "content": [part]}, hosts=("169.254.169.254",))
    assert isinstance(error, FieldError)
    assert not [address for address in reached if "169.254" in str(address)]
    assert claude.seen == []


@pytest.mark.slow
def test_an_honest_image_is_answered_as_data_and_by_https(claude: AnthropicUpstream) -> None:
    for url in ("data:image/png;base64,iVBORw0KGgo=", "https://images.example.org/cat.png"):
        part = parts_naming(url)["image"]
        status, _ = asked(claude.url, "anthropic", {"role": "user", "content": [{"type": "text", "text": "?"}, part]})
        assert status == 200
    sources = [request.body["messages"][0]["content"][1]["source"] for request in claude.seen]
    assert sources[0]["data"] == "iVBORw0KGgo="
    assert sources[1] == {"type": "url", "url": "https://images.example.org/cat.png"}


@pytest.mark.parametrize("part", parts_naming("http://example.org/x.png").values(), ids=parts_naming(""))
def test_a_url_in_any_part_is_refused_by_its_path(part: dict[str, Any]) -> None:
    with pytest.raises(FieldError, match=r"messages\[0\]\.content\[0\].*fetch_hosts"):
        asyncio.run(with_media([{"role": "user", "content": [part]}], "gemini", ()))


@pytest.mark.parametrize(
    "content",
    [
        "Read http://127.0.0.1/x",
        [{"type": "text", "text": "http://127.0.0.1/x"}],
        [{"type": "image_url", "image_url": {"url": "data:image/png;base64,//8="}}],
        [{"type": "file", "file": {"file_id": "gs://bucket/file.pdf"}}],
        [{"type": "input_audio", "input_audio": {"data": "//uQxAAA", "format": "mp3"}}],
        [{"type": "tool_use", "id": "t", "name": "get", "input": {"url": "http://127.0.0.1/x"}}],
        None,
    ],
)
def test_text_and_data_are_passed_on(content: Any) -> None:
    messages = [{"role": "user", "content": content}]
    assert asyncio.run(with_media(messages, "gemini", ())) is messages


def test_an_allowed_host_is_fetched_by_the_gateway(internal: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "is_public", lambda _: True)
    url = f"http://localhost:{internal.port}/x.png"
    messages = [{"role": "user", "content": [{"type": "text", "text": url}, parts_naming(url)["image"]]}]
    sent = asyncio.run(with_media(messages, "gemini", ("localhost",)))
    assert sent[0]["content"][0]["text"] == url
    assert sent[0]["content"][1]["image_url"]["url"].startswith("data:image/png;base64,iVBORw0KGgo")
    assert internal.hits == 1


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_an_allowed_host_at_an_internal_address_gets_no_request(host: str, internal: Listener) -> None:
    part = parts_naming(f"http://{host}:{internal.port}/x.png")["image"]
    with pytest.raises(FieldError, match=r"public address|cannot be fetched"):
        asyncio.run(with_media([{"role": "user", "content": [part]}], "gemini", (host,)))
    assert internal.hits == 0


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://images.example.org/x", True),
        ("https://a.cdn.example.org/x", True),
        ("https://images.example.org.evil.test/x", False),
        ("https://images.example.org@evil.test/x", False),
        ("https://evil.test#@images.example.org", False),
        ("https://cdn.example.org/x", False),
        ("ftp://images.example.org/x", False),
        (" https://images.example.org/x", False),
    ],
)
def test_only_the_named_hosts_are_allowed(url: str, allowed: bool) -> None:
    assert is_allowed(url, ("images.example.org", "*.cdn.example.org")) is allowed


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "192.168.1.1",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "::1",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
    ],
)
def test_internal_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


def test_the_path_of_every_url_is_known() -> None:
    content = [parts_naming("http://a/")["document"], parts_naming("file:///etc/passwd")["file"]]
    assert list(urls_in([{"role": "user", "content": content}])) == [
        ("messages[0].content[0].source.url", "http://a/"),
        ("messages[0].content[1].file.file_id", "file:///etc/passwd"),
    ]
