"""One request of a client, and the response to it.

The server's protocol makes an exchange for each request and gives it to the application as an ASGI extension. ASGI's
`receive` and `send` work on it as with any server. Handlers of requests for an answer use it directly: a body that has
arrived needs no message, and a whole response is written at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Protocol

from starlette.types import ASGIApp, Message, Scope

from router.formats.headers import NAME, NAME_TEXT, NOT_IN_VALUE_TEXTS, NOT_IN_VALUES
from router.gateway.http.client.connection import ClientConnection, StalledClientError

EXCHANGE = "pulvinar.exchange"
"""The ASGI extension under which the server's protocol gives the exchange of a request."""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_LOG = logging.getLogger(__name__)
# What is handed to the connection at once, so that the time limit is about this much and memory holds no more of it.
PIECE_BYTES = 64 * 1024
# What a client that reads may take for the end of a response whose time is over.
_FAREWELL_S = 1.0
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_STATUS_LINES = {code: f"HTTP/1.1 {code} {_PHRASES.get(code, '')}\r\n".encode() for code in range(100, 600)}
_DISCONNECT = "http.disconnect"


class Flow(Protocol):
    """When a connection is read, and whether it takes more of a response."""

    write_paused: bool

    async def drain(self) -> None:
        """Wait until it takes more."""

    def resume_reading(self) -> None:
        """Read on."""


class Line(Protocol):
    """The server's side of the connection of an exchange. `common_head`: header lines of every response, now."""

    @property
    def connection(self) -> ClientConnection:
        """The connection."""

    @property
    def flow(self) -> Flow:
        """What it takes, and what is read from it."""

    @property
    def common_head(self) -> bytes:
        """See the class."""

    @property
    def running(self) -> Exchange | None:
        """The exchange whose response is being written, or was last."""

    def on_response_complete(self) -> None:
        """The response has been written. Without the exchange's `keep_alive` the connection ends."""


class Exchange:
    """One request, whose body arrives, and its response. `headers` are the request's, with names in lower case.

    `added` are header lines that the response gets behind its own. Where `limit` was called, a client that does not
    take the next 64 KiB within `stall_s` seconds is disconnected, and so is one that has not taken the whole response a
    second after `ends_s`, in seconds of the event loop's clock, which may be changed at any time.
    """

    __slots__ = (
        "_body",
        "_event",
        "_flow",
        "_has_news",
        "_has_no_body",
        "_head",
        "_is_chunked",
        "_left",
        "_line",
        "_stall_s",
        "_transport",
        "added",
        "connection",
        "ends_s",
        "expects_continue",
        "has_begun",
        "headers",
        "is_complete",
        "is_lost",
        "is_of_1_0",
        "keep_alive",
        "more_body",
    )

    def __init__(
        self,
        line: Line,
        headers: Mapping[str, str],
        *,
        is_head: bool = False,
        is_of_1_0: bool = False,
        keep_alive: bool = True,
        expects_continue: bool = False,
    ) -> None:
        self._line, self._flow, self.connection, self.headers = line, line.flow, line.connection, headers
        self._transport = self.connection.transport
        self._has_no_body, self.is_of_1_0 = is_head, is_of_1_0
        self.keep_alive, self.expects_continue = keep_alive, expects_continue
        # The request
        self._body: bytes | bytearray = b""
        self.more_body, self.is_lost = True, False
        self._has_news = False
        self._event: asyncio.Event | None = None
        # The response. `_head` has not been written yet; `_left` is what its stated length still lacks.
        self.has_begun = self.is_complete = self._is_chunked = False
        self.added = self._head = b""
        self._left: int | None = None
        self._stall_s: float | None = None
        self.ends_s = math.inf

    def limit(self, stall_s: float, ends_s: float) -> None:
        """Set the limits of the response."""
        self._stall_s, self.ends_s = stall_s, ends_s
        # The response waits for the rest of the one before by itself.
        self.connection.end_watch()

    def accept_key(self, id_: str) -> None:
        """The client has a valid key: among connections that wait, its own is closed late in favour of others."""
        self.connection.key_id = id_

    # For the server

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """Have `app` answer. Without a whole answer the client gets an error, or the end of the connection."""
        try:
            await app(scope, self.receive, self.send)
            if not (self.is_complete or self.is_lost):
                _LOG.error("the application returned without a whole response")
                await self._fail()
        except asyncio.CancelledError:
            # The server stops, and waits no longer.
            await self._fail()
        except Exception:  # noqa: BLE001 - the outermost edge of a request
            _LOG.exception("the application failed")
            await self._fail()

    async def _fail(self) -> None:
        if self.is_complete:
            # The connection may have the next request already.
            return
        if self.has_begun:
            self.break_off()
            return
        text = b"Internal Server Error"
        fields = {"content-type": "text/plain; charset=utf-8", "content-length": str(len(text)), "connection": "close"}
        with contextlib.suppress(StalledClientError):
            await self.respond(500, fields, text)

    def break_off(self) -> None:
        """End the connection inside a response that has begun: a normal end would look like a complete response."""
        self._flush()
        if self._is_chunked or self._left is not None:
            self._transport.close()
        else:
            self.connection.reset()
        self.lose()

    def take(self, piece: bytes) -> int:
        """A part of the body has arrived. Return how much of it waits to be read."""
        # Most bodies arrive in one piece. Many small ones must not take more memory than their bytes.
        if not self._body:
            self._body = piece
        else:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += piece
        self._wake()
        return len(self._body)

    def end_body(self) -> None:
        """The whole body has arrived."""
        self.more_body = False
        self._wake()

    def lose(self) -> None:
        """The client has left, or nothing that it sends is read any more."""
        if not self.is_complete:
            self.is_lost, self.expects_continue, self._body = True, False, b""
        self._wake()

    def _wake(self) -> None:
        self._has_news = True
        if self._event is not None:
            self._event.set()

    # The request

    def whole_body(self) -> bytes | None:
        """The body, where all of it has arrived and nothing of it was read; else None. Call it once."""
        if self.more_body or self.expects_continue or self.is_lost:
            return None
        self._flow.resume_reading()
        self._has_news = False
        return self._taken()

    async def receive(self) -> Message:
        """ASGI's `receive`."""
        if self.expects_continue and not self._transport.is_closing():
            self._transport.write(CONTINUE)
            self.expects_continue = False
        if not (self.is_lost or self.is_complete):
            self._flow.resume_reading()
        while not (self._has_news or self.is_lost or self.is_complete):
            if self._event is None:
                self._event = asyncio.Event()
            self._event.clear()
            await self._event.wait()
        self._has_news = False
        if self.is_lost or self.is_complete:
            return {"type": _DISCONNECT}
        return {"type": "http.request", "body": self._taken(), "more_body": self.more_body}

    def _taken(self) -> bytes:
        body, self._body = self._body, b""
        return bytes(body)

    # The response

    async def send(self, message: Message) -> None:
        """ASGI's `send`. Raises StalledClientError."""
        if message["type"] == "http.response.start":
            lines, fields = _checked_lines(message.get("headers", ()))
            self._begin(message["status"], lines, fields.get(b"content-length"), fields.get(b"connection"))
            self.connection.loop.call_soon(self._flush)
        else:
            await self.write(message.get("body", b""), is_last=not message.get("more_body", False))

    async def respond(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Send a whole response. `headers` state its length. Raises StalledClientError."""
        self._begin(status, _lines(headers), headers["content-length"], headers.get("connection"))
        await self.write(body, is_last=True)

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Begin a response. Its head waits for what is written in the same pass of the event loop, and no longer, so
        that both leave by one system call and in one packet.
        """
        self._begin(status, _lines(headers), headers.get("content-length"), headers.get("connection"))
        self.connection.loop.call_soon(self._flush)

    def _begin(self, status: int, lines: bytes, length: str | bytes | None, connection: str | bytes | None) -> None:
        if self.has_begun:
            raise RuntimeError("a response began twice")
        end = b"\r\n"
        if connection is not None:
            # The application says nothing but `close`.
            self.keep_alive = False
        elif not self.keep_alive:
            end = b"connection: close\r\n\r\n"
        if length is not None:
            self._left = int(length)
        elif status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            self._has_no_body = True
        elif not (self._has_no_body or self.is_of_1_0):
            # The end of the connection is the end of a body of HTTP/1.0: it has no chunks (RFC 9112, section 6.1).
            self._is_chunked = True
            end = end[:-2] + b"transfer-encoding: chunked\r\n\r\n"
        self._head = b"".join((_STATUS_LINES[status], self._line.common_head, lines, self.added, end))
        self.has_begun, self.expects_continue = True, False

    async def write(self, data: bytes, *, is_last: bool) -> None:
        """Send a part of the body of a response that has begun. Raises StalledClientError."""
        if self._flow.write_paused:
            await self._drain()
        if len(data) <= PIECE_BYTES or self._stall_s is None:
            self._write(data, is_last)
            return
        for start in range(0, len(data), PIECE_BYTES):
            if self._flow.write_paused:
                await self._drain()
            end = start + PIECE_BYTES
            self._write(data[start:end], is_last and end >= len(data))

    def write_now(self, data: bytes) -> bool:
        """Send a part of the body at once. False where the client would have to be waited for, or has left: then
        nothing was sent.
        """
        if len(data) > PIECE_BYTES or self.is_lost or self._flow.write_paused:
            return False
        if self._transport.is_closing() or self.connection.holds_rest:
            return False
        self._write(data, is_last=False)
        return True

    def _write(self, data: bytes, is_last: bool) -> None:
        if self.is_lost:
            return
        if not self.has_begun or self.is_complete:
            raise RuntimeError("a part of a response that has not begun, or is complete")
        if self._has_no_body:
            data = b""
        elif self._is_chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            if is_last:
                data += b"0\r\n\r\n"
        elif self._left is not None:
            self._left -= len(data)
            if self._left < 0 or (is_last and self._left):
                raise RuntimeError("the body of a response has not its stated length")
        if self._head:
            data, self._head = self._head + data, b""
        if data:
            self._transport.write(data)
        if is_last:
            self.is_complete, self._body = True, b""
            self._wake()
            self._line.on_response_complete()

    def _flush(self) -> None:
        if self._head and not self.is_lost:
            head, self._head = self._head, b""
            if not self._transport.is_closing():
                self._transport.write(head)

    async def _drain(self) -> None:
        if self.is_lost:
            return
        try:
            async with asyncio.timeout(None if self._stall_s is None else self._left_s(self._stall_s)):
                await self._flow.drain()
        except TimeoutError:
            self.connection.abort()
            raise StalledClientError from None

    def finish(self) -> None:
        """Watch what the server still holds of the response. Call it when the request has ended."""
        # The next response of the connection waits for the rest of this one by itself.
        if self._stall_s is not None and self._line.running is self and self.connection.holds_rest:
            self.connection.watch_rest(self._left_s(self._stall_s))

    def _left_s(self, stall_s: float) -> float:
        return min(stall_s, max(self.ends_s - self.connection.loop.time(), 0.0) + _FAREWELL_S)


def exchange_of(scope: Scope) -> Exchange:
    """The exchange of a request."""
    exchange: Exchange = scope["extensions"][EXCHANGE]
    return exchange


def _lines(headers: Mapping[str, str]) -> bytes:
    """The headers as they are sent, without those of an upstream that no header may be."""
    names, values = "".join(headers), "".join(headers.values())
    if not NAME_TEXT.fullmatch(names) or (not values.isprintable() and NOT_IN_VALUE_TEXTS.search(values)):
        headers = {
            name: value
            for name, value in headers.items()
            if NAME_TEXT.fullmatch(name) and not NOT_IN_VALUE_TEXTS.search(value)
        }
    lines = "\r\n".join(map(": ".join, headers.items()))
    return f"{lines}\r\n".encode("latin-1", "replace") if lines else b""


def _checked_lines(headers: Iterable[tuple[bytes, bytes]]) -> tuple[bytes, Mapping[bytes, bytes]]:
    """The headers of an ASGI message as they are sent, and by their names."""
    lowered = [(name.lower(), value) for name, value in headers]
    if not all(NAME.fullmatch(name) and not NOT_IN_VALUES.search(value) for name, value in lowered):
        raise RuntimeError("a response has a header that may not be sent")
    return b"".join([b"%b: %b\r\n" % pair for pair in lowered]), dict(lowered)
