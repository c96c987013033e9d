"""Read the body of a response: decoded, and recognised by its first bytes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Literal

from router.dispatch.bodies.coding import Decoder, decoders_of
from router.formats.codings import coding_that_begins
from router.wire.sse import begins_events, begins_json

Kind = Literal["events", "json", "other"]
Read = Callable[[], Awaitable[bytes]]
# What an upstream sends for a long time before the answer is white space at most.
_MAX_HEAD_BYTES = 64 * 1024
# How most streams of events begin.
_USUAL = b"data:"


def are_events(body: bytes) -> bool:
    """Whether a whole body is a stream of events."""
    # Nearly all are objects.
    return not body.startswith(b"{") and begins_events(body[:_MAX_HEAD_BYTES]) is True


class BodyReader:
    """Reads a body without its content codings. `read` returns b"" at its end.

    Raises CodingError for a coding that cannot be decoded, or a damaged body.
    """

    def __init__(self, read: Read, content_encoding: str) -> None:
        self._read = read
        self._decoders: list[Decoder] = decoders_of(content_encoding) if content_encoding else []
        self._is_at_start = True
        self._parts: Iterator[bytes] = iter(())
        self._head = b""

    @property
    def is_plain(self) -> bool:
        """Whether all that is left of the body is what `read` of the response will return."""
        return not (self._decoders or self._is_at_start or self._head)

    def take_head(self) -> bytes:
        """What `kind` has read, which then no longer remains."""
        head, self._head = self._head, b""
        return head

    async def kind(self) -> Kind:
        """What the body is by its first bytes, which remain to be read."""
        head = await self.read()
        if head.startswith(_USUAL):
            self._head = head
            return "events"
        while True:
            is_json, has_events = begins_json(head), begins_events(head)
            is_other = (is_json is False and has_events is False) or len(head) > _MAX_HEAD_BYTES
            piece = b"" if is_json or has_events or is_other else await self.read()
            if not piece:
                self._head = head
                return "json" if is_json else "events" if has_events else "other"
            head += piece

    async def read(self) -> bytes:
        """The next part of the body."""
        if self._head:
            return self.take_head()
        while True:
            for part in self._parts:
                return part
            piece = await self._read()
            if not piece:
                return b""
            if self._is_at_start:
                self._is_at_start = False
                if not self._decoders and (coding := coding_that_begins(piece)):
                    self._decoders = decoders_of(coding)
            if not self._decoders:
                return piece
            self._parts = _decoded(self._decoders, iter((piece,)))


def _decoded(decoders: list[Decoder], pieces: Iterator[bytes]) -> Iterator[bytes]:
    for decoder in decoders:
        pieces = _decoded_by(decoder, pieces)
    return pieces


def _decoded_by(decoder: Decoder, pieces: Iterator[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        yield from decoder.feed(piece)
