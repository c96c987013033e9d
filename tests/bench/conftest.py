from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

import pytest

from bench.upstream import HOST, Connection, UpstreamState


class BenchUpstream(UpstreamState):
    """The state of the benchmark upstream and its port; a test may replace its attributes."""

    port = 0


@pytest.fixture
def upstream() -> Iterator[BenchUpstream]:
    """A running benchmark upstream."""
    state = BenchUpstream(["bench"])
    listening, loop = threading.Event(), asyncio.new_event_loop()

    async def serve() -> None:
        server = await loop.create_server(lambda: Connection(state), HOST, 0)
        state.port = server.sockets[0].getsockname()[1]
        listening.set()
        with contextlib.suppress(asyncio.CancelledError):
            await server.serve_forever()

    task = loop.create_task(serve())
    thread = threading.Thread(target=loop.run_until_complete, args=(task,))
    thread.start()
    listening.wait()
    yield state
    loop.call_soon_threadsafe(task.cancel)
    thread.join()
    loop.close()
