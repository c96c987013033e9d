"""Servers on this machine that restart: requests wait for them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
import pytest

from router.dispatch import Call, Dispatcher, DispatchSettings
from router.dispatch.pool.queue import QueueLimits
from router.errors import BusyError, UpstreamError
from router.formats.quantities import Seconds
from tests.dispatch.calls import BODY
from tests.gateway.servers import make_card

ANSWER = msgspec.json.encode({"choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}}]})
LOADING = b'{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}'


class ModelServer:
    """A server whose process can be stopped and started again at its port; while it `loads`, it says so."""

    def __init__(self) -> None:
        self.port, self.loads = 0, False
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._open:
            writer.close()
        await asyncio.sleep(0)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                if head.startswith(b"POST"):
                    await reader.read(65536)
                status, body = (b"503 Service Unavailable", LOADING) if self.loads else (b"200 OK", ANSWER)
                headers = b"content-type: application/json\r\ncontent-length: %d" % len(body)
                writer.write(b"HTTP/1.1 %s\r\n%s\r\n\r\n%s" % (status, headers, body))


@contextlib.asynccontextmanager
async def serving(wait_s: float) -> AsyncIterator[tuple[ModelServer, Callable[[], Awaitable[int]]]]:
    """A running server, and a request to its card, which waits so long at most and returns the status."""
    server = ModelServer()
    await server.start()
    dispatcher = Dispatcher(DispatchSettings(queue=QueueLimits(wait_s=Seconds(wait_s))))
    card = make_card("a", server.url)

    async def ask() -> int:
        return (await dispatcher.send_first_healthy([card], Call("chat", BODY))).status

    try:
        yield server, ask
    finally:
        await dispatcher.aclose()
        await server.stop()


def test_requests_wait_for_a_server_that_restarts() -> None:
    async def main() -> list[int]:
        async with serving(wait_s=20) as (server, ask):
            first = await ask()
            await server.stop()
            waiting = [asyncio.create_task(ask()) for _ in range(8)]
            await asyncio.sleep(0.3)
            await server.start()
            return [first, *await asyncio.gather(*waiting)]

    assert asyncio.run(main()) == [200] * 9


def test_requests_wait_until_the_model_is_loaded() -> None:
    async def main() -> int:
        async with serving(wait_s=20) as (server, ask):
            await ask()
            server.loads = True
            waiting = asyncio.create_task(ask())
            await asyncio.sleep(0.3)
            server.loads = False
            return await waiting

    assert asyncio.run(main()) == 200


def test_a_server_that_does_not_come_back_is_waited_for_once() -> None:
    async def main() -> list[type[Exception]]:
        async with serving(wait_s=0.5) as (server, ask):
            await ask()
            await server.stop()
            raised = []
            for _ in range(2):
                with pytest.raises((UpstreamError, BusyError)) as caught:
                    await asyncio.wait_for(ask(), 20)
                raised.append(caught.type)
            await server.start()
            return raised

    assert asyncio.run(main())[0] is UpstreamError


def test_a_server_that_never_answered_is_not_waited_for() -> None:
    async def main() -> None:
        async with serving(wait_s=600) as (server, ask):
            await server.stop()
            with pytest.raises(UpstreamError):
                await asyncio.wait_for(ask(), 20)
            await server.start()

    asyncio.run(main())
