"""Servers that send exactly the bytes that a test gives them, and clients for one test."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import pytest
import uvloop
from yarl import URL

from router.dispatch.http1 import Answer, Client, Target, target_of

Result = TypeVar("Result")
LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Peer:
    """The server's end of one connection; `number` is 0 for the first one that was accepted."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.reader, self.writer, self.number = reader, writer, number

    async def request(self) -> bytes:
        """The next whole request, with its body; b"" where the client has closed the connection."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""
        length = next(
            (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        return head + (await self.reader.readexactly(length) if length else b"")

    async def send(self, data: bytes) -> None:
        """Send these bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def answer_all(self, data: bytes = OK) -> None:
        """Send these bytes to every request."""
        while await self.request():
            await self.send(data)


class Server:
    """A running server. `requests` are those that `Peer.request` has read, `connections` the number accepted."""

    def __init__(self, port: int, scheme: str) -> None:
        self.connections = 0
        self.url = URL(f"{scheme}://127.0.0.1:{port}/v1/x")
        self.closed = asyncio.Event()

    def target(self, **options: object) -> Target:
        """Its address for a client."""
        return target_of(self.url, **options)


@contextlib.asynccontextmanager
async def server(
    behave: Callable[[Peer], Awaitable[None]], context: ssl.SSLContext | None = None
) -> AsyncIterator[Server]:
    """A server on this loop. `closed` is set when a connection has ended, however that came."""
    found: Server | None = None
    problems: list[BaseException] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert found is not None
        peer = Peer(reader, writer, found.connections)
        found.connections += 1
        try:
            await behave(peer)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        except Exception as error:  # noqa: BLE001 - shown by the test
            problems.append(error)
        finally:
            found.closed.set()
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError, TimeoutError):
                await writer.wait_closed()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    found = Server(listening.sockets[0].getsockname()[1], "https" if context else "http")
    try:
        yield found
    finally:
        listening.close()
        await listening.wait_closed()
    assert not problems, problems


@contextlib.asynccontextmanager
async def a_client() -> AsyncIterator[Client]:
    """A client that is closed at the end."""
    client = Client()
    try:
        yield client
    finally:
        await client.aclose()


async def whole(answer: Answer) -> bytes:
    """The whole body."""
    parts = []
    while part := await answer.read():
        parts.append(part)
    return b"".join(parts)


async def post(client: Client, target: Target, body: bytes = b"{}", **options: object) -> tuple[int, bytes]:
    """The status and the body of the answer to a POST."""
    answer = await client.send("POST", target, {}, body, connect_s=5.0, **options)  # type: ignore[arg-type]
    return answer.status, await whole(answer)


async def get(client: Client, target: Target) -> tuple[int, bytes]:
    """The status and the body of the answer to a GET."""
    answer = await client.send("GET", target, {}, connect_s=5.0)
    return answer.status, await whole(answer)


def run_on(loop: str, main: Awaitable[Result]) -> Result:
    """The result of a coroutine, on an event loop of the kind `asyncio` or `uvloop`: production uses the latter."""
    factory = uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)  # type: ignore[arg-type]
