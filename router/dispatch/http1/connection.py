"""One connection: it carries a request at a time, and goes back to its pool after the answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import cast

from router.dispatch.http1.answer import Answer
from router.dispatch.http1.errors import BrokenError, ProtocolError
from router.dispatch.http1.parser import AnswerParser

MAX_BUFFERED_BYTES = 256 * 1024
"""How much of a body is read before its caller takes it."""
# A large request is sent in parts, since one large write would block the other calls.
_MAX_WRITE_BYTES = 256 * 1024


class Connection(asyncio.Protocol):
    """See the module. `on_free` is called when the answer is complete and another request may follow, `on_lost` when
    the connection has ended.
    """

    def __init__(self, on_free: Callable[[Connection], None], on_lost: Callable[[Connection], None]) -> None:
        self.loop = asyncio.get_running_loop()
        self.idle_since_s = 0.0
        self.transport: asyncio.Transport | None = None
        self._on_free, self._on_lost = on_free, on_lost
        self._parser = AnswerParser()
        self._answer: Answer | None = None
        self._unsent = memoryview(b"")
        self._is_paused_writing = self._is_paused_reading = self._is_for_one = self._is_over = False

    @property
    def is_usable(self) -> bool:
        """Whether a request may be sent, as far as this machine knows."""
        return not self._is_over and self.transport is not None and not self.transport.is_closing()

    def send(self, head: bytes, body: bytes = b"", *, has_body: bool = True, is_last: bool = False) -> Answer:
        """Send a request; the answer is filled as it arrives. `is_last`: the connection ends after it.

        `has_body`: whether the answer may have a body, which that to HEAD has not.
        """
        assert self.transport is not None
        self._parser.expect(has_body=has_body)
        self._answer = Answer(self.loop, self.abort, self._taken)
        self._is_for_one = is_last
        if len(body) <= _MAX_WRITE_BYTES:
            self.transport.write(head + body if body else head)
        else:
            self.transport.write(head)
            self._unsent = memoryview(body)
            self._send_more()
        return self._answer

    def abort(self) -> None:
        """End the connection at once."""
        self._is_over = True
        self._unsent = memoryview(b"")
        self._fail(BrokenError("the connection was closed"))
        if self.transport is not None:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's callback."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """asyncio's callback."""
        answer = self._answer
        if answer is None:
            # A server that speaks unasked is not to be trusted with the next request.
            self.abort()
            return
        parser = self._parser
        try:
            parser.feed(data)
        except ProtocolError as error:
            answer.update(parser)
            answer.fail(error)
            self.abort()
            return
        self._follow(answer)

    def eof_received(self) -> None:
        """asyncio's callback: the server sends nothing more. The transport then closes itself."""
        self._ended()

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio's callback."""
        self._is_over = True
        if exc is None:
            self._ended()
        else:
            failure = BrokenError(f"the connection broke: {exc}", is_unanswered=self._parser.is_unanswered)
            self._fail(failure)
        self._unsent = memoryview(b"")
        self._on_lost(self)

    def pause_writing(self) -> None:
        """asyncio's callback: the server is slow to read."""
        self._is_paused_writing = True

    def resume_writing(self) -> None:
        """asyncio's callback."""
        self._is_paused_writing = False
        self._send_more()

    def _follow(self, answer: Answer) -> None:
        """Give the answer what was read, and the connection back at its end."""
        parser = self._parser
        answer.update(parser)
        if not parser.is_complete:
            if answer.buffered_bytes > MAX_BUFFERED_BYTES and not self._is_paused_reading:
                self._is_paused_reading = True
                assert self.transport is not None
                self.transport.pause_reading()
            return
        self._answer = None
        # A server that answers before it has read the request will not read the next one properly.
        is_sent = not self._unsent and not self._is_paused_writing
        if parser.can_go_on and is_sent and not self._is_for_one and self.is_usable:
            self._taken()
            self._on_free(self)
        else:
            self.abort()

    def _taken(self) -> None:
        if self._is_paused_reading:
            self._is_paused_reading = False
            # The connection may have ended.
            if self.transport is not None and not self.transport.is_closing():
                self.transport.resume_reading()

    def _ended(self) -> None:
        """The server has closed the connection, which also is the end of an answer without a length."""
        self._is_over = True
        answer = self._answer
        if answer is None:
            return
        try:
            self._parser.end()
        except BrokenError as error:
            self._fail(error)
        else:
            self._follow(answer)

    def _fail(self, failure: BrokenError) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.fail(failure)

    def _send_more(self) -> None:
        if not self._unsent or self._is_paused_writing or not self.is_usable:
            return
        assert self.transport is not None
        part, self._unsent = self._unsent[:_MAX_WRITE_BYTES], self._unsent[_MAX_WRITE_BYTES:]
        with contextlib.suppress(ConnectionError):
            self.transport.write(part)
        if self._unsent:
            self.loop.call_soon(self._send_more)
