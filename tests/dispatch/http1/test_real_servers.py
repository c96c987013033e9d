"""aiohttp, uvicorn and HAProxy with TLS, as the servers of the client."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from aiohttp import web
from yarl import URL

from router.dispatch.http1 import Client, ConnectError, Target, target_of
from tests.dispatch.http1.servers import LOOPS, a_client, run_on, whole

pytestmark = LOOPS
LARGE = bytes(range(256)) * 4096
PIECES = [b"data: %d\n\n" % number for number in range(50)]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        return int(unused.getsockname()[1])


@contextlib.asynccontextmanager
async def by_aiohttp() -> AsyncIterator[int]:
    async def echo(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    async def stream(request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in PIECES:
            await response.write(piece)
        return response

    async def nothing(_: web.Request) -> web.Response:
        return web.Response(status=204)

    app = web.Application(client_max_size=2**24)
    app.add_routes([web.post("/echo", echo), web.post("/stream", stream), web.post("/nothing", nothing)])
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield port
    await runner.cleanup()


@contextlib.asynccontextmanager
async def by_uvicorn() -> AsyncIterator[int]:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        status = 204 if scope["path"] == "/nothing" else 200
        await send({"type": "http.response.start", "status": status, "headers": []})
        for piece in PIECES if scope["path"] == "/stream" else [body] if status == 200 else []:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})

    port = free_port()
    # Without `log_config=None` its handlers stay on the loggers of this process, for the tests after this one.
    config = uvicorn.Config(app, port=port, lifespan="off", log_level="error", log_config=None)
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    running = asyncio.ensure_future(server._serve())
    while not server.started:
        await asyncio.sleep(0.005)
    yield port
    server.should_exit = True
    await running


@contextlib.asynccontextmanager
async def behind_haproxy(port: int, certificates: Path, folder: Path) -> AsyncIterator[int]:
    """HAProxy with TLS and HTTP/2 offered, in front of a server."""
    public = free_port()
    both = folder / "both.pem"
    both.write_text((certificates / "server.pem").read_text() + (certificates / "server.key").read_text())
    config = folder / "haproxy.cfg"
    config.write_text(
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 10s\n  timeout server 10s\n"
        f"frontend f\n  bind 127.0.0.1:{public} ssl crt {both} alpn h2,http/1.1\n  default_backend b\n"
        f"backend b\n  server s 127.0.0.1:{port}\n"
    )
    process = subprocess.Popen(["haproxy", "-db", "-f", str(config)], stderr=subprocess.DEVNULL)
    try:
        while True:
            with contextlib.suppress(OSError):
                (await asyncio.open_connection("127.0.0.1", public))[1].close()
                break
            assert process.poll() is None
            await asyncio.sleep(0.02)
        yield public
    finally:
        process.kill()
        process.wait()


async def check(client: Client, url: URL, trust: ssl.SSLContext | None = None) -> None:
    def to(path: str) -> Target:
        return target_of(url.with_path(path), trust=trust)

    async def post(path: str, body: bytes = b"{}") -> tuple[int, bytes]:
        answer = await client.send("POST", to(path), {}, body, connect_s=10)
        return answer.status, await whole(answer)

    for _ in range(3):
        assert await post("/echo", b"hello") == (200, b"hello")
        assert await post("/stream") == (200, b"".join(PIECES))
        assert await post("/nothing") == (204, b"")
        assert await post("/echo", LARGE) == (200, LARGE)
    assert len(client._open) == 1
    assert await asyncio.gather(*(post("/echo", b"%d" % number) for number in range(20))) == [
        (200, b"%d" % number) for number in range(20)
    ]


@pytest.mark.parametrize("serve", [by_aiohttp, by_uvicorn])
def test_whole_answers_streams_and_large_bodies_use_one_connection(loop: str, serve: Any) -> None:
    async def main() -> None:
        async with serve() as port, a_client() as client, asyncio.timeout(30):
            await check(client, URL(f"http://127.0.0.1:{port}"))

    run_on(loop, main())


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="needs HAProxy (scripts/system)")
def test_a_load_balancer_with_tls_is_called_in_http_1_1(loop: str, certificates: Path, tmp_path: Path) -> None:
    async def main() -> None:
        trust = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
        async with (
            by_aiohttp() as port,
            behind_haproxy(port, certificates, tmp_path) as public,
            a_client() as client,
            asyncio.timeout(30),
        ):
            url = URL(f"https://127.0.0.1:{public}")
            await check(client, url, trust)
            with pytest.raises(ConnectError):
                await client.send("POST", target_of(url.with_host("localhost"), trust=trust), {}, b"", connect_s=10)

    run_on(loop, main())
