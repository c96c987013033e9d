"""HTTP/2 servers that behave as a test says, by the library h2, and clients for one test."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
from msgspec import Struct
from yarl import URL

from router.dispatch.http1 import Answer, Target, target_of
from router.dispatch.http2 import Client

OK = ((b":status", b"200"), (b"content-type", b"application/json"))
BACKLOG_BYTES = 64 * 1024


class Request(Struct):
    """A whole request."""

    stream: int
    headers: dict[bytes, bytes]
    body: bytes


class Peer:
    """The server's end of one connection; `number` is 0 for the first one that was accepted. `settings` are stated at
    the start. With `takes`, what arrives of requests opens their window again.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.reader, self.writer, self.number = reader, writer, number
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=False))
        # A hostile server sends what h2 would not.
        self.h2.config.validate_outbound_headers = self.h2.config.normalize_outbound_headers = False
        self.takes = True
        self.window_updates: list[tuple[int, int]] = []
        self._events: deque[h2.events.Event] = deque()
        self._bodies: dict[int, tuple[dict[bytes, bytes], bytearray]] = {}

    async def begin(self, **settings: int) -> None:
        """State the settings, which are named as in h2."""
        values = {h2.settings.SettingCodes[name]: value for name, value in settings.items()}
        self.h2.local_settings = h2.settings.Settings(client=False, initial_values=values)
        self.h2.initiate_connection()
        await self.flush()

    async def flush(self, data: bytes = b"") -> None:
        """Send what is ready, and these bytes."""
        self.writer.write(self.h2.data_to_send() + data)
        await self.writer.drain()

    async def event(self) -> h2.events.Event | None:
        """The next event; None where the client has closed the connection."""
        while not self._events:
            data = await self.reader.read(65536)
            if not data:
                return None
            self._events.extend(self.h2.receive_data(data))
            for event in self._events:
                if isinstance(event, h2.events.DataReceived) and self.takes:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.WindowUpdated):
                    self.window_updates.append((event.stream_id, event.delta))
            await self.flush()
        return self._events.popleft()

    async def until(self, *kinds: type[h2.events.Event]) -> Any:
        """The next event of one of these kinds, without those before it; None at the end of the connection."""
        while (event := await self.event()) is not None:
            if isinstance(event, kinds):
                return event
        return None

    async def request(self) -> Request | None:
        """The next whole request; None where the client has closed the connection."""
        while (event := await self.event()) is not None:
            if isinstance(event, h2.events.RequestReceived):
                self._bodies[event.stream_id] = (dict(event.headers), bytearray())
            elif isinstance(event, h2.events.DataReceived) and event.stream_id in self._bodies:
                self._bodies[event.stream_id][1].extend(event.data)
            elif isinstance(event, h2.events.StreamEnded) and event.stream_id in self._bodies:
                headers, body = self._bodies.pop(event.stream_id)
                return Request(event.stream_id, headers, bytes(body))
        return None

    async def answer(self, stream: int, body: bytes = b"ok", head: Any = OK) -> None:
        """Send a whole answer that fits the windows."""
        self.h2.send_headers(stream, head)
        for at in range(0, max(len(body), 1), 16384):
            self.h2.send_data(stream, body[at : at + 16384], end_stream=at + 16384 >= len(body))
        await self.flush()

    async def answer_all(self) -> None:
        """Answer every request."""
        while (request := await self.request()) is not None:
            await self.answer(request.stream)


class Server(Struct):
    """A running server."""

    url: URL
    connections: int = 0
    is_tls: bool = False

    def target(self, **options: Any) -> Target:
        """Its address for a client."""
        return target_of(self.url, **({} if self.is_tls else {"is_http2": True}) | options)


Behave = Callable[[Peer], Awaitable[None]]


@contextlib.asynccontextmanager
async def server(behave: Behave, context: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """A server on this loop."""
    found: Server | None = None
    problems: list[BaseException] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert found is not None
        peer = Peer(reader, writer, found.connections)
        found.connections += 1
        try:
            await behave(peer)
        except (ConnectionError, ssl.SSLError):
            pass
        except Exception as error:  # noqa: BLE001 - shown by the test
            problems.append(error)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError, TimeoutError):
                await writer.wait_closed()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    scheme = "https" if context else "http"
    port = listening.sockets[0].getsockname()[1]
    found = Server(URL(f"{scheme}://127.0.0.1:{port}/v1/x"), is_tls=context is not None)
    try:
        yield found
    finally:
        listening.close()
        await listening.wait_closed()
    assert not problems, [repr(problem) for problem in problems]


@contextlib.asynccontextmanager
async def a_client() -> AsyncIterator[Client]:
    """A client that is closed at the end."""
    client = Client()
    try:
        yield client
    finally:
        await client.aclose()


async def begin(client: Client, target: Target, body: bytes = b"{}", **options: Any) -> Answer:
    """The answer to a POST, once its head has arrived."""
    return await client.send("POST", target, {}, body, connect_s=5.0, **options)


async def whole(answer: Answer) -> bytes:
    """The whole body."""
    parts = []
    while part := await answer.read():
        parts.append(part)
    return b"".join(parts)


async def post(client: Client, target: Target, body: bytes = b"{}", **options: Any) -> tuple[int, bytes]:
    """The status and the body of the answer to a POST."""
    answer = await begin(client, target, body, **options)
    return answer.status, await whole(answer)
