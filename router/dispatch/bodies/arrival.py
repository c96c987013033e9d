"""Reading answers by way of litellm: what arrives is counted below it, and a read that is cancelled loses nothing."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextvars import ContextVar

import httpx

from router.wire.usage import Delivered, texts_in
from router.wire.usage.delivered import WHOLE_TEXTS

# How much is read before litellm takes it, and after the call is closed.
_AHEAD_BYTES = 512 * 1024
_MAX_UNTAKEN_BYTES = 8 * 1024 * 1024
_COUNTED_BYTES = 64 * 1024
# What has arrived is read at once; a server that goes on writing meanwhile is not waited for.
_QUIET_S, _MAX_CLOSING_S = 0.01, 0.25


class Arrived:
    """The texts of the answers of one call, counted in the bytes as they arrive. `answer` is what a success is read
    from, None before there is one.
    """

    def __init__(self) -> None:
        self.answer: httpx.AsyncByteStream | None = None
        self._counted = Delivered(WHOLE_TEXTS)
        self._pending = bytearray()
        self._limit = _COUNTED_BYTES

    def add(self, chunk: bytes) -> None:
        """Count the next bytes."""
        self._pending += chunk
        if len(self._pending) >= self._limit:
            self._count()

    @property
    def tokens(self) -> int:
        """An estimate of the tokens, rather too high."""
        return self._counted.tokens + texts_in(bytes(self._pending)).tokens

    def _count(self) -> None:
        """Count what is pending up to the end of the last event. A whole answer is one line, and not divided."""
        end = self._pending.rfind(b"\n") + 1
        if not end and not self._pending.startswith(b"{"):
            # Bedrock's events are no lines.
            end = self._pending.rfind(b"}") + 1
        self._counted.add(bytes(self._pending[:end]))
        del self._pending[:end]
        self._limit = max(_COUNTED_BYTES, 2 * len(self._pending))


ARRIVED: ContextVar[Arrived | None] = ContextVar("arrived", default=None)
"""Counts the answers of the call that is made now."""


# The event loop keeps no references to its tasks.
_CLOSING: set[asyncio.Task[None]] = set()


class ReadAhead(httpx.AsyncByteStream):
    """Reads a response as it arrives, and counts it, also what nobody takes: litellm may be slow, or the client may
    have left. Closing it ends the call.
    """

    def __init__(self, stream: httpx.AsyncByteStream, arrived: Arrived) -> None:
        self._stream, self._arrived = stream, arrived
        self._chunks: deque[bytes] = deque()
        self._ahead_bytes = self._untaken_bytes = 0
        self._ready, self._room = asyncio.Event(), asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self._reading = asyncio.ensure_future(self._read())
        # litellm may stop reading before it comes to the error: then nobody reads it, and asyncio would log it.
        self._reading.add_done_callback(lambda reading: reading.cancelled() or reading.exception())
        try:
            while True:
                while self._chunks:
                    chunk = self._chunks.popleft()
                    self._ahead_bytes -= len(chunk)
                    self._room.set()
                    yield chunk
                if self._reading.done():
                    if self._reading.cancelled():
                        raise httpx.ReadError("the response was closed")
                    # Raises where the connection broke.
                    self._reading.result()
                    return
                self._ready.clear()
                await self._ready.wait()
        finally:
            # litellm cancels its reading, and closes nothing.
            await self.aclose()

    async def aclose(self) -> None:
        """Count what has arrived already, and end the call, also where this is cancelled: the time of a call is often
        over together with that of the exchange, and each cancels.
        """
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
            _CLOSING.add(self._closing)
            self._closing.add_done_callback(_CLOSING.discard)
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        reading = self._reading
        if reading is not None and not reading.done():
            self._room.set()
            try:
                await self._settled(reading)
            finally:
                reading.cancel()
                await asyncio.wait((reading,))
        await self._stream.aclose()

    async def _settled(self, reading: asyncio.Task[None]) -> None:
        """Wait until nothing arrives any more."""
        loop = asyncio.get_running_loop()
        ends_s, before = loop.time() + _MAX_CLOSING_S, -1
        while before != self._untaken_bytes and self._untaken_bytes < _MAX_UNTAKEN_BYTES and loop.time() < ends_s:
            before = self._untaken_bytes
            if (await asyncio.wait((reading,), timeout=_QUIET_S))[0]:
                return

    async def _read(self) -> None:
        try:
            async for chunk in self._stream:
                self._arrived.add(chunk)
                if self._closing is not None:
                    self._untaken_bytes += len(chunk)
                    continue
                self._chunks.append(chunk)
                self._ahead_bytes += len(chunk)
                self._ready.set()
                while self._ahead_bytes > _AHEAD_BYTES and self._closing is None:
                    self._room.clear()
                    await self._room.wait()
        finally:
            self._ready.set()


class Chunks:
    """The chunks of a stream. A read that is cancelled goes on, and its chunk is what the next read returns: litellm's
    iterators do not survive being cancelled.
    """

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._reading: asyncio.Future[bytes] | None = None

    async def read(self) -> bytes:
        """The next chunk; b"" at the end."""
        reading = self._reading
        if reading is None:
            reading = self._reading = asyncio.ensure_future(self._next())
        try:
            return await asyncio.shield(reading)
        finally:
            if reading.done():
                self._reading = None

    async def aclose(self) -> None:
        """End the reading. Closing leaves the connection of some of litellm's iterators open; cancelling a read always
        closes it.
        """
        reading = self._reading or asyncio.ensure_future(self._drain())
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)

    async def _next(self) -> bytes:
        return await anext(self._chunks, b"")

    async def _drain(self) -> bytes:
        async for _ in self._chunks:
            pass
        return b""
