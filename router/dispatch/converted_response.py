"""Chat responses, converted to the protocol of the client."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from router.dispatch.bodies.whole import tokens_in
from router.dispatch.response import UpstreamResponse
from router.dispatch.stream import EventStream
from router.errors import UpstreamError
from router.formats.json import json_bytes
from router.types import Usage
from router.wire import Conversion, EventWriter
from router.wire.usage import Delivered


def converted(response: UpstreamResponse, conversion: Conversion, body: Mapping[str, Any]) -> UpstreamResponse:
    """A decoded chat response in the client's protocol; an error response is unchanged. `body` is the request's.

    Raises UpstreamError for an answer that cannot be converted.
    """
    if isinstance(response.body, EventStream):
        stream = ConvertedStream(response.body, conversion.events(body, response.card.id_without_effort))
        return msgspec.structs.replace(response, body=stream)
    if response.status >= 300:
        return response
    try:
        answer = conversion.answer(response.decoded, body, response.card.id_without_effort)
    except UpstreamError as error:
        # Its upstream charges for an answer that cannot be used, too.
        assert isinstance(response.body, bytes)
        error.delivered_tokens = tokens_in((response.body,))
        raise
    return msgspec.structs.replace(response, body=json_bytes(answer))


class ConvertedStream:
    """The events of a chat stream, which decodes them, written as events of another protocol."""

    def __init__(self, chat: EventStream, writer: EventWriter) -> None:
        self._chat, self._writer = chat, writer
        self._malformed: UpstreamError | None = None
        self.complete = False

    @property
    def usage(self) -> Usage | None:
        """The token usage that the upstream has reported so far."""
        return self._chat.usage

    @property
    def delivered(self) -> Delivered:
        """The texts of the answer that have arrived."""
        return self._chat.delivered

    @property
    def arrived_tokens(self) -> int:
        """See `Events.arrived_tokens`."""
        return self._chat.arrived_tokens

    def prolong(self, seconds: float) -> None:
        """See `Events.prolong`."""
        self._chat.prolong(seconds)

    @property
    def problem(self) -> UpstreamError | None:
        """How the upstream failed; None where it has not."""
        return self._malformed or self._chat.problem

    def on_close(self, callback: Callable[[], object]) -> None:
        """Call `callback` once, when the upstream call ends."""
        self._chat.on_close(callback)

    def __aiter__(self) -> ConvertedStream:
        return self

    async def __anext__(self) -> bytes:
        while not self.complete:
            await anext(self._chat)
            events = self._convert()
            self.complete = self._chat.complete
            if events:
                return events
        raise StopAsyncIteration

    def failure(self, message: str, kind: str, code: str | None) -> bytes:
        """The event that ends a stream that broke off."""
        return self._writer.fail(message, kind, code)

    def _convert(self) -> bytes:
        events: list[bytes] = []
        try:
            for chunk in self._chat.take_decoded():
                events += self._writer.feed(chunk)
            if self._chat.complete:
                events += self._writer.end()
        except UpstreamError as error:
            self._malformed = error
            raise
        return b"".join(events)

    async def aclose(self) -> None:
        """End the upstream call."""
        await self._chat.aclose()
