"""The exchanges of requests under a server of others, such as Ray Serve's, which has nothing but ASGI's messages."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from router.gateway.http.client.connection import ClientConnection, StalledClientError
from router.gateway.http.client.exchange import EXCHANGE, PIECE_BYTES, Exchange


def exchange_under(scope: Scope, receive: Receive, send: Send) -> tuple[Exchange, Receive, Send]:
    """The exchange of a request, and `receive` and `send` that work on it."""
    exchange: Exchange | None = scope.setdefault("extensions", {}).get(EXCHANGE)
    if exchange is not None:
        return exchange, receive, send
    scope.setdefault("state", {})
    exchange = scope["extensions"][EXCHANGE] = ForeignExchange(scope, receive, send)
    return exchange, exchange.receive, exchange.send


class _Transport(asyncio.Transport):
    """In place of a connection that only the server has: nothing is written to it."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is held."""

    def get_write_buffer_size(self) -> int:
        """Nothing is held."""
        return 0

    def abort(self) -> None:
        """The server closes it."""


class _Line:
    """In place of the server's side, of which this process has nothing."""

    common_head = b""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection, self.flow = connection, self
        self.write_paused = False
        self.running = None

    async def drain(self) -> None:
        """The server waits in `send`."""

    def resume_reading(self) -> None:
        """The server reads when it is asked."""

    def on_response_complete(self) -> None:
        """The server knows."""


class ForeignExchange(Exchange):
    """A request and its response, as ASGI's messages."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = ClientConnection(_Transport(), self._watch)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        super().__init__(_Line(connection), headers)
        self._receive, self._send = receive, send
        self._start: Message | None = None
        self._order = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def whole_body(self) -> None:
        """None: the body arrives by `receive`."""

    async def receive(self) -> Message:
        """The next message of the server."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.lose()
        return message

    def _begin(self, status: int, lines: bytes, length: str | bytes | None, connection: str | bytes | None) -> None:
        super()._begin(status, lines, length, connection)
        fields = [line.partition(b": ") for line in (lines + self.added).split(b"\r\n") if line]
        headers = [(name, value) for name, _, value in fields]
        self._start = {"type": "http.response.start", "status": status, "headers": headers}

    def _flush(self) -> None:
        if self._start is not None:
            self._keep(self._send_head())

    async def _send_head(self) -> None:
        # Whoever writes next learns of a client that has gone.
        with contextlib.suppress(OSError, ClientDisconnect):
            await self._message(None)

    async def write(self, data: bytes, *, is_last: bool) -> None:
        """Send a part of the body of a response that has begun. Raises ClientDisconnect."""
        for start in range(0, len(data), PIECE_BYTES) or (0,):
            end = start + PIECE_BYTES
            more_body = not is_last or end < len(data)
            await self._message({"type": "http.response.body", "body": data[start:end], "more_body": more_body})
        if is_last:
            self.is_complete = True

    def write_now(self, data: bytes) -> bool:
        """False: nothing is known of the connection."""
        return False

    async def _message(self, message: Message | None) -> None:
        try:
            async with asyncio.timeout(None if self._stall_s is None else self._left_s(self._stall_s)), self._order:
                start, self._start = self._start, None
                if start is not None:
                    await self._send(start)
                if message is not None:
                    await self._send(message)
        except TimeoutError:
            raise StalledClientError from None
        except OSError:
            self.lose()
            raise ClientDisconnect from None

    def finish(self) -> None:
        """The request has ended."""
        for task in self._tasks:
            task.cancel()

    def _watch(self) -> None:
        """Wait for the client's departure."""
        self._keep(self._departure())

    async def _departure(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass
        self.connection.lost()

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
