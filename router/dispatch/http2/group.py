"""The connections to one server."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import deque
from collections.abc import Callable
from typing import cast

from router.dispatch.http1 import BrokenError, ConnectError, ConnectTimeoutError, ProtocolError
from router.dispatch.http1.connecting import connected
from router.dispatch.http1.connection import Connection as Http1Connection
from router.dispatch.http1.names import Names
from router.dispatch.http1.target import Origin
from router.dispatch.http2.connection import Connection

_LOG = logging.getLogger(__name__)

IDLE_S = 60.0
"""How long a connection waits for its next request."""
QUIET_S = 4.0
"""A connection that has been silent for as long is checked with a PING before its next request."""
_ANSWER_S = 2.0
MAX_CONNECTIONS = 32
"""How many connections to one server there are at most; then requests wait until others have ended."""
_HTTP1_S = 600.0


class Group:
    """Finds the connection for a request, and opens one where the others have no room. Use it on one event loop.

    `keep_http1` takes a connection whose server has chosen HTTP/1.1.
    """

    def __init__(
        self,
        origin: Origin,
        names: Names,
        new_http1: Callable[[], Http1Connection],
        keep_http1: Callable[[Http1Connection], None],
    ) -> None:
        self._origin, self._names = origin, names
        self._new_http1, self._keep_http1 = new_http1, keep_http1
        self._loop = asyncio.get_running_loop()
        self._connections: list[Connection] = []
        # With those that are not open yet, or for one request.
        self._all: set[Connection] = set()
        self._opening: asyncio.Task[Connection | None] | None = None
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._http1_until_s = 0.0
        self._sweep: asyncio.TimerHandle | None = None
        self._idle_since_s: dict[Connection, float] = {}

    @property
    def is_used(self) -> bool:
        """Whether it has a connection, or will."""
        return bool(self._all) or self._opening is not None

    @property
    def is_http1(self) -> bool:
        """Whether the server has chosen HTTP/1.1 lately."""
        return self._http1_until_s > self._loop.time()

    async def with_room(self, connect_s: float) -> Connection | None:
        """A connection on which a request may be sent at once; None where the server has chosen HTTP/1.1.

        Raises ConnectTimeoutError, ConnectError, BrokenError and ProtocolError where there is none.
        """
        while not self.is_http1:
            connection = next((each for each in self._connections if each.room), None)
            if connection is not None:
                if self._loop.time() - connection.received_s < QUIET_S:
                    return connection
                await _check(connection)
            elif self._opening is not None or self._may_open:
                await self._opened(connect_s)
            else:
                await self._room()
        return None

    async def alone(self, connect_s: float) -> Connection | None:
        """A new connection for one request. See `with_room`."""
        return None if self.is_http1 else await self._connect(connect_s)

    def close(self) -> None:
        """Close every connection, also those of running requests."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        if self._opening is not None:
            self._opening.cancel()
        for connection in list(self._all):
            connection.abort()

    @property
    def _may_open(self) -> bool:
        return len(self._connections) < MAX_CONNECTIONS

    async def _opened(self, connect_s: float) -> None:
        """Return once the next connection is open: calls at once share it."""
        if self._opening is None:
            self._opening = asyncio.ensure_future(self._connect(connect_s))
            self._opening.add_done_callback(self._has_opened)
        opening = self._opening
        # One call that is cancelled must not end the connection of the others.
        await asyncio.wait([opening])
        if opening.cancelled():
            raise BrokenError("the connection was closed", is_unanswered=True)
        if (error := opening.exception()) is not None:
            raise error.with_traceback(None)

    def _has_opened(self, opening: asyncio.Task[Connection | None]) -> None:
        self._opening = None
        if not opening.cancelled() and opening.exception() is None:
            connection = opening.result()
            if connection is None:
                self._http1_until_s = self._loop.time() + _HTTP1_S
            elif not connection.is_over:
                self._connections.append(connection)
        self._wake_all()

    async def _connect(self, connect_s: float) -> Connection | None:
        chosen: _Chosen | None = None
        try:
            async with asyncio.timeout(connect_s):
                new = functools.partial(_Chosen, self._new_http1, functools.partial(Connection, self._changed))
                chosen = await connected(self._origin, self._names, new, connect_s, self._origin.http2_trust)
                connection = chosen.connection
                if isinstance(connection, Http1Connection):
                    self._keep_http1(connection)
                    _LOG.info("%s has chosen HTTP/1.1, although HTTP/2 was offered", self._origin.host)
                    return None
                assert connection is not None
                self._all.add(connection)
                _LOG.debug("a connection to %s speaks HTTP/2", self._origin.host)
                await asyncio.shield(connection.ready)
        except BaseException as error:
            if chosen is not None and isinstance(chosen.connection, Connection):
                chosen.connection.abort()
                if isinstance(error, (BrokenError, ProtocolError)):
                    # No request has been sent.
                    raise ConnectError(str(error), error) from None
            if isinstance(error, TimeoutError) and not isinstance(error, ConnectTimeoutError):
                raise ConnectTimeoutError("the server did not state its settings in time") from None
            raise
        if connection.is_over:
            raise ConnectError("the server has closed the connection")
        return connection

    async def _room(self) -> None:
        waiter = self._loop.create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._wake()
            raise

    def _changed(self, connection: Connection) -> None:
        """A connection's callback."""
        if connection.is_over:
            self._all.discard(connection)
            self._idle_since_s.pop(connection, None)
            self._forget(connection)
            if connection.wants_http1:
                self._http1_until_s = self._loop.time() + _HTTP1_S
            self._wake_all()
            return
        if not connection.is_open:
            # It ends with what it carries, and another may take its place.
            self._forget(connection)
            self._wake_all()
        if not connection.streams:
            self._idle_since_s[connection] = self._loop.time()
            if self._sweep is None:
                self._sweep = self._loop.call_later(IDLE_S, self._close_idle)
        # A server may also allow more than before.
        for _ in range(min(connection.room, len(self._waiting))):
            self._wake()

    def _forget(self, connection: Connection) -> None:
        if connection in self._connections:
            self._connections.remove(connection)

    def _close_idle(self) -> None:
        self._sweep = None
        now_s = self._loop.time()
        for connection, since_s in list(self._idle_since_s.items()):
            if connection.streams:
                del self._idle_since_s[connection]
            elif now_s - since_s >= IDLE_S:
                connection.abort()
        if self._idle_since_s:
            self._sweep = self._loop.call_at(min(self._idle_since_s.values()) + IDLE_S, self._close_idle)

    def _wake(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _wake_all(self) -> None:
        for _ in range(len(self._waiting)):
            self._wake()


async def _check(connection: Connection) -> None:
    """Have a connection retire that does not answer a PING. What runs on it has its own time limits."""
    try:
        async with asyncio.timeout(_ANSWER_S):
            await connection.check()
    except TimeoutError:
        connection.retire()
    except (BrokenError, ProtocolError):
        pass


class _Chosen(asyncio.Protocol):
    """Becomes a connection of the protocol that the server has chosen during the handshake of TLS; without TLS, of
    HTTP/2.
    """

    def __init__(self, new_http1: Callable[[], Http1Connection], new_http2: Callable[[], Connection]) -> None:
        self.connection: Connection | Http1Connection | None = None
        self._new_http1, self._new_http2 = new_http1, new_http2
        # A tunnel through a proxy is announced after its first bytes.
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's callback."""
        secure = transport.get_extra_info("ssl_object")
        is_http2 = secure is None or secure.selected_alpn_protocol() == "h2"
        connection = self.connection = self._new_http2() if is_http2 else self._new_http1()
        cast("asyncio.Transport", transport).set_protocol(connection)
        connection.connection_made(transport)
        if self._early:
            connection.data_received(b"".join(self._early))

    def data_received(self, data: bytes) -> None:
        """asyncio's callback."""
        if self.connection is None:
            self._early.append(data)
        else:
            self.connection.data_received(data)
