"""Answers, read from the bytes of one connection."""

from __future__ import annotations

import re

import httptools
from msgspec import Struct

from router.dispatch.http1.errors import BrokenError, ProtocolError
from router.formats.headers import NOT_IN_VALUES

MAX_HEAD_BYTES = 64 * 1024
"""The most that the heads of an answer, with those of 1xx before it, may take; and, apart from that, its trailers."""
MAX_FIELDS = 128
"""The most header fields of an answer, and of its trailers."""
# A field has a colon, a blank and a line end, too.
_FIELD_BYTES = 4
_STATUS_LINE_BYTES = 16
_FOLD = re.compile(rb"\n[ \t]")
# Heads up to this size are first searched for what every fold has, which is faster than the pattern.
_SHORT_BYTES = 4096
_END_OF_HEAD = re.compile(rb"\n\r?\n")
# What the parser takes for the beginning of another head: HTTP/, RTSP/ and ICE/, also behind empty lines.
_BEGINS_A_HEAD = frozenset(b"HRI\r\n")


class Head(Struct, frozen=True, eq=False):
    """The head of an answer. `headers` has names in lower case, and the first of several fields of one name.

    `length` is the `Content-Length` in bytes; None without one.
    """

    status: int
    headers: dict[str, str]
    length: int | None


class AnswerParser:
    """Reads answers one after another: call `expect` for each, then `feed` with the bytes as they arrive.

    `head` is set once the whole head has arrived, `chunks` has the parts of the body that were not taken, and
    `is_complete` says that the answer has ended. `can_go_on`: another answer may follow on this connection.
    `has_extra`: the server has sent more than was asked for. Heads of 1xx are passed over.

    Raises ProtocolError where the bytes are no HTTP/1.1, where they leave the length of the body open (both a
    Content-Length and a Transfer-Encoding, or two lengths), and where a head is too large.
    """

    def __init__(self) -> None:
        # Servers that end lines with LF, or pad the size of a chunk, are common enough, and no answer follows another
        # unasked here, so nothing can be smuggled in. A value with control characters is left out, and does not spoil a
        # good answer; a folded one, which the parser would join then, is refused.
        self._parser = httptools.HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._tail = b""
        self.chunks: list[bytes] = []
        self.head: Head | None = None
        self.is_complete = True
        self.can_go_on = True
        self.has_extra = False
        self._has_begun = self._is_interim = self._has_body = self._ends_with_connection = False
        self._headers: dict[str, str] = {}
        self._fields = self._head_bytes = self._silent_bytes = 0
        self._has_heard = False

    def expect(self, *, has_body: bool = True) -> None:
        """Begin an answer. `has_body` is false for the answer to HEAD, and to CONNECT where that succeeds."""
        self.chunks = []
        self.head = None
        self.is_complete = self._has_begun = self._is_interim = self._ends_with_connection = False
        self._has_body = has_body
        self._headers = {}
        self._tail = b""
        self._fields = self._head_bytes = self._silent_bytes = 0

    def feed(self, data: bytes) -> None:
        """Read the next bytes of the connection."""
        rest = self._after_heads(data) if self.head is None and not self.is_complete else data
        if rest:
            self._read(rest)

    def _read(self, data: bytes | memoryview) -> None:
        if self.is_complete:
            self._is_unasked()
            return
        self._has_heard = False
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.can_go_on = False
            if not self.is_complete:
                cause = error.__context__
                raise (cause if isinstance(cause, ProtocolError) else ProtocolError(str(error))) from None
        # A field, the size of a chunk or its extension that does not end is kept, or read, for as long as it grows.
        self._silent_bytes = 0 if self._has_heard else self._silent_bytes + len(data)
        if self._silent_bytes > MAX_HEAD_BYTES:
            self.can_go_on = False
            raise ProtocolError("a line of the answer is too long")

    def end(self) -> None:
        """The server has ended the connection. Raises BrokenError where the answer is not complete."""
        self.can_go_on = False
        if self.is_complete:
            return
        if not self._ends_with_connection:
            raise BrokenError("the connection ended before its answer", is_unanswered=self.is_unanswered)
        self.is_complete = True

    @property
    def is_unanswered(self) -> bool:
        """Whether not one byte of the answer has arrived."""
        return not self._has_begun

    def on_message_begin(self) -> None:
        """The parser's callback: a head begins."""
        self._has_heard = self._has_begun = True
        # However short, each of many heads of 1xx counts.
        self._count(_STATUS_LINE_BYTES)
        if self.is_complete:
            self._is_unasked()

    def on_header(self, name: bytes, value: bytes) -> None:
        """The parser's callback: a field of a head, or of the trailers."""
        self._has_heard = True
        self._fields += 1
        self._count(len(name) + len(value) + _FIELD_BYTES)
        if self.head is not None:
            return
        key = name.decode("ascii").lower()
        text = value.decode("utf-8", "surrogateescape")
        if not text.isprintable() and NOT_IN_VALUES.search(value):
            if b"\0" in value or key in ("content-length", "transfer-encoding"):
                raise ProtocolError(f"the header {key} of the answer has control characters")
            return
        if key not in self._headers:
            self._headers[key] = text
        elif key == "transfer-encoding":
            self._headers[key] += f", {text}"

    def on_headers_complete(self) -> None:
        """The parser's callback: a head has ended."""
        self._has_heard = True
        if self.is_complete:
            return
        status = self._parser.get_status_code()
        self._is_interim = 100 <= status < 200 and status != 101
        if self._is_interim:
            self._headers = {}
            return
        headers = self._headers
        length = headers.get("content-length")
        is_chunked = "transfer-encoding" in headers and _is_chunked(headers["transfer-encoding"])
        self.head = Head(status, headers, None if length is None else int(length))
        self._fields = self._head_bytes = 0
        if not self._has_body:
            self.is_complete, self.can_go_on = True, False
        elif not is_chunked and length is None and status not in (101, 204, 304):
            self._ends_with_connection, self.can_go_on = True, False

    def on_body(self, body: bytes) -> None:
        """The parser's callback: a part of a body."""
        self._has_heard = True
        if self.is_complete:
            self._is_unasked()
        else:
            self.chunks.append(body)

    def on_message_complete(self) -> None:
        """The parser's callback: an answer has ended."""
        self._has_heard = True
        if self._is_interim:
            self._is_interim = False
        elif not self.is_complete:
            self.is_complete = True
            self.can_go_on = self.can_go_on and self._parser.should_keep_alive()

    def _after_heads(self, data: bytes) -> bytes | memoryview:
        """What of `data` is still to be read once its heads were searched for folds: all of it, unless another head may
        follow the first one.
        """
        seen = self._tail + data if self._tail else data
        read, searched = len(seen) - len(data), 0
        if len(seen) > _SHORT_BYTES or b"\n " in seen or b"\n\t" in seen:
            while self.head is None and not self.is_complete:
                end = _END_OF_HEAD.search(seen, searched)
                if _FOLD.search(seen, searched, len(seen) if end is None else end.end()):
                    self.can_go_on = False
                    raise ProtocolError("a header of the answer is folded")
                if end is None or end.end() == len(seen) or seen[end.end()] not in _BEGINS_A_HEAD:
                    break
                # Whether it was a head of 1xx, which is not the last, is known once it was read.
                self._read(seen[read : end.end()])
                read = searched = end.end()
        self._tail = seen[max(searched, len(seen) - 2) :]
        return memoryview(seen)[read:] if searched else data

    def _is_unasked(self) -> None:
        self.has_extra, self.can_go_on = True, False

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._fields > MAX_FIELDS or self._head_bytes > MAX_HEAD_BYTES:
            raise ProtocolError("the head of the answer is too large")


def _is_chunked(transfer_encoding: str) -> bool:
    """Whether the body is chunked, else it lasts as long as its connection. Raises ProtocolError for any other."""
    codings = [coding.strip().lower() for coding in transfer_encoding.split(",")]
    if codings == ["identity"]:
        return False
    if codings[-1] != "chunked" or codings.count("chunked") > 1:
        raise ProtocolError("the transfer coding of the answer leaves its end open")
    return True
