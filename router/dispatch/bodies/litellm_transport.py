"""The HTTP transport below litellm: it checks what litellm does not."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import httpx

from router.dispatch.bodies.arrival import ARRIVED, ReadAhead
from router.formats.json import json_bytes, json_or_none
from router.wire.sse import begins_events, begins_json, data_of, events_of
from router.wire.streams.assembly import assembled
from router.wire.streams.one_piece import one_piece
from router.wire.streams.progress import ends_message

# litellm reads the whole response, and where it is not JSON, searches it for secrets on the event loop, which blocks
# all other requests.
_MAX_RESPONSE_BYTES = 8 * 1024 * 1024

# litellm ends a stream cleanly even where it was cut, and invents the finish reason. What begins with the first of two
# words is incomplete without the second, which stands in the last events.
_ENDS = (
    (b"message_start", b"message_stop"),  # Anthropic
    (b'"candidates"', b'"finishReason"'),  # Gemini, Vertex AI
    (b"messageStart", b"messageStop"),  # Bedrock
    (b"message-start", b"message-end"),  # Cohere
)
_MAX_WORD_BYTES = max(len(word) for words in _ENDS for word in words)
_THIS_MACHINE = ("all://localhost", "all://127.0.0.1", "all://[::1]")
# The last part of the path, at Gemini and at Bedrock.
_STREAM_PATH = re.compile(r"(?::stream[A-Za-z]+|/[a-z-]+-stream)\Z")
_REQUESTS_STREAM = re.compile(rb'"stream"\s*:\s*true')


class CheckedTransport(httpx.AsyncHTTPTransport):
    """Raises ReadError for a response that is too large, and for a stream that was cut. An Anthropic answer that is
    whole where a stream was requested becomes a stream, and the other way round. What arrives of a success is counted
    in `ARRIVED`.

    It closes once every answer has been read or closed: where a kept connection breaks, litellm repeats the call with a
    client of its own, which it closes as soon as the stream has begun.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._running, self._is_closing = 0, False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        # What is compressed cannot be checked or counted as it arrives.
        request.headers["accept-encoding"] = "identity"
        # The caller limits the time of a call. A limit of its connection that ends at the same moment would interrupt
        # the closing, and the connection would stay open.
        request.extensions = {**request.extensions, "timeout": {}}
        response = await super().handle_async_request(request)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        arrived = ARRIVED.get() if response.status_code < 300 else None
        stream = response.stream if arrived is None else ReadAhead(response.stream, arrived)
        requests_stream = _requests_stream(request.url.path, await request.aread())
        self._running += 1
        response.stream = checked = _CheckedStream(stream, requests_stream, self._ended)
        if arrived is not None:
            arrived.answer = checked
        return response

    async def aclose(self) -> None:
        """Close the connections, now or after the last answer."""
        self._is_closing = True
        if not self._running:
            await super().aclose()

    async def _ended(self) -> None:
        self._running -= 1
        if self._is_closing and not self._running:
            await super().aclose()


def proxy_mounts(_transport: Any, verify: Any, cert: Any) -> Mapping[str, httpx.AsyncHTTPTransport | None] | None:
    """The transports of the proxies that the environment states. This machine is never called by way of one."""
    from litellm.llms.custom_httpx.http_handler import _environment_proxy_mounts

    mounts = _environment_proxy_mounts(lambda url: CheckedTransport(proxy=url, verify=verify, cert=cert))
    return {**mounts, **dict.fromkeys(_THIS_MACHINE)} if mounts else mounts


def _requests_stream(path: str, body: bytes) -> bool:
    return _STREAM_PATH.search(path) is not None or _REQUESTS_STREAM.search(body) is not None


class _CheckedStream(httpx.AsyncByteStream):
    """`on_end` is called once, when the answer has been read, broke, or was closed."""

    def __init__(
        self, stream: httpx.AsyncByteStream, is_requested: bool, on_end: Callable[[], Awaitable[None]]
    ) -> None:
        self._stream, self._is_requested, self._on_end = stream, is_requested, on_end
        self._is_over = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left, end, other = _MAX_RESPONSE_BYTES, _StreamEnd(), None
        is_at_start, is_json = True, False
        try:
            async for chunk in self._stream:
                left -= len(chunk)
                if left < 0:
                    raise httpx.ReadError("the response is too large")
                if is_at_start and (begins_json if self._is_requested else begins_events)(chunk):
                    other = bytearray()
                # A JSON text that was cut is no JSON.
                is_json = is_json or (is_at_start and begins_json(chunk) is True)
                is_at_start = is_at_start and not chunk.strip()
                if not is_json:
                    end.feed(chunk)
                if other is None:
                    yield chunk
                else:
                    other += chunk
        finally:
            await self._end()
        if end.is_missing:
            raise httpx.ReadError("the stream was cut")
        if other is not None:
            yield _exchanged(bytes(other), self._is_requested)

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            await self._end()

    async def _end(self) -> None:
        if not self._is_over:
            self._is_over = True
            await self._on_end()


class _StreamEnd:
    """Finds out whether a stream that began has ended."""

    def __init__(self) -> None:
        self._tail = b""
        self._last_word: bytes | None = None
        self.is_missing = False

    def feed(self, chunk: bytes) -> None:
        """Read the next bytes."""
        self._tail += chunk
        if self._last_word is None:
            self._last_word = next((last for first, last in _ENDS if first in self._tail), None)
            self.is_missing = self._last_word is not None
        if self.is_missing and self._last_word is not None and self._last_word in self._tail:
            self.is_missing = False
        self._tail = self._tail[-_MAX_WORD_BYTES + 1 :]


def _exchanged(body: bytes, to_stream: bool) -> bytes:
    """A whole answer of Anthropic's as its stream, or the other way round; another body unchanged."""
    if to_stream:
        answer = json_or_none(body)
        return one_piece("messages", answer) if isinstance(answer, dict) and answer.get("type") == "message" else body
    events = [value for raw in events_of(body) if (value := data_of(raw)) is not None]
    is_message = bool(events) and ends_message(events[-1])
    return json_bytes(assembled("messages", events)) if is_message else body
