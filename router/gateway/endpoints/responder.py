"""Send the response of one request, whole or as a stream of events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from router.gateway.http.client.exchange import Exchange

T = TypeVar("T")

_JSON = {"content-type": "application/json"}
# nginx would hold events back to fill its buffer.
_STREAM = {"cache-control": "no-cache", "x-accel-buffering": "no"}
_NO_HEADERS: Mapping[str, str] = {}
_KEEP_ALIVE = b": keep-alive\n\n"


class Responder:
    """Sends the response of one request. `routing_headers` gives the headers that describe the routing, when they are
    sent; `stream_type` is the content type of a stream.
    """

    def __init__(self, exchange: Exchange, routing_headers: Callable[[], Mapping[str, str]], stream_type: str) -> None:
        self._exchange, self._routing_headers, self._stream_type = exchange, routing_headers, stream_type
        self._passed_s = 0.0

    @property
    def has_begun(self) -> bool:
        """Whether the head of the response has been sent."""
        return self._exchange.has_begun

    async def whole(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Send a whole JSON response."""
        length = {"content-length": str(len(body))}
        await self._exchange.respond(status, {**_JSON, **headers, **length, **self._routing_headers()}, body)

    async def begin_raw(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the head of a response whose bytes are passed on, with the upstream's own content type."""
        self._exchange.begin(status, {**headers, **self._routing_headers()})

    async def begin_stream(self, headers: Mapping[str, str] = _NO_HEADERS) -> None:
        """Send the head of a stream, once, with these headers."""
        if not self.has_begun:
            type_ = {"content-type": self._stream_type}
            self._exchange.begin(200, {**type_, **_STREAM, **headers, **self._routing_headers()})

    async def events(self, events: bytes, *, is_last: bool) -> None:
        """Send events of a stream that has begun."""
        await self._exchange.write(events, is_last=is_last)

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


def without_type(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of an upstream without the type of its content, which is that of the surface."""
    return {name: value for name, value in headers.items() if name != "content-type"}
