"""One connection of the client, and the response that it is reading."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Protocol, cast

import httptools

from bench.gateway.samples import Samples

_STAMP = re.compile(rb"t(\d{10,20}) ")
_STAMP_BYTES = 24


class Listener(Protocol):
    """The sender of the requests."""

    def answered(self, connection: Connection) -> None:
        """Called when a response is complete, valid or not."""

    def closed(self, connection: Connection) -> None:
        """Called when the connection is closed."""


class Connection(asyncio.Protocol):
    """Sends one request at a time, and records the times of its response."""

    def __init__(self, listener: Listener, stream: bool) -> None:
        self._listener, self._stream = listener, stream
        self.busy = False
        self._begin(0)

    def _begin(self, due: int) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._due = due
        self._now = self._first = 0
        self._status = 0
        self._body: list[bytes] = []
        self._tail = b""
        self._held: list[float] = []
        self.reusable = True

    def send(self, request: bytes, due: int) -> None:
        """Send a request; `due` is when it should have been sent, in ns of the monotonic clock."""
        self._begin(due)
        self.busy = True
        self._transport.write(request)

    def close(self) -> None:
        """Close the connection."""
        self._transport.abort()

    def problem(self) -> str:
        """The problem of the response; empty if there is none."""
        body = b"".join(self._body)
        if self._status != 200:
            return f"HTTP {self._status}: {_shown(body[:300])}"
        if self._stream and not (self._first and b"data: [DONE]" in body):
            return f"a stream without content or end: {_shown(body[-300:])}"
        if not self._stream and b'"choices"' not in body:
            return f"no completion: {_shown(body[:300])}"
        return ""

    def record(self, samples: Samples) -> None:
        """Add the response to the samples."""
        samples.latency_ms.append((self._now - self._due) / 1e6)
        if self._stream:
            samples.first_ms.append((self._first - self._due) / 1e6)
            samples.held_ms.extend(self._held)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop sets TCP_NODELAY itself

    def connection_lost(self, exc: Exception | None) -> None:
        self._listener.closed(self)

    def data_received(self, data: bytes) -> None:
        self._now = time.monotonic_ns()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._status = 0
            self._body = [f"not HTTP: {error}".encode()]
            self._transport.abort()

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        self._body.append(data)
        if not self._stream:
            return
        # A time stamp may be split between two chunks.
        joined, end = self._tail + data, 0
        for match in _STAMP.finditer(joined):
            end = match.end()
            self._first = self._first or self._now
            self._held.append((self._now - int(match[1])) / 1e6)
        self._tail = joined[max(end, len(joined) - _STAMP_BYTES) :]

    def on_message_complete(self) -> None:
        self.reusable = bool(self._parser.should_keep_alive())
        # Not from within the parser, since the next request replaces it.
        asyncio.get_running_loop().call_soon(self._listener.answered, self)


def _shown(body: bytes) -> str:
    return " ".join(body.decode(errors="replace").split())
