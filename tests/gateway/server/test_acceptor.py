"""The connections that the acceptor makes."""

from __future__ import annotations

import asyncio
import socket

from router.gateway.server.acceptor import Acceptor
from router.gateway.server.connections import Connections


def test_the_system_holds_little_for_a_client_that_does_not_read() -> None:
    class Protocol(asyncio.Protocol):
        def __init__(self, unsent: asyncio.Future[int]) -> None:
            self.unsent = unsent

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            sock = transport.get_extra_info("socket")
            self.unsent.set_result(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT))
            transport.close()

    async def accept() -> int:
        unsent: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            acceptor = Acceptor(listener, lambda: Protocol(unsent), Connections())
            with socket.create_connection(listener.getsockname()):
                result = await asyncio.wait_for(unsent, 10)
            acceptor.close()
        return result

    assert 0 < asyncio.run(accept()) <= 2**18
