"""Send the response of one request, whole or as a stream of events."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from starlette.types import Send

T = TypeVar("T")
Headers = list[tuple[bytes, bytes]]

_JSON = (b"content-type", b"application/json")
_STREAM: Headers = [
    (b"cache-control", b"no-cache"),
    # nginx would hold events back to fill its buffer.
    (b"x-accel-buffering", b"no"),
]
_NO_HEADERS: Mapping[str, str] = {}
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_KEEP_ALIVE = b": keep-alive\n\n"


class Responder:
    """Sends the response of one request. `routing_headers` gives the headers that describe the routing, when they are
    sent; `stream_type` is the content type of a stream.
    """

    def __init__(self, send: Send, routing_headers: Callable[[], Mapping[str, str]], stream_type: str) -> None:
        self._send, self._routing_headers = send, routing_headers
        self._stream_type = (b"content-type", stream_type.encode())
        self.has_begun = False
        self._passed_s = 0.0

    async def whole(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Send a whole JSON response."""
        self.has_begun = True
        length = {"content-length": str(len(body))}
        encoded = [_JSON, *_encoded({**headers, **length, **self._routing_headers()})]
        await self._send({"type": "http.response.start", "status": status, "headers": encoded})
        await self.events(body, is_last=True)

    async def begin_raw(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the head of a response whose bytes are passed on, with the upstream's own content type."""
        self.has_begun = True
        encoded = _encoded({**headers, **self._routing_headers()})
        await self._send({"type": "http.response.start", "status": status, "headers": encoded})

    async def begin_stream(self, headers: Mapping[str, str] = _NO_HEADERS) -> None:
        """Send the head of a stream, once, with these headers."""
        if not self.has_begun:
            self.has_begun = True
            encoded = [self._stream_type, *_STREAM, *_encoded({**headers, **self._routing_headers()})]
            await self._send({"type": "http.response.start", "status": 200, "headers": encoded})

    async def events(self, events: bytes, *, is_last: bool) -> None:
        """Send events of a stream that has begun."""
        await self._send({"type": "http.response.body", "body": events, "more_body": not is_last})

    def has_passed(self) -> None:
        """Note that the client got events of the running `work` of `keeping_alive`."""
        self._passed_s = time.monotonic()

    async def keeping_alive(self, work: Awaitable[T], interval_s: float) -> T:
        """The result of `work`; meanwhile the client gets a comment every `interval_s` seconds in which it gets nothing
        else, none where it is 0.
        """
        if not interval_s:
            return await work
        task = asyncio.ensure_future(work)
        wait_s = interval_s
        try:
            while not (await asyncio.wait((task,), timeout=wait_s))[0]:
                wait_s = self._passed_s + interval_s - time.monotonic()
                if wait_s <= 0:
                    await self.begin_stream()
                    await self.events(_KEEP_ALIVE, is_last=False)
                    wait_s = interval_s
            return task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait((task,))


def _encoded(headers: Mapping[str, str]) -> Headers:
    """The headers as they are sent, without those of an upstream whose value no header may have."""
    if _CONTROL.search("".join(headers.values())):
        headers = {name: value for name, value in headers.items() if not _CONTROL.search(value)}
    return [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers.items()]


def without_type(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of an upstream without the type of its content, which is that of the surface."""
    return {name: value for name, value in headers.items() if name != "content-type"}
