"""Certificates, names and proxies, with an authority of the test's own."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct
from yarl import URL

from router.dispatch.http1 import BrokenError, Client, ConnectError, ConnectTimeoutError, ProtocolError, names
from router.dispatch.http1.target import target_of
from tests.dispatch.http1.conftest import NAME
from tests.dispatch.http1.servers import LOOPS, OK, Peer, Server, a_client, post, run_on, server

pytestmark = LOOPS


class Authority(Struct):
    """An authority, and servers' certificates from it."""

    trusts: ssl.SSLContext
    serves: ssl.SSLContext
    asked_names: list[str]


@pytest.fixture
def authority(certificates: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """It is trusted where a target says so; every name is this machine's."""
    serves = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serves.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    found = Authority(ssl.create_default_context(cafile=str(certificates / "ca.pem")), serves, [])
    serves.sni_callback = lambda _, name, __: found.asked_names.append(name)
    look_up = names._literal
    monkeypatch.setattr(names, "_literal", lambda host, port: look_up(host, port) or look_up("127.0.0.1", port))
    return found


async def answer_all(peer: Peer) -> None:
    await peer.answer_all()


def run(loop: str, context: ssl.SSLContext, test: Callable[[Client, Server], Awaitable[Any]]) -> None:
    async def main() -> None:
        async with server(answer_all, context) as running, a_client() as client, asyncio.timeout(20):
            await test(client, running)

    run_on(loop, main())


def test_a_certificate_of_a_trusted_authority_for_the_name_is_accepted(loop: str, authority: Authority) -> None:
    async def test(client: Client, running: Server) -> None:
        for host in (NAME, f"{NAME}.", "127.0.0.1"):
            where = target_of(running.url.with_host(host), trust=authority.trusts)
            assert await post(client, where) == (200, b"ok")
            assert await post(client, where) == (200, b"ok")
        assert running.connections == 3
        # The server learns which name is meant; an address is none.
        assert authority.asked_names == [NAME, NAME, None]

    run(loop, authority.serves, test)


def test_a_certificate_of_another_name_or_authority_is_refused(loop: str, authority: Authority) -> None:
    async def test(client: Client, running: Server) -> None:
        for where in (
            target_of(running.url.with_host("other.test"), trust=authority.trusts),
            target_of(running.url.with_host(NAME)),
        ):
            with pytest.raises(ConnectError):
                await post(client, where)

    run(loop, authority.serves, test)


def test_connections_are_not_shared_between_whom_to_trust(loop: str, authority: Authority) -> None:
    async def test(client: Client, running: Server) -> None:
        url = running.url.with_host(NAME)
        assert await post(client, target_of(url, trust=authority.trusts)) == (200, b"ok")
        with pytest.raises(ConnectError):
            await post(client, target_of(url))

    run(loop, authority.serves, test)


def test_a_server_that_speaks_no_tls_is_no_connection(loop: str, authority: Authority) -> None:
    async def main() -> None:
        async with (
            server(lambda peer: peer.send(b"220 mail.test ready\r\n")) as plain,
            a_client() as client,
            asyncio.timeout(20),
        ):
            with pytest.raises(ConnectError):
                await post(client, target_of(plain.url.with_scheme("https"), trust=authority.trusts))

    run_on(loop, main())


class Proxy(Struct):
    """A running proxy, and the heads of the requests that it got."""

    url: URL
    heads: list[str]


@contextlib.asynccontextmanager
async def a_proxy(
    port: int, reply: bytes = b"HTTP/1.1 200 Connected\r\n\r\n", context: ssl.SSLContext | None = None
) -> AsyncIterator[Proxy]:
    """A proxy that sends `reply` to CONNECT, and goes on to `port` where that is a success and nothing else."""
    heads: list[str] = []

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()

    async def behave(peer: Peer) -> None:
        heads.append((await peer.request()).decode())
        await peer.send(reply)
        if reply.startswith(b"HTTP/1.1 200") and reply.endswith(b"\r\n\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(copy(peer.reader, writer), copy(reader, peer.writer))
        else:
            await peer.reader.read()

    async with server(behave, context) as running:
        yield Proxy(running.url.with_path("").with_user("user").with_password("p:w d"), heads)


@pytest.mark.parametrize("over_tls", [False, True], ids=["http", "https"])
def test_a_proxy_connects_to_the_server_and_sees_nothing_else(
    loop: str, authority: Authority, monkeypatch: pytest.MonkeyPatch, over_tls: bool
) -> None:
    async def main() -> None:
        monkeypatch.setattr("router.dispatch.http1.connecting.default_trust", lambda: authority.trusts)
        async with server(answer_all, authority.serves) as running, a_client() as client, asyncio.timeout(20):
            port = running.url.port or 0
            async with a_proxy(port, context=authority.serves if over_tls else None) as proxy:
                where = target_of(running.url.with_host(NAME), proxy.url, authority.trusts)
                for _ in range(2):
                    assert await post(client, where) == (200, b"ok")
                await client.aclose()
                assert proxy.heads == [
                    f"CONNECT {NAME}:{port} HTTP/1.1\r\nhost: {NAME}:{port}\r\n"
                    "proxy-authorization: Basic dXNlcjpwOncgZA==\r\n\r\n"
                ]

    run_on(loop, main())


def test_the_certificate_behind_a_proxy_must_have_the_servers_name(loop: str, authority: Authority) -> None:
    async def test(client: Client, running: Server) -> None:
        async with a_proxy(running.url.port or 0) as proxy:
            where = target_of(running.url.with_host("other.test"), proxy.url, authority.trusts)
            with pytest.raises(ConnectError):
                await post(client, where)

    run(loop, authority.serves, test)


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n", BrokenError),
        (b"HTTP/1.1 200 Connected\r\n\r\nmore", ProtocolError),
        (b"SSH-2.0\r\n", ProtocolError),
        (b"", ConnectTimeoutError),
    ],
    ids=["refuses", "sends-more", "no-http", "is-silent"],
)
def test_a_proxy_that_does_not_connect_is_an_error(
    loop: str, authority: Authority, reply: bytes, error: type[Exception]
) -> None:
    async def main() -> None:
        async with a_proxy(0, reply) as proxy, a_client() as client, asyncio.timeout(20):
            where = target_of(URL(f"https://{NAME}/"), proxy.url, authority.trusts)
            with pytest.raises(error):
                await client.send("POST", where, {}, b"{}", connect_s=5 if reply else 0.05)

    run_on(loop, main())


def test_a_proxy_reads_requests_without_tls(loop: str, authority: Authority) -> None:
    async def main() -> None:
        async with a_proxy(0, OK) as proxy, a_client() as client, asyncio.timeout(20):
            assert await post(client, target_of(URL(f"http://{NAME}/v1/x?y=z"), proxy.url)) == (200, b"ok")
            assert proxy.heads == [
                f"POST http://{NAME}/v1/x?y=z HTTP/1.1\r\nhost: {NAME}\r\n"
                "proxy-authorization: Basic dXNlcjpwOncgZA==\r\ncontent-length: 2\r\n\r\n{}"
            ]

    run_on(loop, main())
