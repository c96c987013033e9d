"""The server's protocol: requests and responses on one connection, with bounds on time and on what is read in vain."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from typing import Any

from starlette.types import ASGIApp, Scope
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl
from uvicorn.server import ServerState

from router.gateway.http.client.address import UNIX, plain
from router.gateway.http.client.connection import ClientConnection
from router.gateway.http.client.exchange import CONTINUE, EXCHANGE, Exchange
from router.gateway.server.connections import Connections, address_of
from router.gateway.server.http import head
from router.gateway.server.http.flow import Flow
from router.gateway.server.http.head import Refusal, response_to, split_url
from router.gateway.server.http.reading import RequestReader

_LOG = logging.getLogger(__name__)
# A client must be able to read the last response: a connection that is closed with unread input is reset.
_LINGER_S, _LINGER_BYTES = 5.0, 2**20
# A client that has closed its side either waits for the response, or has gone; a probe shows which.
_PROBE_AFTER_S, _LOOK_AFTER_S, _LOOK_EVERY_S = 0.25, 0.05, 0.25
# The time for the rest of a body whose request is answered already.
_UNREAD_S = 30.0
# A body is read on when so much of it has been taken.
_UNTAKEN_BYTES = 2**16
_ASGI = {"version": "3.0", "spec_version": "2.3"}


class HttpProtocol(RequestReader):
    """One connection, whose requests `app` answers.

    Malformed, too large and too slow heads are answered and the connection is closed; so is one with more of a body
    than its response needed. Trailers are not headers. A client that closes its side before its response
    has begun still gets it.
    """

    # Both are there from `connection_made` on.
    transport: asyncio.Transport
    connection: ClientConnection

    def __init__(
        self, connections: Connections, app: ASGIApp, server_state: ServerState, app_state: dict[str, Any]
    ) -> None:
        super().__init__(connections)
        self._app, self._server, self._state = app, server_state, app_state
        self._addresses: dict[str, Any] = {}
        self.address, self.peer = "", ""
        # The newest request, the one that is answered, and those that wait for its response.
        self.newest: Exchange | None = None
        self.running: Exchange | None = None
        self.pipeline: deque[tuple[Exchange, Scope]] = deque()
        self._is_within = True
        # Whether the client has not taken the whole last response yet.
        self._has_rest = False
        self._unread = 0
        # `_is_ending`: the last response has been written, and so much more of what the client sends is taken.
        self._is_ending = self._is_half_closed = False
        self._most_unread = 0

    @property
    def has_waiting(self) -> bool:
        """Whether a request waits for the response before its own."""
        return bool(self.pipeline)

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection. It must send a head in time."""
        self._server.connections.add(self)  # type: ignore[arg-type]  # uvicorn names its own protocols
        self.transport = transport
        client = get_remote_addr(transport)
        scheme = "https" if is_ssl(transport) else "http"
        self._addresses = {"server": get_local_addr(transport), "client": client, "scheme": scheme}
        self.flow = Flow(transport)
        self.connection = ClientConnection(transport, self.flow.resume_reading)
        self.address, self.peer = address_of(client), UNIX if client is None else plain(client[0])
        self.deadline = self.loop.time() + self._shared.limits.head_s
        self._is_within = self._shared.add(self, self.loop)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection, and let the application know."""
        self.is_deaf = True
        self._server.connections.discard(self)
        self._shared.remove(self)
        # Requests that have not begun are of no use to anyone.
        self.pipeline.clear()
        for exchange in (self.running, self.newest):
            if exchange is not None:
                exchange.lose()
        self.running = self.newest = None
        # It refers to this protocol.
        del self.parser
        self.flow.held.clear()
        self.flow.resume_writing()
        if exc is None:
            self.transport.close()
        self.connection.lost()

    def eof_received(self) -> bool:
        """The client has closed its side. Return whether the connection stays open, for a response."""
        exchange = self.running
        if self._is_ending or exchange is None or exchange.is_complete:
            return False
        if exchange.has_begun or exchange.more_body:
            return False
        if self.newest is not None and self.newest.more_body:
            # The rest of its body can never arrive.
            self.pipeline.popleft()
        self._is_half_closed = True
        self.loop.call_later(_PROBE_AFTER_S, self._probe)
        return True

    def pause_writing(self) -> None:
        """The client does not read."""
        self.flow.pause_writing()
        self._shared.stalled(self, self.loop.time())

    def resume_writing(self) -> None:
        """The client reads again."""
        self.flow.resume_writing()
        self._shared.moving(self)
        if self._has_rest and not self.transport.is_closing():
            self._wait(self.loop.time())

    # What Connections needs

    @property
    def key_id(self) -> str:
        """The API key that this connection has shown; empty if none."""
        return self.connection.key_id

    def expire(self) -> None:
        """Close a connection that has waited for too long."""
        if self._is_ending:
            self.transport.abort()
        elif self.in_head and self.head_has_begun:
            self.refuse(head.TOO_SLOW)
        else:
            self._end()

    def evict(self) -> None:
        """Close the connection now, in favour of another one."""
        self.transport.abort()

    # Requests

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived, unless a request waits for the response before its own."""
        if self.is_deaf:
            self._skip(len(data))
        elif self.has_waiting or self.flow.held:
            self.hold(data)
        else:
            self.parse(data)

    def begin_request(self, version: str, fields: Mapping[str, str]) -> Refusal | None:
        """Begin the request whose head has arrived, or return why not."""
        if not self._is_within and (refusal := self._use_surplus()) is not None:
            return refusal
        raw_path, path, query = split_url(self.url)
        method, is_of_1_0 = self.parser.get_method().decode("ascii"), version == "1.0"
        previous = self.newest
        exchange = self.newest = Exchange(
            self,
            fields,
            is_head=method == "HEAD",
            is_of_1_0=is_of_1_0,
            keep_alive=self._is_within and not is_of_1_0 and self.parser.should_keep_alive(),
            # A client of HTTP/1.0 does not know interim responses (RFC 9110, section 10.1.1).
            expects_continue=not is_of_1_0 and fields.get("expect", "").lower() == "100-continue",
        )
        scope = {
            "type": "http",
            "asgi": _ASGI,
            "http_version": version,
            **self._addresses,
            "root_path": "",
            "headers": self.headers,
            "state": self._state.copy(),
            "method": method,
            "path": path,
            "raw_path": raw_path,
            "query_string": query,
            "extensions": {EXCHANGE: exchange},
        }
        self._unread = 0
        if previous is None or previous.is_complete:
            self._has_rest = False
            self._begin(exchange, scope)
            self._shared.busy(self)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((exchange, scope))
        return None

    def _begin(self, exchange: Exchange, scope: Scope) -> None:
        self.running = exchange
        task = self.loop.create_task(exchange.run(self._app, scope))
        self._server.tasks.add(task)
        task.add_done_callback(self._server.tasks.discard)

    def _use_surplus(self) -> Refusal | None:
        """Look for room again, now that there is a request; without, only one about the gateway's health is served."""
        self._is_within = self._shared.admits(self, self.loop.time())
        if self._is_within or self._shared.serves_always(self.url):
            return None
        self._shared.refused += 1
        return head.BUSY

    def take_body(self, piece: bytes) -> None:
        """Take a part of the body, or drop it where the response is complete."""
        exchange = self.newest
        if exchange is None:
            return
        if exchange.is_complete:
            self._unread += len(piece)
            if self._unread > self._shared.max_unread_bytes:
                self._end()
        elif exchange.take(piece) > _UNTAKEN_BYTES:
            self.flow.pause_reading()

    def end_request(self) -> None:
        """The whole request has arrived."""
        exchange = self.newest
        if exchange is not None:
            exchange.end_body()
            if exchange.is_complete:
                self.deadline = self.loop.time() + self._shared.limits.idle_s

    # Responses

    @property
    def common_head(self) -> bytes:
        """The header lines of every response."""
        return self._shared.common_head

    def on_response_complete(self) -> None:
        """Begin the next request, or wait for it, or end the connection."""
        if self.transport.is_closing():
            return
        exchange = self.running
        if exchange is not None and not exchange.keep_alive:
            self._end_behind(exchange)
            return
        if self.pipeline:
            self._begin(*self.pipeline.pop())
            if not self.pipeline:
                held, self.flow.held = self.flow.held, bytearray()
                self.parse(held)
            self.flow.resume_reading()
            return
        self.flow.resume_reading()
        if self.refusal is not None:
            self._answer_refusal(self.refusal)
        elif self._is_half_closed:
            self.transport.close()
        else:
            limits = self._shared.limits
            is_begun = self.in_head and self.head_has_begun
            is_unread = self.newest is not None and self.newest.more_body
            wait_s = _UNREAD_S if is_unread else limits.head_s if is_begun else limits.idle_s
            now_s = self.loop.time()
            self.deadline = now_s + wait_s
            self._wait(now_s)
            if self._has_rest:
                self.loop.call_at(self.deadline, self._end_rest)

    def _end_behind(self, exchange: Exchange) -> None:
        """End the connection behind its last response. Requests that wait for this response get none."""
        if exchange is self.newest and not exchange.more_body:
            self.transport.close()
            return
        self.pipeline.clear()
        self.flow.held.clear()
        self.flow.resume_reading()
        # As much of the rest is taken as on a connection that stays open.
        self._end(_UNREAD_S, self._shared.max_unread_bytes)

    def _wait(self, now_s: float) -> None:
        """Wait for the next request; a response that has not left yet is not cut off for the sake of others."""
        self._has_rest = self.connection.holds_rest
        if not self._has_rest:
            self._shared.idle(self, now_s)

    def _end_rest(self) -> None:
        if self._has_rest and self.deadline <= self.loop.time():
            self.transport.abort()

    def shutdown(self) -> None:
        """Close the connection, after the running response where there is one."""
        if self._is_ending:
            self.transport.abort()
        elif self.newest is None or self.newest.is_complete:
            self.transport.close()
        else:
            self.newest.keep_alive = False

    def refuse(self, refusal: Refusal) -> None:
        """Answer what is no valid request, behind the response in progress, and close the connection."""
        self.is_deaf, self.refusal = True, refusal
        if refusal is not head.BUSY:
            self._shared.invalid_heads += 1
            _LOG.warning(
                "refused a request of %s: HTTP %d, %s", self.address or "a unix socket", refusal.status, refusal.message
            )
        exchange = self.newest
        if exchange is None or exchange.is_complete:
            self._answer_refusal(refusal)
        elif self.pipeline and self.pipeline[0][0] is exchange and exchange.more_body:
            # The rest of its body can never arrive. The response before it is completed first.
            self.pipeline.popleft()
        elif exchange.more_body:
            # Nothing is written for it any more, no interim response either.
            exchange.lose()
            if exchange.has_begun:
                self.transport.abort()
            else:
                self._answer_refusal(refusal)

    def _answer_refusal(self, refusal: Refusal) -> None:
        self.transport.write(response_to(refusal, self.url, self.headers))
        self._end()

    def _end(self, linger_s: float = _LINGER_S, most_unread: int = _LINGER_BYTES) -> None:
        """Send what is written, then the end of the connection, and give the client the time to read it: `linger_s`,
        within which up to `most_unread` bytes of what it sends are taken.
        """
        if self._is_ending or self.transport.is_closing():
            return
        self.is_deaf = self._is_ending = True
        self._unread, self._most_unread = 0, most_unread
        self.deadline = self.loop.time() + linger_s
        self._has_rest = False
        self._shared.ending(self, self.loop.time())
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _skip(self, size: int) -> None:
        """Data that nobody reads: some is taken, because the client may read the response only after sending it."""
        self._unread += size
        if self._unread > self._most_unread and not self.transport.is_closing():
            self.transport.abort()

    def _probe(self) -> None:
        """An interim response shows whether the client still reads: the system of one that has gone refuses it."""
        if self.transport.is_closing() or self._is_ending:
            return
        exchange = self.running
        if exchange is not None and not (exchange.has_begun or exchange.is_complete or exchange.is_of_1_0):
            self.transport.write(CONTINUE)
        self.loop.call_later(_LOOK_AFTER_S, self._look)

    def _look(self) -> None:
        if self.transport.is_closing():
            return
        if self.connection.has_gone:
            self.transport.abort()
        else:
            self.loop.call_later(_LOOK_EVERY_S, self._look)
