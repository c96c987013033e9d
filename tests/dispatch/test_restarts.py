"""Servers on this machine that restart: requests wait for them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import msgspec
import pytest

from router.cards.servers import RateLimits
from router.dispatch import Call, Dispatcher, DispatchSettings
from router.dispatch.failover.restarts import MOST_ROUNDS
from router.dispatch.pool.queue import QueueLimits
from router.errors import BusyError, UpstreamError
from router.formats.quantities import Seconds
from tests.dispatch.calls import BODY
from tests.gateway.servers import make_card

Ask = Callable[[], Coroutine[Any, Any, int]]
ANSWER = msgspec.json.encode({"choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}}]})
LOADING = b'{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}'


class ModelServer:
    """A server whose process can be stopped and started again at its port; while it `loads`, it says so. It counts
    `requests` and `lists` of models; where it `cuts`, it answers no request.
    """

    def __init__(self) -> None:
        self.port, self.loads, self.cuts = 0, False, False
        self.requests = self.lists = 0
        # Requests are held while `holds` is not set; `held` is set by one.
        self.holds, self.held = asyncio.Event(), asyncio.Event()
        self.holds.set()
        # How many lists of models fail after a cut.
        self.fails_after_a_cut = self._fails = 0
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
                    self.requests += 1
                    if self.cuts:
                        self._fails = self.fails_after_a_cut
                        writer.close()
                        return
                    if not self.holds.is_set():
                        self.held.set()
                        await self.holds.wait()
                else:
                    self.lists += 1
                    if self._fails:
                        self._fails -= 1
                        writer.close()
                        return
                status, body = (b"503 Service Unavailable", LOADING) if self.loads else (b"200 OK", ANSWER)
                headers = b"content-type: application/json\r\ncontent-length: %d" % len(body)
                writer.write(b"HTTP/1.1 %s\r\n%s\r\n\r\n%s" % (status, headers, body))


@contextlib.asynccontextmanager
async def serving(
    wait_s: float, places: int = 1024, concurrency: int | None = None
) -> AsyncIterator[tuple[ModelServer, Ask]]:
    """A running server, and a request to its card, which waits so long at most and returns the status."""
    server = ModelServer()
    await server.start()
    dispatcher = Dispatcher(DispatchSettings(queue=QueueLimits(size=places, wait_s=Seconds(wait_s))))
    card = make_card("a", server.url, rate_limits=RateLimits(concurrency=concurrency))

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


def test_a_server_that_runs_and_cuts_every_connection_is_not_asked_again_and_again() -> None:
    async def main() -> tuple[int, int]:
        async with serving(wait_s=1) as (server, ask):
            await ask()
            server.cuts = True
            with pytest.raises(UpstreamError):
                await ask()
            return server.requests, server.lists

    assert asyncio.run(main()) == (3, 1)


def test_a_request_beyond_the_queue_is_refused_at_once_beside_a_local_server() -> None:
    async def main() -> int:
        async with serving(wait_s=30, places=0, concurrency=1) as (server, ask):
            await ask()
            server.holds.clear()
            running = asyncio.create_task(ask())
            await asyncio.wait_for(server.held.wait(), 20)
            with pytest.raises(BusyError):
                await asyncio.wait_for(ask(), 20)
            server.holds.set()
            await running
            return server.lists

    assert asyncio.run(main()) <= 1


def test_a_request_that_brings_its_server_down_is_sent_a_few_times_only() -> None:
    async def main() -> int:
        async with serving(wait_s=20) as (server, ask):
            await ask()
            server.cuts, server.fails_after_a_cut = True, 1
            with pytest.raises(UpstreamError):
                await asyncio.wait_for(ask(), 60)
            return server.requests - 1

    assert asyncio.run(main()) <= 2 * MOST_ROUNDS
