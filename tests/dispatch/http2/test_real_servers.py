"""HAProxy and nginx with HTTP/2, the choice of the protocol by TLS, and a proxy on the way."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from router.dispatch.http1 import ConnectError, Target
from router.dispatch.http1.target import target_of
from router.dispatch.http2 import Client
from tests.dispatch.http1.servers import LOOPS, run_on
from tests.dispatch.http1.servers import server as http1_server
from tests.dispatch.http1.test_real_servers import LARGE, PIECES, by_aiohttp
from tests.dispatch.http1.test_tls import a_proxy
from tests.dispatch.http2.proxies import NEEDS_HAPROXY, NEEDS_NGINX, haproxy, nginx
from tests.dispatch.http2.servers import Peer, a_client, post, server, whole

pytestmark = LOOPS


def trusting(certificates: Path, *protocols: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


def serving(certificates: Path, *protocols: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


def connections(client: Client) -> tuple[int, int]:
    """How many connections of HTTP/2 and of HTTP/1.1 there are."""
    return sum(len(group._all) for group in client._groups.values()), len(client._http1._open)


async def check(client: Client, to: Callable[[str], Target]) -> None:
    async def ask(path: str, body: bytes = b"{}") -> tuple[int, bytes]:
        answer = await client.send("POST", to(path), {"accept": "*/*"}, body, connect_s=10)
        return answer.status, await whole(answer)

    for _ in range(2):
        assert await ask("/echo", b"hello") == (200, b"hello")
        assert await ask("/stream") == (200, b"".join(PIECES))
        assert await ask("/nothing") == (204, b"")
        assert await ask("/echo", LARGE) == (200, LARGE)
    expected = [(200, b"%d" % number) for number in range(40)]
    assert await asyncio.gather(*(ask("/echo", b"%d" % number) for number in range(40))) == expected


@NEEDS_HAPROXY
def test_haproxy_is_called_by_http_2_over_one_connection(loop: str, certificates: Path, tmp_path: Path) -> None:
    async def main() -> None:
        async with by_aiohttp() as port, asyncio.timeout(30):
            with haproxy(port, certificates, tmp_path) as (secure, plain):
                trust, offer = trusting(certificates), trusting(certificates, "h2", "http/1.1")
                async with a_client() as client:
                    await check(client, lambda path: target_of(URL(secure + path), trust=trust, http2_trust=offer))
                    assert connections(client) == (1, 0)
                    other = target_of(URL(secure).with_host("localhost"), trust=trust, http2_trust=offer)
                    with pytest.raises(ConnectError):
                        await post(client, other)
                async with a_client() as client:
                    await check(client, lambda path: target_of(URL(plain + path), is_http2=True))
                    assert connections(client) == (1, 0)

    run_on(loop, main())


@NEEDS_NGINX
def test_nginx_ends_connections_by_goaway_and_no_request_is_lost(loop: str, certificates: Path, tmp_path: Path) -> None:
    async def main() -> None:
        async with by_aiohttp() as port, asyncio.timeout(60):
            with nginx(port, certificates, tmp_path, requests=20) as url:
                trust, offer = trusting(certificates), trusting(certificates, "h2", "http/1.1")
                async with a_client() as client:
                    await check(client, lambda path: target_of(URL(url + path), trust=trust, http2_trust=offer))

    run_on(loop, main())


def test_a_server_that_chooses_http_1_1_is_called_by_it(loop: str, certificates: Path) -> None:
    async def answer(peer: Any) -> None:
        await peer.answer_all()

    async def main() -> None:
        trust, offer = trusting(certificates), trusting(certificates, "h2", "http/1.1")
        for context in (serving(certificates), serving(certificates, "http/1.1")):
            async with http1_server(answer, context) as running, a_client() as client, asyncio.timeout(20):
                where = target_of(running.url, trust=trust, http2_trust=offer)
                for _ in range(2):
                    assert await asyncio.gather(*(post(client, where) for _ in range(3))) == [(200, b"ok")] * 3
                # The first connection is used, too.
                assert running.connections == 3
                assert connections(client) == (0, 3)

    run_on(loop, main())


def test_a_target_that_does_not_ask_for_it_is_not_offered_http_2(loop: str, certificates: Path) -> None:
    async def answer(peer: Any) -> None:
        await peer.answer_all()

    async def main() -> None:
        context = serving(certificates, "h2", "http/1.1")
        async with http1_server(answer, context) as running, a_client() as client, asyncio.timeout(20):
            assert await post(client, target_of(running.url, trust=trusting(certificates))) == (200, b"ok")
            assert connections(client) == (0, 1)

    run_on(loop, main())


@pytest.mark.parametrize("is_tls", [True, False], ids=["tls", "prior-knowledge"])
def test_a_proxy_is_asked_for_a_tunnel(loop: str, certificates: Path, is_tls: bool) -> None:
    async def behave(peer: Peer) -> None:
        await peer.begin()
        await peer.answer_all()

    async def main() -> None:
        context = serving(certificates, "h2") if is_tls else None
        trust, offer = trusting(certificates), trusting(certificates, "h2", "http/1.1")
        async with server(behave, context) as running, a_client() as client, asyncio.timeout(20):
            port = running.url.port or 0
            async with a_proxy(port) as proxy:
                options: Any = {"trust": trust, "http2_trust": offer} if is_tls else {"is_http2": True}
                where = target_of(running.url, proxy.url, **options)
                assert await asyncio.gather(*(post(client, where) for _ in range(4))) == [(200, b"ok")] * 4
                assert running.connections == 1
                assert proxy.heads[0].startswith(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n")
                assert "/v1/x" not in "".join(proxy.heads)
                await client.aclose()

    run_on(loop, main())
