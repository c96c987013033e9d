"""Requests and responses that are passed on as they are: audio, images, files, stored responses."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping

from msgspec import Struct

from router.errors import UpstreamError
from router.formats.json import json_or_none
from router.types import Usage
from router.wire.sse import events_of, read_event
from router.wire.usage import Delivered, usage_in

# What is kept of a response to read the usage from; audio and files are longer, and state none.
_MAX_KEPT_BYTES = 1024 * 1024
_NO_TEXTS = re.compile(rb"(?!)")


class RawRequest(Struct, frozen=True, eq=False):
    """A request for an upstream. `path` follows the base URL; `query` are names and values."""

    method: str
    path: str
    body: bytes = b""
    content_type: str = ""
    accept: str = "*/*"
    query: tuple[tuple[str, str], ...] = ()


class RawStream:
    """The bytes of a response as they arrive. See `Events`; an upstream that breaks off raises UpstreamError."""

    def __init__(
        self,
        read: Callable[[], Awaitable[bytes]],
        close: Callable[[], object],
        late: Callable[[], UpstreamError],
        idle_s: float,
    ) -> None:
        self._read, self._close, self._late, self._idle_s = read, close, late, idle_s
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._callbacks: list[Callable[[], object]] = []
        self.usage: Usage | None = None
        # Nothing is estimated: bytes of audio, images and files are no tokens.
        self.delivered = Delivered(_NO_TEXTS)
        self.arrived_tokens = 0
        self.complete = False
        self.problem: UpstreamError | None = None

    def on_close(self, callback: Callable[[], object]) -> None:
        """See `Events.on_close`."""
        self._callbacks.append(callback)

    def failure(self, message: str, kind: str, code: str | None) -> None:
        """See `Events.failure`."""

    def prolong(self, seconds: float) -> None:
        """See `Events.prolong`. Only the exchange as a whole has a time."""

    def __aiter__(self) -> RawStream:
        return self

    async def __anext__(self) -> bytes:
        if self.complete:
            raise StopAsyncIteration
        try:
            async with asyncio.timeout(self._idle_s):
                chunk = await self._read()
        except TimeoutError:
            self.problem = self._late()
            raise self.problem from None
        except UpstreamError as error:
            self.problem = error
            raise
        if chunk:
            self._keep(chunk)
            return chunk
        self.complete = True
        self.usage = _usage(b"".join(self._kept)) if self._kept_bytes <= _MAX_KEPT_BYTES else None
        await self.aclose()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """See `Events.aclose`."""
        self._close()
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def _keep(self, chunk: bytes) -> None:
        self._kept_bytes += len(chunk)
        if self._kept_bytes <= _MAX_KEPT_BYTES:
            self._kept.append(chunk)


def _usage(body: bytes) -> Usage | None:
    """The usage in JSON, or in the events of a stream."""
    if body.lstrip()[:1] == b"{":
        decoded = json_or_none(body)
        return usage_in(decoded) if isinstance(decoded, Mapping) else None
    usage = None
    if b"data:" in body:
        for event in events_of(body):
            value = read_event(event).value
            usage = usage if value is None else usage_in(value, usage)
    return usage
