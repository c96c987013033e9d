"""Chat answers as the protocol that the client speaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from router.dispatch.response import UpstreamResponse
from router.dispatch.stream import Events
from router.errors import UpstreamError
from router.formats.json import json_bytes, read_json
from router.types import Usage
from router.wire import Conversion, EventWriter
from router.wire.protocols import data_of, events_of


def converted(answer: UpstreamResponse, conversion: Conversion, asked: Mapping[str, Any]) -> UpstreamResponse:
    """A chat answer in the shape of the client's protocol; errors stay as they are. `asked` is the client's body."""
    if not isinstance(answer.body, bytes):
        stream = ConvertedStream(answer.body, conversion.events(asked))
        return msgspec.structs.replace(answer, body=stream)
    if answer.status >= 300:
        return answer
    said = conversion.answer(read_json(answer.body), asked)
    return msgspec.structs.replace(answer, body=json_bytes(said))


class ConvertedStream:
    """The events of a chat stream, written as those of another protocol."""

    def __init__(self, chat: Events, writer: EventWriter) -> None:
        self._chat, self._writer = chat, writer
        self._is_bad = False
        self.complete = False

    @property
    def usage(self) -> Usage | None:
        """What the upstream told of the tokens used."""
        return self._chat.usage

    @property
    def failed(self) -> bool:
        """Whether the upstream is at fault."""
        return self._is_bad or self._chat.failed

    def on_close(self, told: Callable[[], object]) -> None:
        """Have `told` called once, when the call has ended."""
        self._chat.on_close(told)

    def __aiter__(self) -> ConvertedStream:
        return self

    async def __anext__(self) -> bytes:
        while not self.complete:
            events = self._written(await anext(self._chat))
            self.complete = self._chat.complete
            if events:
                return events
        raise StopAsyncIteration

    def failure(self, message: str, kind: str, code: str | None) -> bytes:
        """The event that ends the stream where it broke off."""
        return self._writer.fail(message, kind, code)

    def _written(self, piece: bytes) -> bytes:
        events: list[bytes] = []
        try:
            for said in map(data_of, events_of(piece)):
                if isinstance(said, dict):
                    events += self._writer.feed(said)
            if self._chat.complete:
                events += self._writer.end()
        except UpstreamError:
            self._is_bad = True
            raise
        return b"".join(events)

    async def aclose(self) -> None:
        """End the upstream call."""
        await self._chat.aclose()
