"""The network's edge of an exchange: a transport in memory, and the server's side of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from router.gateway.http.client.connection import ClientConnection
from router.gateway.http.client.exchange import Exchange
from router.gateway.server.http.flow import Flow

_LATER_S = 3600.0


class Transport(asyncio.Transport):
    """A connection whose client has not read `held` bytes."""

    def __init__(self, held: int = 0) -> None:
        super().__init__()
        self.held, self.is_aborted, self.is_closed = held, False, False
        self.written: list[bytes] = []

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high == 0

    def get_write_buffer_size(self) -> int:
        return self.held

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_aborted = True


class Line:
    """A server's side of a connection."""

    common_head = b"date: today\r\n"

    def __init__(self, transport: Transport) -> None:
        self.flow = Flow(transport)
        if transport.held:
            self.flow.pause_writing()
        self.connection = ClientConnection(transport, self.flow.resume_reading)
        self.responses = 0
        self.running: Exchange | None = None

    def on_response_complete(self) -> None:
        self.responses += 1


def exchange_on(
    transport: Transport,
    stall_s: float = 5.0,
    left_s: float = _LATER_S,
    headers: Mapping[str, str] | None = None,
    **facts: bool,
) -> Exchange:
    """A request with these headers on `transport`, in the running event loop."""
    exchange = Exchange(Line(transport), headers or {}, **facts)
    exchange.limit(stall_s, asyncio.get_running_loop().time() + left_s)
    return exchange
