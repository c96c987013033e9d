"""An answer as a stream: whole events, held back until the first one with content."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from router.errors import UpstreamError
from router.formats.quantities import Seconds
from router.types import Usage
from router.wire.errors import error_in_event
from router.wire.protocols import WireProtocol
from router.wire.sse import DONE, data_of, events_of
from router.wire.usage import usage_in

MAX_EVENT_BYTES = 16 * 1024 * 1024
_DRAIN_S = 0.5
_WORTH_READING = re.compile(rb'"usage"\s*:\s*\{|"error"\s*:\s*[^n\s]|event: ?error')
_BLANK_LINES = (b"\n\n", b"\r\n\r\n")
_MAX_BLANK_BYTES = 4


class Timeouts(
    Struct,
    frozen=True,
    forbid_unknown_fields=True,
    rename={"connect_s": "connect", "first_token_s": "first_token", "idle_s": "idle", "total_s": "total"},
):
    """Time limits of an upstream call: to connect, to the first content, between two chunks of a stream, in total."""

    # Factories, because msgspec cannot write a quantity's default into a JSON Schema.
    connect_s: Seconds = msgspec.field(default_factory=lambda: Seconds(5))
    first_token_s: Seconds = msgspec.field(default_factory=lambda: Seconds(60))
    idle_s: Seconds = msgspec.field(default_factory=lambda: Seconds(120))
    total_s: Seconds = msgspec.field(default_factory=lambda: Seconds(600))


class Source(Struct, frozen=True, eq=False):
    """Where a stream's bytes come from. `read` returns b"" at the end and raises UpstreamError where they break off;
    `close` ends the call, and may keep the connection where `read` has reached the end.

    `hide` redacts the gateway's secrets in the upstream's error messages.
    """

    card: str
    read: Callable[[], Awaitable[bytes]]
    close: Callable[[], Awaitable[object]]
    hide: Callable[[str], str] = str


class Events(Protocol):
    """An answer's events as they arrive: pieces of whole events. Ends after a complete stream, else raises
    UpstreamError.
    """

    @property
    def usage(self) -> Usage | None:
        """The token usage that the upstream has reported so far."""

    @property
    def complete(self) -> bool:
        """Whether the last piece has been returned."""

    @property
    def failed(self) -> bool:
        """Whether the upstream is at fault."""

    def on_close(self, callback: Callable[[], object]) -> None:
        """Call `callback` once, when the upstream call ends."""

    def failure(self, message: str, kind: str, code: str | None) -> bytes | None:
        """The event that ends a stream which broke off; None where any error event of the protocol does."""

    def __aiter__(self) -> Events: ...

    async def __anext__(self) -> bytes: ...

    async def aclose(self) -> None:
        """End the upstream call."""


class EventStream:
    """The events of one answer. Iterating returns pieces of whole events, byte for byte, and ends after a complete
    stream; a stream that breaks off, pauses too long or reports an error raises UpstreamError.

    Without `keep_usage`, an event that contains nothing but usage is left out, since the client did not ask for it.
    With `decode`, every event is decoded once and `take_decoded` returns those of the pieces returned so far; without
    it, only the events that matter to the gateway are.
    """

    def __init__(
        self,
        source: Source,
        protocol: WireProtocol,
        timeouts: Timeouts,
        *,
        keep_usage: bool,
        decode: bool = False,
    ) -> None:
        self.protocol = protocol
        self.usage: Usage | None = None
        self.failed = False
        self._source, self._timeouts, self._keep_usage, self._decode = source, timeouts, keep_usage, decode
        self._ends_s = time.monotonic() + timeouts.total_s
        self._buffer, self._ready = bytearray(), b""
        self._decoded: list[Mapping[str, Any]] = []
        self._has_content = self._finished = self._done = False
        self._error: UpstreamError | None = None
        self._callback: Callable[[], object] | None = None

    @property
    def complete(self) -> bool:
        """Whether the last piece has been returned."""
        return self._done and not self._ready

    def on_close(self, callback: Callable[[], object]) -> None:
        """Call `callback` once, when the upstream call ends."""
        self._callback = callback

    def failure(self, message: str, kind: str, code: str | None) -> None:
        """See `Events.failure`."""

    def take_decoded(self) -> list[Mapping[str, Any]]:
        """The decoded events of the pieces returned since the last call. Needs `decode`."""
        decoded, self._decoded = self._decoded, []
        return decoded

    async def start(self) -> None:
        """Read up to the first content, so that a failure before it is a failure of the whole call."""
        deadline_s = min(time.monotonic() + self._timeouts.first_token_s, self._ends_s)
        pieces: list[bytes] = []
        while not self._has_content and not self._done:
            pieces.append(await self._piece(deadline_s))
            if self._error is not None and not self._has_content:
                raise self._error
        if not self._has_content:
            raise self._failure("sent a stream without content", 502, "empty")
        self._ready = b"".join(pieces)

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> bytes:
        if self._ready:
            piece, self._ready = self._ready, b""
            return piece
        if self._error is not None:
            raise self._error
        while not self._done:
            piece = await self._piece(min(time.monotonic() + self._timeouts.idle_s, self._ends_s))
            if piece:
                return piece
            if self._error is not None:
                raise self._error
        raise StopAsyncIteration

    async def whole(self) -> bytes:
        """Everything up to the end."""
        return b"".join([piece async for piece in self])

    async def aclose(self) -> None:
        """End the call. A complete stream's connection is read to its end, if that is near, and kept."""
        try:
            if self.complete:
                with contextlib.suppress(UpstreamError, TimeoutError):
                    async with asyncio.timeout(_DRAIN_S):
                        while await self._source.read():
                            pass
            await self._source.close()
        finally:
            if self._callback is not None:
                callback, self._callback = self._callback, None
                callback()

    async def _piece(self, deadline_s: float) -> bytes:
        """The next whole events, which may be none."""
        try:
            async with asyncio.timeout(deadline_s - time.monotonic()):
                chunk = await self._source.read()
        except TimeoutError:
            raise self._failure("did not answer in time", 504, "late") from None
        except UpstreamError:
            self.failed = True
            raise
        if not chunk:
            return self._end()
        self._buffer += chunk
        whole = self._whole_events(len(chunk))
        if not whole:
            if len(self._buffer) > MAX_EVENT_BYTES:
                raise self._failure("sent an event that is too large", 502, "garbage")
            return b""
        if self._decode or not self._has_content or _WORTH_READING.search(whole):
            whole = self._read(whole)
        if not self._finished and self.protocol.finished.search(whole):
            self._finished = True
        if self._error is None and self.protocol.done.search(whole):
            self._done = True
        return whole

    def _end(self) -> bytes:
        if self.protocol.done.search(self._buffer):
            self._done = True
            return bytes(self._buffer)
        if self._finished:
            # The answer is whole; only the closing event is missing, which clients wait for.
            self._done = True
            return DONE
        if self._has_content:
            raise self._failure("ended the stream before it was complete", 502, "cut")
        raise self._failure("sent an empty stream", 502, "empty")

    def _whole_events(self, new: int) -> bytes:
        """The buffer up to the last blank line, which is among the `new` bytes or began just before them."""
        buffer = self._buffer
        start = max(len(buffer) - new - _MAX_BLANK_BYTES + 1, 0)
        ends = [position + len(blank) for blank in _BLANK_LINES if (position := buffer.rfind(blank, start)) >= 0]
        if not ends:
            return b""
        end = max(ends)
        whole = bytes(buffer[:end])
        del buffer[:end]
        return whole

    def _read(self, piece: bytes) -> bytes:
        """`piece` without events that the client did not ask for, up to the event that reports an error."""
        passed: list[bytes] = []
        for event in events_of(piece):
            message = data_of(event)
            if isinstance(message, dict):
                if error := error_in_event(message, at_start=not self._has_content):
                    reason = f": {self._source.hide(error.message)}" if error.message else ""
                    self._error = self._failure(f"broke off with an error{reason}", error.status or 502, "error_event")
                    break
                self.usage = usage_in(message, self.usage)
                self._has_content = self._has_content or self.protocol.has_content(message)
                if not self._keep_usage and _reports_only_usage(message):
                    continue
                if self._decode:
                    self._decoded.append(message)
            passed.append(event)
        return b"".join(passed)

    def _failure(self, did: str, status: int, fault: str) -> UpstreamError:
        self.failed = True
        return UpstreamError(f'the upstream of the card "{self._source.card}" {did}', status, fault)


def _reports_only_usage(message: Mapping[str, Any]) -> bool:
    return message.get("choices") == [] and isinstance(message.get("usage"), dict)
