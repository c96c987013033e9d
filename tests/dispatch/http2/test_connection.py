"""What one connection writes, without a network."""

from __future__ import annotations

import asyncio

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes, Settings
from hpack import HeaderTuple

from router.dispatch.http2.connection import Connection

FIELDS = [
    HeaderTuple(b":method", b"POST"),
    HeaderTuple(b":scheme", b"http"),
    HeaderTuple(b":authority", b"server"),
    HeaderTuple(b":path", b"/"),
]
PART_BYTES = 256 * 1024
WINDOW_BYTES = 2**30


class Transport(asyncio.Transport):
    """A connection whose server reads everything at once."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sizes.append(len(data))

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        pass


def generous_server() -> bytes:
    """What a server sends first that takes large bodies at once."""
    server = H2Connection(H2Configuration(client_side=False))
    server.local_settings = Settings(client=False, initial_values={SettingCodes.INITIAL_WINDOW_SIZE: WINDOW_BYTES})
    server.initiate_connection()
    server.increment_flow_control_window(WINDOW_BYTES)
    return server.data_to_send()


def test_large_bodies_at_once_are_written_part_by_part() -> None:
    bodies = 8

    async def main() -> list[int]:
        connection, transport = Connection(lambda _: None), Transport()
        connection.connection_made(transport)
        connection.data_received(generous_server())
        await connection.ready
        connection.pause_writing()
        for _ in range(bodies):
            connection.send(FIELDS, bytes(4 * 1024 * 1024))
        connection.resume_writing()
        while sum(transport.sizes) < bodies * 4 * 1024 * 1024:
            await asyncio.sleep(0)
        connection.abort()
        return transport.sizes

    sizes = asyncio.run(asyncio.wait_for(main(), 30))
    assert max(sizes) < 3 * bodies * PART_BYTES
