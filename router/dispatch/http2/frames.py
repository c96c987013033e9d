"""What a server sends, cut into whole frames.

h2 treats GOAWAY as the end of a connection, and then refuses the rest of the streams that the server still completes.
So it gets all frames but these.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from router.dispatch.http1.errors import ProtocolError

MAX_FRAME_BYTES = 16 * 1024
"""The largest frame that a server may send, which is the protocol's default."""
# Every frame costs one; what brings a request or an answer forward earns some back, and so does time.
_MAX_CREDIT = 1000.0
_CREDIT_OF_PROGRESS = 5
_CREDIT_A_SECOND = 20.0
_HEAD_BYTES = 9
_SETTINGS, _GOAWAY = 4, 7


class GoAway(Struct, frozen=True):
    """The server takes no new streams, and none after `last_stream` has been processed. `code` is 0 without a fault."""

    last_stream: int
    code: int


class Frames:
    """Cuts the bytes of one connection. `clock` returns seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._buffer, self._clock = bytearray(), clock
        self._credit, self._since_s = _MAX_CREDIT, clock()
        self._has_begun = False

    def feed(self, data: bytes) -> None:
        """Add what has arrived."""
        self._buffer += data

    def earn(self) -> None:
        """Something was brought forward."""
        self._credit = min(self._credit + _CREDIT_OF_PROGRESS, _MAX_CREDIT)

    def next(self) -> bytes | GoAway | None:
        """The next frame, None where it has not arrived whole.

        Raises ProtocolError where the bytes are no HTTP/2, the frame is too large, or too many bring nothing forward.
        """
        buffer = self._buffer
        if len(buffer) < _HEAD_BYTES:
            return None
        length, kind = int.from_bytes(buffer[:3], "big"), buffer[3]
        if not self._has_begun and kind != _SETTINGS:
            raise ProtocolError("the server does not speak HTTP/2")
        if length > MAX_FRAME_BYTES:
            raise ProtocolError("a frame of the server is too large")
        if not buffer[8] & 1 and any(buffer[5:9]):
            # h2 would take it for a request.
            raise ProtocolError("the server has opened a stream")
        end = _HEAD_BYTES + length
        if end > len(buffer):
            return None
        self._has_begun = True
        self._spend()
        frame = bytes(buffer[:end])
        del buffer[:end]
        return _go_away(frame[_HEAD_BYTES:]) if kind == _GOAWAY else frame

    def _spend(self) -> None:
        self._credit -= 1
        if self._credit >= 0:
            return
        now_s = self._clock()
        self._credit = min(self._credit + (now_s - self._since_s) * _CREDIT_A_SECOND, _MAX_CREDIT)
        self._since_s = now_s
        if self._credit < 0:
            raise ProtocolError("the server sends too many frames that bring nothing forward")


def _go_away(body: bytes) -> GoAway:
    if len(body) < 8:
        raise ProtocolError("a GOAWAY of the server is too short")
    return GoAway(int.from_bytes(body[:4], "big") & 0x7FFFFFFF, int.from_bytes(body[4:8], "big"))
