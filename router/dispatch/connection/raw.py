"""Requests and responses that are passed on as they are: audio, images, files, stored responses."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping

from msgspec import Struct

from router.errors import UpstreamError
from router.formats.json import json_or_none
from router.types import Usage
from router.wire.sse import begins_events, events_of, read_event
from router.wire.usage import Delivered, usage_in

# What is kept of a response to read the usage from. Of a longer one the end is kept, where images state their usage.
_MAX_KEPT_BYTES = 1024 * 1024
_MIN_END_BYTES = 64 * 1024
_MIN_HEAD_BYTES = 64
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
        self._head = b""
        self._kept, self._is_kept_whole = bytearray(), True
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
        kept = bytes(self._kept)
        self.usage = _usage(kept) if self._is_kept_whole else _usage_at_end(self._head, kept)
        await self.aclose()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """See `Events.aclose`."""
        self._close()
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def _keep(self, chunk: bytes) -> None:
        if len(self._head) < _MIN_HEAD_BYTES:
            self._head += chunk[:_MIN_HEAD_BYTES]
        self._kept += chunk
        if len(self._kept) > _MAX_KEPT_BYTES:
            del self._kept[:-_MIN_END_BYTES]
            self._is_kept_whole = False


def _usage(body: bytes) -> Usage | None:
    """The usage in JSON, or in the events of a stream."""
    if body.lstrip()[:1] == b"{":
        decoded = json_or_none(body)
        return usage_in(decoded) if isinstance(decoded, Mapping) else None
    return _usage_in_events(body) if b"data:" in body else None


def _usage_at_end(head: bytes, end: bytes) -> Usage | None:
    """The usage in the end of JSON, or of the events of a stream, that begins with `head`."""
    if head.lstrip()[:1] == b"{":
        return _usage_in_last_members(end)
    if not begins_events(head):
        return None
    # The beginning of the first event is mostly lost.
    cut = next(events_of(end), b"")
    return _usage_in_events(end[len(cut) :], _usage_in_last_members(cut))


def _usage_in_events(events: bytes, usage: Usage | None = None) -> Usage | None:
    for event in events_of(events):
        value = read_event(event).value
        usage = usage if value is None else usage_in(value, usage)
    return usage


def _usage_in_last_members(end: bytes) -> Usage | None:
    """The usage of a JSON object of which this is the end, where the last `usage` in it is that of the object itself.

    It is where the text from there on is an object without its opening brace. One that a model or a client wrote never
    is: inside a text its quotes are escaped, and inside another object further braces follow.
    """
    at = end.rfind(b'"usage"')
    if at < 0 or not end[:at].rstrip().endswith(b","):
        return None
    members = json_or_none(b"{" + end[at:])
    return usage_in(members) if isinstance(members, Mapping) else None
