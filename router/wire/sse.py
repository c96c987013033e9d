"""Server-sent events: write, split and decode them.

The format is that of the HTML standard: a line ends with LF, CR or CRLF, which may be mixed, an empty line ends an
event, and a byte order mark may be at the beginning.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from router.formats.json import json_bytes, json_or_none


def event(value: dict[str, Any]) -> bytes:
    """An event whose name is in `event:` and in the data, as in the Anthropic and Responses protocols."""
    name: str = value["type"]
    return b"event: " + name.encode() + b"\ndata: " + json_bytes(value) + b"\n\n"


def data(value: Any) -> bytes:
    """An event without a name."""
    return b"data: " + json_bytes(value) + b"\n\n"


DONE = b"data: [DONE]\n\n"
_DONE_TEXT = b"[DONE]"
_BOM = b"\xef\xbb\xbf"
# A CR before a LF is no line end of its own, else every CRLF would be an empty line.
_LINE_END = rb"(?:\r\n|\n|\r(?!\n))"
# Not `{2,}`: only what begins with an alternative is searched for by its first byte, ten times as fast.
_BLANK_LINE = re.compile(_LINE_END + _LINE_END + rb"+")
_MAX_BLANK_BYTES = 4
_LF = ord("\n")
_FIELDS = (b"data", b"event", b"id", b"retry")
_MIN_HEAD_BYTES = 1 + max(map(len, _FIELDS))
_WHITESPACE = b" \t\r\n"
# What servers send as data to keep a connection open.
_NOISE = frozenset({b"", b"null", b"ping", b"[ping]", b"keepalive", b"keep-alive", b"[keep-alive]", b"heartbeat"})
_NOISE_NAMES = frozenset({b"ping", b"keepalive", b"keep-alive", b"heartbeat"})


class Event(NamedTuple):
    """An event as it was received: its bytes, its name, the text of its data, and that text's JSON value.

    `text` is None without data, `value` is None where the text is no JSON object. One object in a list is read too.
    """

    raw: bytes
    name: bytes
    text: bytes | None
    value: dict[str, Any] | None

    @property
    def is_done(self) -> bool:
        """Whether it is OpenAI's closing event."""
        return self.text == _DONE_TEXT

    @property
    def is_unreadable(self) -> bool:
        """Whether its data may be a part of the answer, and cannot be read: no JSON object, or not in UTF-8."""
        if self.value is not None or self.text is None or self.is_done:
            return False
        return self.text.lower() not in _NOISE and self.name.lower() not in _NOISE_NAMES


class EventSplitter:
    """Splits a stream, read in pieces of any size, into whole events.

    Nothing is changed or lost, except for the byte order mark at the beginning: where another event is written before
    the stream, the mark would make the first line unreadable.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._is_at_start = True

    @property
    def size(self) -> int:
        """The number of bytes of the event that is not whole yet."""
        return len(self._buffer)

    def feed(self, piece: bytes) -> bytes:
        """The events that `piece` completes, which may be none, each with its final empty line."""
        buffer = self._buffer
        buffer += piece
        if self._is_at_start and not self._skip_mark():
            return b""
        if piece.endswith(b"\n\n"):
            return self._take(len(buffer))
        # The last empty line is in the new piece, or begins just before it.
        start = max(len(buffer) - len(piece) - _MAX_BLANK_BYTES + 1, 0)
        # A CR after LF is probably half of a CRLF, whose other half comes with the next piece.
        stop = len(buffer) - buffer.endswith(b"\n\r")
        end = max(_ends(buffer, start, stop), default=0)
        return self._take(end) if end else b""

    def rest(self) -> bytes:
        """What follows the last whole event, at the end of the stream. An event gets the empty line that it lacks."""
        rest = self._take(len(self._buffer))
        if not rest.strip(_WHITESPACE):
            return rest
        return rest + (b"\n" if rest.endswith((b"\n", b"\r")) else b"\n\n")

    def _skip_mark(self) -> bool:
        """Remove the byte order mark. False where the buffer is too short to tell."""
        buffer = self._buffer
        if len(buffer) < len(_BOM) and _BOM.startswith(buffer):
            return False
        if buffer.startswith(_BOM):
            del buffer[: len(_BOM)]
        self._is_at_start = False
        return True

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken


def events_of(chunk: bytes) -> Iterator[bytes]:
    """The events in a chunk of whole events, each with its final empty line."""
    if _is_plain(chunk, chunk.find(b"\n\n")):
        yield chunk
        return
    start = 0
    for end in _ends(chunk, 0, len(chunk)):
        yield chunk[start:end]
        start = end
    if start < len(chunk):
        yield chunk[start:]


def end_of_event(events: bytes, at: int, *, has_cr: bool) -> int:
    """Where the event that begins at `at`, in whole events, ends. `has_cr`: whether there is a CR among them."""
    if has_cr:
        blank = _BLANK_LINE.search(events, at)
        return len(events) if blank is None else blank.end()
    blank_at = events.find(b"\n\n", at)
    if blank_at < 0:
        return len(events)
    end = blank_at + 2
    while events.startswith(b"\n", end):
        end += 1
    return end


def _ends(buffer: bytes | bytearray, start: int, stop: int) -> Iterator[int]:
    """Where the empty lines end, each with those that follow it."""
    if buffer.find(b"\r", start, stop) >= 0:
        for blank in _BLANK_LINE.finditer(buffer, start, stop):
            yield blank.end()
        return
    # Several times as fast; clients that do not read let large events accumulate, which are split at once.
    while (blank_at := buffer.find(b"\n\n", start, stop)) >= 0:
        start = blank_at + 2
        while start < stop and buffer[start] == _LF:
            start += 1
        yield start


def read_event(raw: bytes) -> Event:
    """Read a whole event."""
    if raw.startswith(b"data: ") and _is_plain(raw, raw.find(b"\n")):
        return _event(raw, b"", raw[len(b"data: ") :].strip())
    name, lines = b"", []
    for line in raw.splitlines():
        field, _, value = line.partition(b":")
        if field == b"data":
            lines.append(value)
        elif field == b"event":
            name = value.strip()
    if not lines:
        return Event(raw, name, None, None)
    return _event(raw, name, b"\n".join(lines).strip())


def _is_plain(raw: bytes, first_end: int) -> bool:
    """Whether the first line end, or empty line, is the last, and has the usual form: most events are of that kind."""
    return first_end == len(raw) - 2 and raw.endswith(b"\n\n") and b"\r" not in raw


def _event(raw: bytes, name: bytes, text: bytes) -> Event:
    if text == _DONE_TEXT:
        return Event(raw, name, text, None)
    value = json_or_none(text)
    # Google's errors are in a list.
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return Event(raw, name, text, value if isinstance(value, dict) else None)


def data_of(raw: bytes) -> Any:
    """The JSON object in the data of an event; None where there is none, or it is invalid."""
    return read_event(raw).value


def begins_events(head: bytes) -> bool | None:
    """Whether a body that begins with `head` is a stream of events; None where `head` is too short to tell."""
    head = head.removeprefix(_BOM).lstrip(_WHITESPACE)
    if head.startswith(b":"):
        return True
    field, colon, _ = head.partition(b":")
    if colon or len(head) >= _MIN_HEAD_BYTES:
        return bool(colon) and field in _FIELDS
    return None if any(known.startswith(head) for known in _FIELDS) or _BOM.startswith(head) else False


def begins_json(head: bytes) -> bool | None:
    """Whether a body that begins with `head` is an object or a list in JSON; None where `head` is too short to tell."""
    text = head.removeprefix(_BOM).lstrip(_WHITESPACE)
    if not text or _BOM.startswith(text):
        return None
    return text.startswith((b"{", b"["))
