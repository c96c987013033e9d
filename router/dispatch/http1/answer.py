"""An answer as it arrives."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from typing import Protocol

from router.dispatch.http1.parser import Head


class Arrived(Protocol):
    """What has arrived of an answer: its head once that is whole, and the parts of its body that were not taken."""

    head: Head | None
    chunks: list[bytes]
    is_complete: bool


class Answer:
    """The answer of one call. `read` and `close` are what its caller uses; the connection calls the others.

    `is_complete`: all of it has arrived, so that `read` does not wait. A caller that stops before `read` returned b""
    must `close` it, which ends the exchange.
    """

    __slots__ = (
        *("_chunks", "_close", "_failure", "_loop", "_offer", "_on_taken", "_waiter"),
        *("buffered_bytes", "head", "is_complete"),
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, close: Callable[[], None], on_taken: Callable[[], None]
    ) -> None:
        self.head: Head | None = None
        self.buffered_bytes = 0
        self._loop, self._close, self._on_taken = loop, close, on_taken
        self._chunks: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None
        self._offer: Callable[[bytes], bool] | None = None
        self._failure: Exception | None = None
        self.is_complete = False

    @property
    def status(self) -> int:
        """The HTTP status."""
        assert self.head is not None
        return self.head.status

    @property
    def headers(self) -> dict[str, str]:
        """The header fields, with names in lower case."""
        assert self.head is not None
        return self.head.headers

    @property
    def length(self) -> int | None:
        """The length that the head states, in bytes; None where it states none."""
        assert self.head is not None
        return self.head.length

    async def begun(self) -> None:
        """Return once the head has arrived. Raises BrokenError or ProtocolError where none does."""
        while self.head is None:
            self._raise_failure()
            await self._changed()

    @property
    def arrived(self) -> bytes:
        """What has arrived of the body and was not taken."""
        if len(self._chunks) > 1:
            self._chunks = [b"".join(self._chunks)]
        return self._chunks[0] if self._chunks else b""

    def take(self) -> bytes:
        """What has arrived of the body and was not taken, which then is."""
        body = self.arrived
        self._chunks = []
        self.buffered_bytes = 0
        self._on_taken()
        return body

    async def read(self) -> bytes:
        """What has arrived of the body and was not taken; b"" at its end.

        Raises BrokenError or ProtocolError once everything before the failure was read.
        """
        while True:
            if self._chunks:
                return self.take()
            if self.is_complete:
                return b""
            self._raise_failure()
            await self._changed()

    def read_now(self) -> bytes | None:
        """What `read` would return; None where it would wait, or fail."""
        return self.take() if self._chunks else b"" if self.is_complete else None

    def offer_to(self, take: Callable[[bytes], bool] | None) -> None:
        """Offer what arrives while a `read` waits to `take` first. What that takes, by returning True, is no longer
        there for `read`, which goes on waiting. None ends it.
        """
        self._offer = take

    def close(self) -> None:
        """End the exchange, unless the answer has arrived whole: the connection, or the stream of HTTP/2."""
        self._offer = None
        if not self.is_complete:
            self._close()

    def update(self, arrived: Arrived) -> None:
        """Take over what has arrived."""
        self.head = arrived.head
        if chunks := arrived.chunks:
            arrived.chunks = []
            if self._offer is not None and not arrived.is_complete and self._is_taken(self._offer, chunks):
                self._on_taken()
                return
            self._chunks += chunks
            self.buffered_bytes += sum(map(len, chunks))
        self.is_complete = arrived.is_complete
        if self.is_complete:
            self._offer = None
        # Nothing changes for a caller before the head is whole.
        if self.head is not None:
            self._wake()

    def fail(self, failure: Exception) -> None:
        """There will be nothing more."""
        if not self.is_complete and self._failure is None:
            self._failure = failure
            self._wake()

    def _is_taken(self, offer: Callable[[bytes], bool], chunks: list[bytes]) -> bool:
        """Whether new chunks were taken. None is while older ones are left, and a reader that was woken will read."""
        waiter = self._waiter
        if waiter is None or waiter.done() or self._chunks:
            return False
        try:
            return offer(chunks[0] if len(chunks) == 1 else b"".join(chunks))
        except Exception as error:  # noqa: BLE001 - the connection, which others may use, has not failed
            self._offer = None
            self.fail(error)
            return True

    def _raise_failure(self) -> None:
        if self._failure is not None:
            # An error refers to the frames that it was raised in, and these to this answer.
            raise copy.copy(self._failure)

    def _changed(self) -> asyncio.Future[None]:
        """Done at the next change. One caller waits at a time."""
        self._waiter = self._loop.create_future()
        return self._waiter

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
