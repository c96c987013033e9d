"""When a connection is read."""

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
        if self.read_paused and len(self.held) < HELD_BYTES:
            super().resume_reading()
