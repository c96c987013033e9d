"""Streams to the client: the upstream's bytes, and an honest end."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Coroutine, Mapping
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from router.dispatch import Stream
from router.errors import UpstreamError
from router.gateway.openai import error_body

T = TypeVar("T")

_DONE = re.compile(rb"[\r\n]data: ?\[DONE\]")
_LONGEST_DONE = len(b"\ndata: [DONE]")
_SSE_HEADERS = {
    "content-type": "text/event-stream",
    "cache-control": "no-cache",
    # nginx would hold events back to fill its buffer.
    "x-accel-buffering": "no",
}


class UpstreamResponse(StreamingResponse):
    """A stream on its way to the client. When the client leaves, the upstream call ends."""

    def __init__(self, upstream: Stream, status: int, headers: Mapping[str, str]) -> None:
        self._upstream = upstream
        super().__init__(honest(upstream), status, {**headers, **_SSE_HEADERS})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._upstream.aclose()


async def honest(upstream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The upstream's events byte for byte; after a stream that was cut, an error event.

    A stream is cut when its connection breaks or when it ends without `[DONE]`. Only whole events are passed
    on, so that the error stands on lines of its own.
    """
    held, tail, done = b"", b"\n", False
    problem = "the upstream ended the stream before it was complete"
    code = "upstream_incomplete"
    try:
        async for chunk in upstream:
            if not done:
                tail += chunk
                done = _DONE.search(tail) is not None
                tail = tail[-_LONGEST_DONE:]
            held += chunk
            whole, held = _split_after_last_event(held)
            if whole:
                yield whole
    except UpstreamError as error:
        problem, code = str(error), str(error.status)
    if done:
        if held:
            yield held
    else:
        yield b"data: " + error_body(problem, "upstream_error", code) + b"\n\n"


def _split_after_last_event(held: bytes) -> tuple[bytes, bytes]:
    ends = (held.rfind(blank) + len(blank) for blank in (b"\n\n", b"\r\n\r\n") if blank in held)
    end = max(ends, default=0)
    return held[:end], held[end:]


async def unless_client_leaves(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client disconnects. Raises ClientDisconnect then."""
    task = asyncio.ensure_future(work)
    left = asyncio.ensure_future(_departure(receive))
    try:
        await asyncio.wait((task, left), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        pending: list[Awaitable[object]] = [waiting for waiting in (task, left) if waiting.cancel()]
        await asyncio.gather(*pending, return_exceptions=True)


async def _departure(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
