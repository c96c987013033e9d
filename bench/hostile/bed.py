"""What an attack needs: the address of the gateway, the attacker's key, and ways to send."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any

import aiohttp
import msgspec

from bench.gateway.processes import Server
from bench.hostile.upstream import Bill

HOST = "127.0.0.1"
_BUFFER = 1 << 14
CONNECTION_ERRORS = (OSError, EOFError, aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError)
"""What a gateway may do to a hostile client at any time: close the connection, or not answer."""


class Bills(msgspec.Struct):
    """What the upstream delivered, by client, and how often an internal address was fetched."""

    bills: dict[str, Bill] = {}
    fetched: int = 0

    def of(self, who: str) -> Bill:
        """The bill of a client."""
        return self.bills.get(who, Bill())


class Answer(msgspec.Struct, frozen=True):
    """A response as the attacker got it; status 0 if there was none."""

    status: int
    headers: Mapping[str, str] = {}
    body: bytes = b""


class Bed(msgspec.Struct):
    """A gateway under attack until `ends` (time.monotonic)."""

    server: Server
    upstream_port: int
    path: str
    model: str
    headers: dict[str, str]
    honest_headers: dict[str, str]
    ends: float

    @property
    def is_over(self) -> bool:
        """Whether the attack should end."""
        return time.monotonic() >= self.ends

    async def wait_for_the_end(self) -> None:
        """Keep everything as it is until the attack ends."""
        await asyncio.sleep(max(self.ends - time.monotonic(), 0))

    def chat(self, instruction: str = "do=ok", **fields: Any) -> dict[str, Any]:
        """The attacker's body of a chat request; the upstream follows `instruction`."""
        messages = [{"role": "user", "content": f"who=evil {instruction}"}]
        return {"model": self.model, "messages": messages, "max_tokens": 64, **fields}

    def head(self, length: int, path: str = "", **headers: str) -> bytes:
        """The head of a POST whose body has `length` bytes."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        fields = {"host": HOST, "content-type": "application/json", **self.headers, **named}
        if length >= 0:
            fields["content-length"] = str(length)
        lines = [f"POST {path or self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def request(self, body: Mapping[str, Any], path: str = "", **headers: str) -> bytes:
        """A whole POST with a JSON body."""
        content = json.dumps(body).encode()
        return self.head(len(content), path, **headers) + content

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A raw connection. Errors of the connection end the block silently."""
        with contextlib.suppress(*CONNECTION_ERRORS), socket.socket() as connected:
            connected.setblocking(False)
            # Small buffers: a client that does not read stops the gateway soon.
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            async with asyncio.timeout(10):
                await asyncio.get_running_loop().sock_connect(connected, (HOST, self.server.port))
                reader, writer = await asyncio.open_connection(sock=connected, limit=_BUFFER)
            try:
                yield reader, writer
            finally:
                writer.transport.abort()

    async def exchange(self, raw: bytes, timeout_s: float = 10.0) -> Answer:
        """Send `raw` on a new connection and read one response."""
        async with self.connection() as (reader, writer):
            async with asyncio.timeout(timeout_s):
                writer.write(raw)
                head = await reader.readuntil(b"\r\n\r\n")
                status, *lines = head.decode("latin-1").split("\r\n")
                pairs = (line.partition(":") for line in lines if line)
                headers = {name.lower(): value.strip() for name, _, value in pairs}
                length = int(headers.get("content-length", "0"))
                return Answer(int(status.split()[1]), headers, await reader.readexactly(length))
        return Answer(0)

    @contextlib.asynccontextmanager
    async def session(self, limit: int = 0) -> AsyncIterator[aiohttp.ClientSession]:
        """A client with the attacker's key that opens as many connections as it needs."""
        connector = aiohttp.TCPConnector(limit=limit)
        url, timeout = f"http://{HOST}:{self.server.port}", aiohttp.ClientTimeout(total=20)
        async with aiohttp.ClientSession(url, headers=self.headers, connector=connector, timeout=timeout) as session:
            yield session

    async def post(self, session: aiohttp.ClientSession, body: object, path: str = "", **options: Any) -> Answer:
        """One request of the attacker, read to its end."""
        with contextlib.suppress(*CONNECTION_ERRORS):
            async with session.post(path or self.path, json=body, **options) as response:
                headers = {name.lower(): value for name, value in response.headers.items()}
                return Answer(response.status, headers, await response.read())
        return Answer(0)

    async def each(self, count: int, act: Callable[[int], Awaitable[object]]) -> None:
        """Run `count` hostile clients at once until the attack ends; each repeats `act` with its number."""

        async def repeat(number: int) -> None:
            while not self.is_over:
                with contextlib.suppress(*CONNECTION_ERRORS):
                    async with asyncio.timeout(max(self.ends - time.monotonic(), 0)):
                        await act(number)
                # A refused connection must not make this client a busy loop that takes the machine's CPU.
                await asyncio.sleep(0.01)

        await asyncio.gather(*(repeat(number) for number in range(count)))

    def bills(self) -> Bills:
        """What the upstream has delivered."""
        return msgspec.json.decode(get(self.upstream_port, "/bench/bills"), type=Bills)


def get(port: int, path: str, headers: Mapping[str, str] | None = None) -> bytes:
    """The body of a GET. Raises OSError or http.client.HTTPException if there is no answer."""
    with contextlib.closing(http.client.HTTPConnection(HOST, port, timeout=10)) as connection:
        connection.request("GET", path, headers=dict(headers or {}))
        return connection.getresponse().read()


def pieces(piece: bytes, total: int) -> Iterator[bytes]:
    """`piece` again and again in writes of about 64 KiB, `total` bytes in all."""
    block = piece * max((1 << 16) // len(piece), 1)
    for _ in range(total // len(block)):
        yield block
