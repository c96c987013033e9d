"""A stream in place of a whole answer, and the other way round, where a server sends what was not requested."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from router.cards.schema import Card
from router.dispatch.bodies.reader import Read
from router.dispatch.bounds.timeouts import Timeouts
from router.dispatch.call import Call
from router.dispatch.response import UpstreamResponse
from router.dispatch.stream import EventStream, Source
from router.formats.json import json_bytes
from router.wire.protocols import WireProtocol
from router.wire.streams.assembly import assembled
from router.wire.streams.one_piece import one_piece


async def as_whole(
    card: Card, events: bytes, protocol: WireProtocol, timeouts: Timeouts, redact: Callable[[str], str]
) -> bytes:
    """The events of a whole stream as one answer. Raises UpstreamError where the stream is not complete."""
    source = Source(card.id, _reading_once(events), _nothing_to_close, redact)
    stream = EventStream(source, protocol, timeouts, keep_usage=True, decode=True)
    await stream.start()
    await stream.whole()
    return json_bytes(assembled(protocol.api, stream.take_decoded()))


async def as_stream(
    answer: UpstreamResponse, protocol: WireProtocol, timeouts: Timeouts, call: Call
) -> UpstreamResponse:
    """A whole decoded answer as the stream that was requested. Raises UpstreamError where the answer is empty."""
    source = Source(answer.card.id, _reading_once(one_piece(protocol.api, answer.decoded)), _nothing_to_close)
    stream = EventStream(source, protocol, timeouts, keep_usage=call.wants_usage, decode=call.decode)
    stream.arrived_whole = True
    await stream.start()
    headers = {**answer.headers, "content-type": "text/event-stream"}
    return msgspec.structs.replace(answer, headers=headers, body=stream, usage=None, decoded=None)


def _reading_once(body: bytes) -> Read:
    pieces = [body]

    async def read() -> bytes:
        return pieces.pop() if pieces else b""

    return read


async def _nothing_to_close() -> None:
    """The response has been read to its end."""
