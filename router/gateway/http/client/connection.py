"""The connection to a client: who has it, whether the client has left, and whether it reads what is sent."""

from __future__ import annotations

import asyncio
import select
import socket
import struct
from collections.abc import Callable
from types import TracebackType

from starlette.requests import ClientDisconnect

from router.errors import UpstreamError

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
    """The connection to one client, which may carry several requests, one after another, on `transport`.

    `key_id` is the API key of the last request on it that had a valid one; empty if there was none. `read_on` has the
    server read from it, without which no departure is noticed. `loop` is kept for its requests, since asyncio makes a
    system call each time that it is asked for the running one.
    """

    def __init__(self, transport: asyncio.Transport, read_on: Callable[[], None]) -> None:
        self.transport, self._read_on = transport, read_on
        self.loop = asyncio.get_running_loop()
        self._on_departure: Callable[[], None] | None = None
        self._is_lost = False
        self._timer: asyncio.TimerHandle | None = None
        self.key_id = ""
        # Then every write waits until the one before has left this process, and "sent" means that.
        transport.set_write_buffer_limits(high=0)

    @property
    def holds_rest(self) -> bool:
        """Whether the server holds something that the client has not taken."""
        return self.transport.get_write_buffer_size() > 0

    @property
    def has_gone(self) -> bool:
        """Whether the client has closed the connection in both directions."""
        sock = self.transport.get_extra_info("socket")
        if sock is None or sock.fileno() < 0:
            return True
        poll = select.poll()
        poll.register(sock.fileno(), 0)
        return any(events & (select.POLLHUP | select.POLLERR) for _, events in poll.poll(0))

    def on_departure(self, callback: Callable[[], None]) -> None:
        """Call `callback` once, as soon as the client disconnects, or in the next pass of the loop if it has."""
        self._on_departure = callback
        if self._is_lost:
            self.loop.call_soon(self.lost)
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
        self.transport.abort()

    def reset(self) -> None:
        """Close the connection so that the client sees an error, not the end of what it was sent."""
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.abort()

    def watch_rest(self, seconds: float) -> None:
        """Abort unless the rest of a response, which the server holds, has left within this many seconds."""
        self.end_watch()
        if self.holds_rest:
            self._timer = self.loop.call_later(seconds, self._abort_unless_sent)

    def end_watch(self) -> None:
        """Stop `watch_rest`: the next response waits for the rest itself."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _abort_unless_sent(self) -> None:
        if self.holds_rest:
            self.abort()
