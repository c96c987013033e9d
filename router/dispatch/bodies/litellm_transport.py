"""The HTTP transport below litellm: it checks what litellm does not."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx

from router.formats.json import json_bytes, json_or_none
from router.wire.sse import begins_events, begins_json, data_of, events_of
from router.wire.streams.assembly import assembled
from router.wire.streams.one_piece import one_piece
from router.wire.streams.progress import ends_message

# litellm reads the whole response, and where it is not JSON, searches it for secrets on the event loop, which blocks
# all other requests.
_MAX_RESPONSE_BYTES = 8 * 1024 * 1024

# litellm ends an Anthropic stream cleanly even where it was cut: between these two events it is incomplete.
_ANTHROPIC_START, _ANTHROPIC_STOP = b"message_start", b"message_stop"
_THIS_MACHINE = ("all://localhost", "all://127.0.0.1", "all://[::1]")
_REQUESTS_STREAM = re.compile(rb'"stream"\s*:\s*true')


class CheckedTransport(httpx.AsyncHTTPTransport):
    """Raises ReadError for a response that is too large, and for an Anthropic stream that was cut. An Anthropic answer
    that is whole where a stream was requested becomes a stream, and the other way round.
    """

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _CheckedStream(response.stream, _REQUESTS_STREAM.search(await request.aread()) is not None)
        return response


def proxy_mounts(_transport: Any, verify: Any, cert: Any) -> Mapping[str, httpx.AsyncHTTPTransport | None] | None:
    """The transports of the proxies that the environment states. This machine is never called by way of one."""
    from litellm.llms.custom_httpx.http_handler import _environment_proxy_mounts

    mounts = _environment_proxy_mounts(lambda url: CheckedTransport(proxy=url, verify=verify, cert=cert))
    return {**mounts, **dict.fromkeys(_THIS_MACHINE)} if mounts else mounts


class _CheckedStream(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream, is_requested: bool) -> None:
        self._stream, self._is_requested = stream, is_requested

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left, tail, incomplete = _MAX_RESPONSE_BYTES, b"", False
        other: bytearray | None = None
        is_at_start = True
        async for chunk in self._stream:
            left -= len(chunk)
            if left < 0:
                raise httpx.ReadError("the response is too large")
            if is_at_start and (begins_json if self._is_requested else begins_events)(chunk):
                other = bytearray()
            is_at_start = is_at_start and not chunk.strip()
            tail += chunk
            incomplete = (incomplete or _ANTHROPIC_START in tail) and _ANTHROPIC_STOP not in tail
            tail = tail[-len(_ANTHROPIC_START) :]
            if other is None:
                yield chunk
            else:
                other += chunk
        if incomplete:
            raise httpx.ReadError("the stream was cut")
        if other is not None:
            yield _exchanged(bytes(other), self._is_requested)

    async def aclose(self) -> None:
        await self._stream.aclose()


def _exchanged(body: bytes, to_stream: bool) -> bytes:
    """A whole answer of Anthropic's as its stream, or the other way round; another body unchanged."""
    if to_stream:
        answer = json_or_none(body)
        return one_piece("messages", answer) if isinstance(answer, dict) and answer.get("type") == "message" else body
    events = [value for raw in events_of(body) if (value := data_of(raw)) is not None]
    is_message = bool(events) and ends_message(events[-1])
    return json_bytes(assembled("messages", events)) if is_message else body
