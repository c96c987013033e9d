"""When a connection is read, and which parts of a response are written together."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.flow_control import FlowControl

HELD_BYTES = 2**16
"""No more is read while this much of what a client has sent waits for the response before it."""


class Flow(FlowControl):
    """Requests read on for the rest of their bodies, and to notice departures: not while too much waits already."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        self.held = bytearray()

    def resume_reading(self) -> None:
        """Read on, unless too much waits."""
        if len(self.held) < HELD_BYTES:
            super().resume_reading()


class JoinedHead:
    """The transport of one response, for uvicorn, which writes the head and the body one after the other: both leave by
    one system call, and in one packet, instead of two.

    What is written first waits for what follows in the same pass of the event loop, and no longer.
    """

    __slots__ = ("_head", "_is_first", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._head, self._is_first = b"", True

    def write(self, data: bytes) -> None:
        """See the class."""
        if self._is_first:
            self._is_first, self._head = False, data
            self._loop.call_soon(self._flush)
        elif self._head:
            head, self._head = self._head, b""
            self._transport.write(head + data)
        else:
            self._transport.write(data)

    def is_closing(self) -> bool:
        """Whether the connection is closed, or will be."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Close the connection once everything has left."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            if not self._transport.is_closing():
                self._transport.write(head)
