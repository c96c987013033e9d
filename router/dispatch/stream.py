"""An answer as it arrives: whole events, held back until the first that shows something."""

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
from router.wire.protocols import WireProtocol, data_of, events_of, usage_in

MAX_EVENT_BYTES = 16 * 1024 * 1024
_DRAIN_S = 0.5
_WORTH_READING = re.compile(rb'"usage"\s*:\s*\{|"error"\s*:\s*[^n\s]|event: ?error')
_BLANK_LINES = (b"\n\n", b"\r\n\r\n")
_LONGEST_BLANK = 4
_STREAM_END = b"data: [DONE]\n\n"


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
    """Where a stream's bytes come from. `read` gives b"" at the end and raises UpstreamError where they break off;
    `close` ends the call, and may keep the connection where `read` has come to the end.

    `hide` takes the gateway's secrets out of the upstream's words.
    """

    card: str
    read: Callable[[], Awaitable[bytes]]
    close: Callable[[], Awaitable[object]]
    hide: Callable[[str], str] = str


class Events(Protocol):
    """An answer's events as they arrive, whole ones only; ends after a complete stream, else raises UpstreamError."""

    @property
    def usage(self) -> Usage | None:
        """What the upstream told of the tokens used."""

    @property
    def complete(self) -> bool:
        """Whether the last piece has been given."""

    @property
    def failed(self) -> bool:
        """Whether the upstream is at fault."""

    def on_close(self, told: Callable[[], object]) -> None:
        """Have `told` called once, when the call has ended."""

    def failure(self, message: str, kind: str, code: str | None) -> bytes | None:
        """The event that ends the stream where it broke off; None where any of the protocol's errors does."""

    def __aiter__(self) -> Events: ...

    async def __anext__(self) -> bytes: ...

    async def aclose(self) -> None:
        """End the upstream call."""


class EventStream:
    """The events of one answer. Iterating gives pieces of whole events, byte for byte, and ends after a complete
    stream; a stream that breaks off, stays out too long or tells of an error raises UpstreamError.

    Where the client did not ask for it (`keep_usage`), the event that tells nothing but the usage is left out.
    `complete` turns true with the last piece, `failed` where the upstream is at fault. `aclose` ends the upstream call
    at any time.
    """

    def __init__(self, source: Source, protocol: WireProtocol, timeouts: Timeouts, *, keep_usage: bool) -> None:
        self.protocol = protocol
        self.usage: Usage | None = None
        self.failed = False
        self._source, self._timeouts, self._keep_usage = source, timeouts, keep_usage
        self._ends_s = time.monotonic() + timeouts.total_s
        self._held, self._ready = bytearray(), b""
        self._shown = self._finished = self._done = False
        self._broken: UpstreamError | None = None
        self._when_over: Callable[[], object] | None = None

    @property
    def complete(self) -> bool:
        """Whether the last piece has been given."""
        return self._done and not self._ready

    def on_close(self, told: Callable[[], object]) -> None:
        """Have `told` called once, when the call has ended."""
        self._when_over = told

    def failure(self, message: str, kind: str, code: str | None) -> None:
        """See `Events.failure`."""

    async def start(self) -> None:
        """Read until something is shown, so that a failure before that is one of the whole call."""
        deadline_s = min(time.monotonic() + self._timeouts.first_token_s, self._ends_s)
        pieces: list[bytes] = []
        while not self._shown and not self._done:
            pieces.append(await self._piece(deadline_s))
            if self._broken is not None and not self._shown:
                raise self._broken
        if not self._shown:
            raise self._failure("sent a stream that says nothing", 502, "empty")
        self._ready = b"".join(pieces)

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> bytes:
        if self._ready:
            piece, self._ready = self._ready, b""
            return piece
        if self._broken is not None:
            raise self._broken
        while not self._done:
            piece = await self._piece(min(time.monotonic() + self._timeouts.idle_s, self._ends_s))
            if piece:
                return piece
            if self._broken is not None:
                raise self._broken
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
            if self._when_over is not None:
                told, self._when_over = self._when_over, None
                told()

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
        self._held += chunk
        whole = self._whole_events(len(chunk))
        if not whole:
            if len(self._held) > MAX_EVENT_BYTES:
                raise self._failure("sent an event that is too large", 502, "garbage")
            return b""
        if not self._shown or _WORTH_READING.search(whole):
            whole = self._read(whole)
        if not self._finished and self.protocol.finished.search(whole):
            self._finished = True
        if self._broken is None and self.protocol.done.search(whole):
            self._done = True
        return whole

    def _end(self) -> bytes:
        if self.protocol.done.search(self._held):
            self._done = True
            return bytes(self._held)
        if self._finished:
            # Everything was said; only the closing line is missing, which clients wait for.
            self._done = True
            return _STREAM_END
        if self._shown:
            raise self._failure("ended the stream before it was complete", 502, "cut")
        raise self._failure("sent an empty stream", 502, "empty")

    def _whole_events(self, new: int) -> bytes:
        """What is held up to the last blank line, which stands among the `new` bytes or began just before them."""
        held = self._held
        start = max(len(held) - new - _LONGEST_BLANK + 1, 0)
        ends = [found + len(blank) for blank in _BLANK_LINES if (found := held.rfind(blank, start)) >= 0]
        if not ends:
            return b""
        end = max(ends)
        whole = bytes(held[:end])
        del held[:end]
        return whole

    def _read(self, piece: bytes) -> bytes:
        """`piece` without what the client did not ask for, up to the event that tells of an error."""
        kept: list[bytes] = []
        for event in events_of(piece):
            said = data_of(event)
            if isinstance(said, dict):
                if fault := self._fault_in(said):
                    self._broken = fault
                    break
                self.usage = usage_in(said, self.usage)
                self._shown = self._shown or self.protocol.shows(said)
                if not self._keep_usage and _tells_only_usage(said):
                    continue
            kept.append(event)
        return b"".join(kept)

    def _fault_in(self, said: Mapping[str, Any]) -> UpstreamError | None:
        error = said.get("error")
        response = said.get("response")
        if said.get("type") == "error":
            error = error or said
        elif said.get("type") == "response.failed" and not self._shown and isinstance(response, dict):
            error = response.get("error") or response
        if not error:
            return None
        words = error.get("message") if isinstance(error, dict) else error
        code = error.get("code", error.get("status")) if isinstance(error, dict) else None
        status = code if isinstance(code, int) and 400 <= code < 600 else 502
        told = f": {self._source.hide(words)}" if isinstance(words, str) and words else ""
        return self._failure(f"broke off with an error{told}", status, "error_event")

    def _failure(self, did: str, status: int, fault: str) -> UpstreamError:
        self.failed = True
        return UpstreamError(f'the upstream of the card "{self._source.card}" {did}', status, fault)


def _tells_only_usage(said: Mapping[str, Any]) -> bool:
    return said.get("choices") == [] and isinstance(said.get("usage"), dict)
