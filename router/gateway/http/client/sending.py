"""Sending to a client under a clock: one that stops reading loses its connection."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from types import TracebackType

from starlette.requests import ClientDisconnect
from starlette.types import Message, Send

from router.errors import UpstreamError

CONNECTION = "pulvinar.connection"
"""The ASGI extension under which the server's protocol gives the connection of a request."""

# What is handed to the connection at once, so that the time limit is about this much and memory holds no more of it.
_PIECE_BYTES = 64 * 1024
# What a client that reads may take for the end of a response whose time is over.
_FAREWELL_S = 1.0
# Calls to upstreams end at the deadline itself, name the upstream that was late, and count what had arrived of its
# answer: a busy process needs a moment for that, and what is not counted is not charged.
GRACE_S = 2.0


class StalledClientError(ClientDisconnect):
    """The client has stopped reading, and its connection has been closed."""


class EndsAt:
    """A block (`async with`) that ends at this time of the event loop's clock, whatever it waits for: raises
    UpstreamError then.
    """

    def __init__(self, ends_s: float) -> None:
        self._limit = asyncio.timeout_at(ends_s + GRACE_S)

    async def __aenter__(self) -> None:
        await self._limit.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._limit.__aexit__(kind, error, trace)
        except TimeoutError:
            raise too_late() from None


def too_late() -> UpstreamError:
    """The error of a request whose time is over."""
    return UpstreamError("the request did not end within `timeouts.total`", 504, "late")


class ClientConnection:
    """The connection to one client, which may carry several requests, one after another.

    `key_id` is the API key of the last request on it that had a valid one; empty if there was none. `read_on` has the
    server read from it, without which no departure is noticed.
    """

    def __init__(self, transport: asyncio.Transport, read_on: Callable[[], None]) -> None:
        self._transport, self._read_on = transport, read_on
        self._on_departure: Callable[[], None] | None = None
        self._is_lost = False
        self._timer: asyncio.TimerHandle | None = None
        self.key_id = ""
        # Then every write waits until the one before has left this process, and "sent" means that.
        transport.set_write_buffer_limits(high=0)

    @property
    def holds_rest(self) -> bool:
        """Whether the server holds something that the client has not taken."""
        return self._transport.get_write_buffer_size() > 0

    @property
    def is_ready(self) -> bool:
        """Whether the connection is open, and the client has taken everything."""
        return not self._is_lost and not self._transport.is_closing() and not self.holds_rest

    @property
    def has_gone(self) -> bool:
        """Whether the client has closed the connection in both directions."""
        sock = self._transport.get_extra_info("socket")
        if sock is None or sock.fileno() < 0:
            return True
        poll = select.poll()
        poll.register(sock.fileno(), 0)
        return any(events & (select.POLLHUP | select.POLLERR) for _, events in poll.poll(0))

    def on_departure(self, callback: Callable[[], None]) -> None:
        """Call `callback` once, as soon as the client disconnects, or in the next pass of the loop if it has."""
        self._on_departure = callback
        if self._is_lost:
            asyncio.get_running_loop().call_soon(self.lost)
        else:
            self._read_on()

    def end_departure(self) -> None:
        """Stop `on_departure`."""
        self._on_departure = None

    def lost(self) -> None:
        """The server's protocol has lost the connection."""
        self._is_lost = True
        callback, self._on_departure = self._on_departure, None
        if callback is not None:
            callback()

    def abort(self) -> None:
        """Close the connection without waiting for what has not been sent."""
        self.end_watch()
        self._transport.abort()

    def watch_rest(self, seconds: float) -> None:
        """Abort unless the rest of a response, which the server holds, has left within this many seconds."""
        self.end_watch()
        if self.holds_rest:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._abort_unless_sent)

    def end_watch(self) -> None:
        """Stop `watch_rest`: the next response waits for the rest itself."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _abort_unless_sent(self) -> None:
        if self.holds_rest:
            self.abort()


class Sender:
    """The ASGI `send` of one request.

    A client that does not take the next 64 KiB within `stall_s` seconds is disconnected, and so is one that has not
    taken the whole response a second after `ends_s`, in seconds of the event loop's clock, which may be changed at any
    time. `connection` is None under a server that does not give it.
    """

    def __init__(self, send: Send, connection: ClientConnection | None, stall_s: float, ends_s: float) -> None:
        self._send, self.connection, self._stall_s, self.ends_s = send, connection, stall_s, ends_s
        if connection is not None:
            connection.end_watch()

    def accept_key(self, id_: str) -> None:
        """The client has a valid key: among connections that wait, its own is closed late in favour of others."""
        if self.connection is not None:
            self.connection.key_id = id_

    async def __call__(self, message: Message) -> None:
        """Send a message. Raises StalledClientError."""
        body = message.get("body", b"")
        if len(body) <= _PIECE_BYTES and self.connection is not None and not self.connection.holds_rest:
            # Then the server does not wait, and a clock would cost more than the sending.
            await self._send(message)
            return
        start = 0
        while len(body) - start > _PIECE_BYTES:
            await self._send_one({**message, "body": body[start : start + _PIECE_BYTES], "more_body": True})
            start += _PIECE_BYTES
        await self._send_one({**message, "body": body[start:]} if start else message)

    def pass_on(self, body: bytes) -> bool:
        """Send a part of a body at once. False where the client would have to be waited for: then nothing was sent."""
        if len(body) > _PIECE_BYTES or self.connection is None or not self.connection.is_ready:
            return False
        sending = self._send({"type": "http.response.body", "body": body, "more_body": True})
        try:
            # The server waits for nothing else, so its first step is the whole.
            sending.__await__().__next__()
        except StopIteration:
            return True
        raise RuntimeError("the server waits for a client that has taken everything")

    async def _send_one(self, message: Message) -> None:
        try:
            async with asyncio.timeout(self._left_s()):
                await self._send(message)
        except TimeoutError:
            if self.connection is not None:
                self.connection.abort()
            raise StalledClientError from None

    def finish(self) -> None:
        """Watch what the server still holds of the response. Call it when the request has ended."""
        if self.connection is not None:
            self.connection.watch_rest(self._left_s())

    def _left_s(self) -> float:
        return min(self._stall_s, max(self.ends_s - asyncio.get_running_loop().time(), 0.0) + _FAREWELL_S)
