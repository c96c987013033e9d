"""The requests that arrive on one connection, by httptools' parser, within bounds on their heads."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence

import httptools

from router.gateway.server.connections import Connections
from router.gateway.server.http import head
from router.gateway.server.http.flow import HELD_BYTES, Flow
from router.gateway.server.http.head import Refusal, head_problem

# A request that has been parsed takes many times its bytes: of what a client sends before it has its response, no more
# than this is parsed at once.
_PARSED_BYTES = 4096


class _RefusedError(Exception):
    """Ends the parsing of a head that is refused."""


class RequestReader(asyncio.Protocol):
    """Parses what arrives, and calls what its subclass does with a request: `begin_request` with the HTTP version and
    the headers by their names, `take_body` with each part of the body, `end_request`; `refuse` for what is no valid
    request or breaks a bound.
    """

    # It is there from `connection_made` on.
    flow: Flow

    def __init__(self, connections: Connections) -> None:
        self._shared = connections
        self.loop = asyncio.get_running_loop()
        self.parser = httptools.HttpRequestParser(self)
        # Garbage behind the last request does not break its response.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self._most_headers = 0
        self.deadline = 0.0
        # Nothing more is parsed.
        self.is_deaf = False
        self.refusal: Refusal | None = None
        # Whether a head is expected, and whether its first byte has arrived.
        self.in_head, self.head_has_begun = True, False
        # Bytes since the last part of a body, or since the end of the last message: a head, trailers, sizes of chunks.
        self._between = 0
        self._upgrade_body = 0

    # What a subclass does

    @property
    def has_waiting(self) -> bool:
        """Whether a request waits for the response before its own."""
        raise NotImplementedError

    def begin_request(self, version: str, fields: Mapping[str, str]) -> Refusal | None:
        """Begin the request whose head has arrived, or return why not."""
        raise NotImplementedError

    def take_body(self, piece: bytes) -> None:
        """Take a part of the body."""
        raise NotImplementedError

    def end_request(self) -> None:
        """The whole request has arrived."""
        raise NotImplementedError

    def refuse(self, refusal: Refusal) -> None:
        """Nothing more is read from this client."""
        raise NotImplementedError

    # Data

    def parse(self, data: bytes | bytearray) -> None:
        """Parse no more of a head at once than a head may have. Behind a request that waits for the response before its
        own, nothing is parsed.
        """
        limit = self._shared.limits.head_bytes
        if not (self.head_has_begun or self.is_deaf) and len(data) < min(limit, _PARSED_BYTES):
            # Most requests arrive alone and whole.
            self._expect_head()
            self._between = len(data)
            self._feed(bytes(data))
            return
        view = memoryview(data)
        while view and not self.is_deaf:
            if self.has_waiting:
                self.hold(view)
                return
            if not self.head_has_begun:
                self._expect_head()
            size = min(max(limit - self._between, 1), _PARSED_BYTES)
            piece, view = bytes(view[:size]), view[size:]
            self._between += len(piece)
            self._feed(piece)
            if self._between >= limit and not self.is_deaf:
                self._refuse_long()

    def hold(self, data: bytes | memoryview) -> None:
        """Keep what a client has sent too early."""
        held = self.flow.held
        held += data
        if len(held) >= HELD_BYTES:
            self.flow.pause_reading()

    def _expect_head(self) -> None:
        self.head_has_begun = True
        self.deadline = self.loop.time() + self._shared.limits.head_s

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
                self.refuse(self.refusal or head.INVALID)
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
        if not self.in_head:
            self.refuse(head.LONG_TRAILER)
        else:
            is_url = len(self.url) > self._shared.limits.head_bytes // 2
            self.refuse(head.TOO_LONG if is_url else head.TOO_LARGE)

    # Callbacks of the parser

    def on_message_begin(self) -> None:
        """A head begins."""
        self.url, self.headers = b"", []
        self._most_headers = self._shared.limits.headers
        self.in_head = self.head_has_begun = True

    def on_url(self, url: bytes) -> None:
        """Take a part of the URL."""
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; leave out a trailer."""
        if not self.in_head:
            return
        headers = self.headers
        if len(headers) >= self._most_headers:
            self.refusal = head.TOO_MANY
            raise _RefusedError
        headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Begin the request, unless its head is refused."""
        parser, headers = self.parser, self.headers
        version = parser.get_http_version()
        fields = _by_name(headers)
        refusal = head_problem(version, headers, fields)
        if refusal is None and parser.should_upgrade():
            refusal = self._read_upgrade(fields)
        if refusal is None:
            refusal = self.begin_request(version, fields)
        if refusal is not None:
            self.refusal = refusal
            raise _RefusedError
        self.in_head = False
        self._between = 0

    def _read_upgrade(self, fields: Mapping[str, str]) -> Refusal | None:
        """Remember the length of a body that the parser will not read."""
        if "transfer-encoding" in fields:
            return head.INVALID
        # The parser has checked it.
        self._upgrade_body = int(fields.get("content-length", "0"))
        return None

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._between = 0
        self.take_body(body)

    def on_message_complete(self) -> None:
        """The request has arrived."""
        if self._upgrade_body:
            return
        self.in_head, self.head_has_begun = True, False
        self._between = 0
        self.end_request()


def _by_name(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """The values of headers by their names, the last one of each."""
    # All are decoded at once. The parser refuses null characters.
    texts = b"\0".join(itertools.chain.from_iterable(headers)).decode("latin-1").split("\0")
    if len(texts) != 2 * len(headers):
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
    return dict(zip(texts[::2], texts[1::2], strict=True))
