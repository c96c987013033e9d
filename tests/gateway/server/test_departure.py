"""A request that is given up when its client leaves, and the writes of a response, on the gateway's own protocol."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.requests import ClientDisconnect

from router.gateway.config.connections import ConnectionLimits
from router.gateway.http.client.sending import CONNECTION
from router.gateway.http.disconnect import CancelOnDisconnect
from router.gateway.server.connections import Connections
from router.gateway.server.http.flow import JoinedHead
from tests.gateway.server.test_protocol import connect
from tests.gateway.servers import served


class Waiting:
    """An application that reads the body, waits for `may_begin`, and then for ever, unless its client leaves."""

    def __init__(self, knows_connection: bool) -> None:
        self.knows_connection = knows_connection
        self.has_read, self.may_begin, self.has_left = threading.Event(), threading.Event(), threading.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": message["type"] + ".complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        while (await receive()).get("more_body"):
            pass
        self.has_read.set()
        while not self.may_begin.is_set():
            await asyncio.sleep(0.005)
        try:
            async with CancelOnDisconnect(receive, scope["extensions"][CONNECTION] if self.knows_connection else None):
                await asyncio.Event().wait()
        except ClientDisconnect:
            self.has_left.set()


@contextlib.contextmanager
def waiting(app: Waiting) -> Iterator[int]:
    limits = ConnectionLimits()
    with served(app, Connections(lambda: limits, max_unread=2**18, is_trusted=lambda _: False)) as url:
        port = urlsplit(url).port
        assert port is not None
        yield port


@pytest.mark.parametrize("knows_connection", [True, False], ids=["connection", "message"])
@pytest.mark.parametrize("leaves_early", [False, True], ids=["during", "before"])
@pytest.mark.parametrize("size", [10, 300_000])
def test_a_request_ends_when_its_client_leaves(knows_connection: bool, leaves_early: bool, size: int) -> None:
    app = Waiting(knows_connection)
    with waiting(app) as port:
        connection = connect(port)
        connection.sendall(b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size)
        assert app.has_read.wait(10)
        if leaves_early:
            connection.close()
        app.may_begin.set()
        connection.close()
        assert app.has_left.wait(10)


class Recorded(asyncio.Transport):
    """The network's edge: what is written, each call as one item."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.is_closed = False

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True


def test_a_head_leaves_with_its_body_alone_in_the_next_pass_and_before_the_end_of_the_connection() -> None:
    async def main() -> None:
        loop, transport = asyncio.get_running_loop(), Recorded()
        joined = JoinedHead(transport, loop)
        for data in (b"head ", b"body", b"more"):
            joined.write(data)
        assert transport.writes == [b"head body", b"more"]
        alone = JoinedHead(transport := Recorded(), loop)
        alone.write(b"head")
        assert transport.writes == []
        await asyncio.sleep(0)
        assert transport.writes == [b"head"]
        alone.write(b"body")
        assert transport.writes == [b"head", b"body"]
        ended = JoinedHead(transport := Recorded(), loop)
        ended.write(b"head")
        ended.close()
        assert (transport.writes, ended.is_closing()) == ([b"head"], True)

    asyncio.run(main())
