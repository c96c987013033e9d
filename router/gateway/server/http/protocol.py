"""uvicorn's protocol for httptools, with bounds: on the head of a request, on time, and on what is read in vain."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from router.gateway.http.client.address import UNIX, plain
from router.gateway.http.client.sending import CONNECTION, ClientConnection
from router.gateway.server.connections import Connections, address_of
from router.gateway.server.http import head
from router.gateway.server.http.flow import HELD_BYTES, Flow, JoinedHead
from router.gateway.server.http.head import Refusal, head_problem, response_to
from router.gateway.server.http.unchunked import UnchunkedCycle

_LOG = logging.getLogger(__name__)
# A client must be able to read the last response: a connection that is closed with unread input is reset.
_LINGER_S, _LINGER_BYTES = 5.0, 2**20
# A client that has closed its side either waits for the response, or has gone; a probe shows which.
_PROBE_AFTER_S, _LOOK_AFTER_S, _LOOK_EVERY_S = 0.25, 0.05, 0.25
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
# The time for the rest of a body whose request is answered already.
_UNREAD_S = 30.0
# A request that has been parsed takes many times its bytes: of what a client sends before it has its response, no more
# than this is parsed at once.
_PARSED_BYTES = 4096


class _RefusedError(Exception):
    """Ends the parsing of a head that is refused."""


class HttpProtocol(HttpToolsProtocol):
    """One connection.

    Malformed, too large and too slow heads are answered and the connection is closed; so is one with more of a body
    than its response needed. Trailers are not headers. A client that has closed its side gets its response.
    """

    def __init__(
        self,
        connections: Connections,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._shared = connections
        self.address, self.peer, self.url = "", "", b""
        self.deadline = 0.0
        self._is_within = True
        # Whether the client has not taken the whole last response yet.
        self._has_rest = False
        # Whether a head is expected, and whether its first byte has arrived.
        self._in_head, self._has_begun = True, False
        # Bytes since the last part of a body, or since the end of the last message: a head, trailers, sizes of chunks.
        self._between = 0
        self._unread = 0
        self._upgrade_body = 0
        self._refusal: Refusal | None = None
        # Nothing more is parsed. `_is_ending`: the last response has been written.
        self._is_deaf = self._is_ending = self._is_half_closed = False

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection. It must send a head in time."""
        super().connection_made(transport)
        self.flow = self._reading = Flow(transport)
        self._sending = ClientConnection(transport, self._reading.resume_reading)
        self.address, self.peer = address_of(self.client), UNIX if self.client is None else plain(self.client[0])
        self.deadline = self.loop.time() + self._shared.limits.head_s
        self._is_within = self._shared.add(self, self.loop)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection, and let the application know."""
        self._is_deaf = True
        self._shared.remove(self)
        if self.pipeline:
            # Requests that have not begun are of no use to anyone. uvicorn knows only the last one.
            self.pipeline.clear()
            self._running.disconnected = True
            self._running.message_event.set()
        self._reading.held.clear()
        super().connection_lost(exc)
        self._sending.lost()

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client has closed its side. Return whether the connection stays open, for a response."""
        cycle = self.cycle
        is_answering = cycle is not None and not cycle.response_complete
        if self._is_ending or not is_answering or cycle.response_started or cycle.more_body:
            return False
        self._is_half_closed = True
        self.loop.call_later(_PROBE_AFTER_S, self._probe)
        return True

    def pause_writing(self) -> None:
        """The client does not read."""
        super().pause_writing()
        self._shared.stalled(self, self.loop.time())

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        self._shared.moving(self)
        if self._has_rest and not self.transport.is_closing():
            self._wait()

    # What Connections needs

    @property
    def key_id(self) -> str:
        """The API key that this connection has shown; empty if none."""
        return self._sending.key_id

    def expire(self) -> None:
        """Close a connection that has waited for too long."""
        if self._is_ending:
            self.transport.abort()
        elif self._in_head and self._has_begun:
            self._refuse(head.TOO_SLOW)
        else:
            self._end()

    def evict(self) -> None:
        """Close the connection now, in favour of another one."""
        self.transport.abort()

    # Data

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived, no more of a head at once than a head may have. Behind a request that waits for the
        response before its own, nothing is parsed.
        """
        if self._is_deaf:
            self._skip(len(data))
        elif self.pipeline or self._reading.held:
            self._hold(data)
        else:
            self._parse(data)

    def _hold(self, data: bytes | memoryview) -> None:
        held = self._reading.held
        held += data
        if len(held) >= HELD_BYTES:
            self.flow.pause_reading()

    def _parse(self, data: bytes) -> None:
        view, limit = memoryview(data), self._shared.limits.head_bytes
        while view and not self._is_deaf:
            if self.pipeline:
                self._hold(view)
                return
            if not self._has_begun:
                self._has_begun = True
                self.deadline = self.loop.time() + self._shared.limits.head_s
            size = min(max(limit - self._between, 1), _PARSED_BYTES)
            piece, view = bytes(view[:size]), view[size:]
            self._between += len(piece)
            self._feed(piece)
            if self._between >= limit and not self._is_deaf:
                self._refuse_long()

    def _feed(self, data: bytes) -> None:
        while data:
            if self._upgrade_body:
                data = self._feed_upgrade_body(data)
                continue
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                # No other protocol is spoken here, and a server may ignore a request for one.
                data = data[upgrade.args[0] :]
            except httptools.HttpParserError:
                self._refuse(self._refusal or head.INVALID)
                return

    def _feed_upgrade_body(self, data: bytes) -> bytes:
        """The parser takes a request that asks for an upgrade to have no body. Return what follows the body."""
        piece, rest = data[: self._upgrade_body], data[self._upgrade_body :]
        self._upgrade_body -= len(piece)
        self.on_body(piece)
        if not self._upgrade_body:
            self.on_message_complete()
        return rest

    def _refuse_long(self) -> None:
        if not self._in_head:
            self._refuse(head.LONG_TRAILER)
        else:
            is_url = len(self.url) > self._shared.limits.head_bytes // 2
            self._refuse(head.TOO_LONG if is_url else head.TOO_LARGE)

    # Callbacks of the parser

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._in_head = self._has_begun = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; leave out a trailer."""
        if not self._in_head:
            return
        headers = self.headers
        if len(headers) >= self._shared.limits.headers:
            self._refusal = head.TOO_MANY
            raise _RefusedError
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Begin the request, unless its head is refused."""
        version = self.parser.get_http_version()
        refusal = head_problem(version, self.headers)
        if refusal is None and self.parser.should_upgrade():
            refusal = self._read_upgrade()
        if refusal is None and not self._is_within:
            refusal = self._use_surplus()
        if refusal is not None:
            self._refusal = refusal
            raise _RefusedError
        previous = self.cycle
        super().on_headers_complete()
        self.scope["extensions"] = {CONNECTION: self._sending}  # type: ignore[dict-item]
        if self.cycle.scope["method"] != "HEAD":
            self.cycle.transport = JoinedHead(self.transport, self.loop)  # type: ignore[assignment]
        self._in_head = False
        self._between = self._unread = 0
        if version == "1.0":
            # The task that uses it has not run yet.
            self.cycle.__class__ = UnchunkedCycle
        elif not self._is_within:
            self.cycle.keep_alive = False
        if previous is None or previous.response_complete:
            self._running, self._has_rest = self.cycle, False
            self._shared.busy(self)

    def _use_surplus(self) -> Refusal | None:
        """Look for room again, now that there is a request; without, only one about the gateway's health is served."""
        self._is_within = self._shared.admits(self, self.loop.time())
        if self._is_within or self._shared.serves_always(self.url):
            return None
        self._shared.refused += 1
        return head.BUSY

    def _read_upgrade(self) -> Refusal | None:
        """Remember the length of a body that the parser will not read."""
        values = dict(self.headers)
        if b"transfer-encoding" in values:
            return head.INVALID
        # The parser has checked it.
        self._upgrade_body = int(values.get(b"content-length", b"0"))
        return None

    def on_body(self, body: bytes) -> None:
        """Take a part of the body, or drop it where the response is complete."""
        self._between = 0
        if self.cycle.response_complete:
            self._unread += len(body)
            if self._unread > self._shared.max_unread_bytes:
                self._end()
            return
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request has arrived."""
        if self._upgrade_body:
            return
        self._in_head, self._has_begun = True, False
        self._between = 0
        if self.cycle.response_complete:
            self.cycle.more_body = False
            self.deadline = self.loop.time() + self._shared.limits.idle_s
            return
        super().on_message_complete()

    # Responses

    def on_response_complete(self) -> None:
        """Begin the next request, or wait for it."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._running = cycle
            self._start_asgi_task(cycle, app)
            if not self.pipeline:
                held, self._reading.held = self._reading.held, bytearray()
                self._parse(bytes(held))
            self.flow.resume_reading()
            return
        self.flow.resume_reading()
        if self._refusal is not None:
            self._answer_refusal(self._refusal)
        elif self._is_half_closed:
            self.transport.close()
        else:
            limits = self._shared.limits
            is_begun = self._in_head and self._has_begun
            wait_s = _UNREAD_S if self.cycle.more_body else limits.head_s if is_begun else limits.idle_s
            self.deadline = self.loop.time() + wait_s
            self._wait()
            if self._has_rest:
                self.loop.call_at(self.deadline, self._end_rest)

    def _wait(self) -> None:
        """Wait for the next request; a response that has not left yet is not cut off for the sake of others."""
        self._has_rest = self._sending.holds_rest
        if not self._has_rest:
            self._shared.idle(self, self.loop.time())

    def _end_rest(self) -> None:
        if self._has_rest and self.deadline <= self.loop.time():
            self.transport.abort()

    def shutdown(self) -> None:
        """Close the connection, after the running response where there is one."""
        if self._is_ending:
            self.transport.abort()
        else:
            super().shutdown()

    def _refuse(self, refusal: Refusal) -> None:
        self._is_deaf, self._refusal = True, refusal
        if refusal is not head.BUSY:
            self._shared.invalid_heads += 1
            _LOG.warning(
                "refused a request of %s: HTTP %d, %s", self.address or "a unix socket", refusal.status, refusal.message
            )
        if self.cycle is None or self.cycle.response_complete:
            self._answer_refusal(refusal)
        elif self.pipeline and self.pipeline[0][0] is self.cycle and self.cycle.more_body:
            # The rest of its body can never arrive. The response before it is completed first.
            self.pipeline.popleft()
        elif self.cycle.more_body:
            # Nothing is written for it any more, no interim response either.
            self.cycle.disconnected, self.cycle.waiting_for_100_continue = True, False
            self.cycle.message_event.set()
            if self.cycle.response_started:
                self.transport.abort()
            else:
                self._answer_refusal(refusal)

    def _answer_refusal(self, refusal: Refusal) -> None:
        self.transport.write(response_to(refusal, self.url, self.headers or ()))
        self._end()

    def _end(self) -> None:
        """Send what is written, then the end of the connection, and give the client the time to read it."""
        if self._is_ending or self.transport.is_closing():
            return
        self._is_deaf = self._is_ending = True
        self._unread = 0
        self.deadline = self.loop.time() + _LINGER_S
        self._has_rest = False
        self._shared.ending(self, self.loop.time())
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _skip(self, size: int) -> None:
        """Data that nobody reads: some is taken, because the client may read the response only after sending it."""
        self._unread += size
        if self._unread > _LINGER_BYTES and not self.transport.is_closing():
            self.transport.abort()

    def _probe(self) -> None:
        """An interim response shows whether the client still reads: the system of one that has gone refuses it."""
        if self.transport.is_closing() or self._is_ending:
            return
        cycle = self.cycle
        if not cycle.response_started and cycle.scope["http_version"] == "1.1":
            self.transport.write(_CONTINUE)
        self.loop.call_later(_LOOK_AFTER_S, self._look)

    def _look(self) -> None:
        if self.transport.is_closing():
            return
        if self._sending.has_gone:
            self.transport.abort()
        else:
            self.loop.call_later(_LOOK_EVERY_S, self._look)
