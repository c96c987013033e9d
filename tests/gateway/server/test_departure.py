"""A request that is given up when its client leaves, on the gateway's own protocol."""

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
from router.gateway.http.client.exchange import exchange_of
from router.gateway.http.disconnect import CancelOnDisconnect
from router.gateway.server.connections import Connections
from tests.gateway.server.test_protocol import connect
from tests.gateway.servers import served


class Waiting:
    """An application that reads the body, waits for `may_begin`, and then for ever, unless its client leaves."""

    def __init__(self) -> None:
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
            with CancelOnDisconnect(exchange_of(scope).connection):
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


@pytest.mark.parametrize("leaves_early", [False, True], ids=["during", "before"])
@pytest.mark.parametrize("size", [10, 300_000])
def test_a_request_ends_when_its_client_leaves(leaves_early: bool, size: int) -> None:
    app = Waiting()
    with waiting(app) as port:
        connection = connect(port)
        connection.sendall(b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size)
        assert app.has_read.wait(10)
        if leaves_early:
            connection.close()
        app.may_begin.set()
        connection.close()
        assert app.has_left.wait(10)
