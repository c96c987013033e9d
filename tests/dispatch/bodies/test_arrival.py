from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator

import httpx
import pytest

from router.dispatch.bodies.arrival import Arrived, ReadAhead


class Hanging(httpx.AsyncByteStream):
    """Sends one chunk, then nothing."""

    is_closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b'data: {"choices":[{"delta":{"content":"four words of text"}}]}\n\n'
        await asyncio.Event().wait()

    async def aclose(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize("cancels", [1, 2, 3])
def test_a_call_is_ended_however_often_its_reader_is_cancelled(cancels: int) -> None:
    async def main() -> tuple[bool, int]:
        stream, arrived = Hanging(), Arrived()
        ahead = ReadAhead(stream, arrived)

        async def read() -> None:
            async for _ in ahead:
                pass

        reading = asyncio.ensure_future(read())
        await asyncio.sleep(0.01)
        for _ in range(cancels):
            reading.cancel()
            await asyncio.sleep(0)
        await asyncio.wait((reading,))
        await ahead.aclose()
        return stream.is_closed, arrived.tokens

    is_closed, tokens = asyncio.run(main())
    assert is_closed
    assert tokens >= 4


def test_a_call_whose_reader_was_cancelled_twice_ends_without_being_closed_again() -> None:
    async def main() -> bool:
        stream = Hanging()
        ahead = ReadAhead(stream, Arrived())
        waiting = asyncio.ensure_future(_all(ahead))
        await asyncio.sleep(0.01)
        for _ in range(2):
            waiting.cancel()
            await asyncio.sleep(0)
        for _ in range(100):
            if stream.is_closed:
                break
            await asyncio.sleep(0.01)
        return stream.is_closed

    assert asyncio.run(main())


async def _all(ahead: ReadAhead) -> list[bytes]:
    return [chunk async for chunk in ahead]


def test_an_error_that_nobody_reads_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"one"
            yield b"two"
            raise httpx.ReadError("cut")

    async def main() -> None:
        chunks = ReadAhead(Broken(), Arrived()).__aiter__()
        assert await anext(chunks) == b"one"
        await asyncio.sleep(0.01)
        # The reader stops here, and closes nothing; the garbage collector frees all of it at once.
        cycle: list[object] = [chunks]
        cycle.append(cycle)
        del chunks, cycle
        gc.collect()
        await asyncio.sleep(0.01)

    asyncio.run(main())
    gc.collect()
    assert not caplog.records
