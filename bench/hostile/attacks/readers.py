"""Attacks by clients that do not read, or leave."""

from __future__ import annotations

import asyncio
import random

from bench.hostile.attack import Attack
from bench.hostile.bed import Bed

_SLOTS = 16
_UNREAD = 60
_SHORT = {"connect": "2s", "first_token": "2s", "idle": "2s", "total": "3s"}
_SEED = 11


async def _never_reading(bed: Bed) -> list[str]:
    """As many streams as there are slots, which nobody reads; each that ends is begun again."""
    raw = bed.request(bed.chat("do=endless pause_ms=50", stream=True))

    async def act(_: int) -> None:
        async with bed.connection() as (reader, writer):
            writer.write(raw)
            await reader.readuntil(b"\r\n\r\n")
            # The reader's buffer is full by now: nothing more is read from the socket.
            await bed.wait_for_the_end()

    await bed.each(2 * _SLOTS, act)
    return []


async def _trickling(bed: Bed) -> list[str]:
    """Readers that take a few bytes now and then, so that no single send takes long."""
    raw = bed.request(bed.chat("do=endless pause_ms=50", stream=True))

    async def act(_: int) -> None:
        async with bed.connection() as (reader, writer):
            writer.write(raw)
            while await reader.read(256):
                await asyncio.sleep(0.05)

    await bed.each(2 * _SLOTS, act)
    return []


async def _unread_answers(bed: Bed) -> list[str]:
    """Whole answers of 3 MB that nobody reads, as they are and converted to other protocols."""
    paths = (bed.path, "/v1/messages", "/v1/responses")
    raws = [bed.request(bed.chat("do=large") | {"input": "who=evil do=large"}, path) for path in paths]

    async def act(number: int) -> None:
        async with bed.connection() as (reader, writer):
            writer.write(raws[number % len(raws)])
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(1.0)

    await bed.each(_UNREAD, act)
    return []


async def _unread_events(bed: Bed) -> list[str]:
    """Streams of large events, converted to another protocol, that nobody reads."""
    fields = {"stream": True, "input": "who=evil do=endless pause_ms=5"}
    raw = bed.request(bed.chat("do=endless pause_ms=5") | fields, "/v1/responses")

    async def act(_: int) -> None:
        async with bed.connection() as (reader, writer):
            writer.write(raw)
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(1.0)

    await bed.each(_UNREAD, act)
    return []


async def _leaving(bed: Bed) -> list[str]:
    """Clients that leave at any moment of a request or a stream."""
    rng = random.Random(_SEED)
    raws = [bed.request(bed.chat("do=stream events=500 pause_ms=5", stream=stream)) for stream in (False, True)]

    async def act(number: int) -> None:
        async with bed.connection() as (reader, writer):
            raw = raws[number % 2]
            writer.write(raw[: rng.randrange(len(raw))] if rng.random() < 0.3 else raw)
            async with asyncio.timeout(rng.uniform(0.0, 0.3)):
                while await reader.read(1 << 12):
                    pass

    await bed.each(12, act)
    return []


READERS = (
    Attack(name="never-reading-readers", run=_never_reading, settings={"max_concurrency": _SLOTS, "timeouts": _SHORT}),
    Attack(name="trickling-readers", run=_trickling, settings={"max_concurrency": _SLOTS, "timeouts": _SHORT}),
    Attack(name="unread-answers", run=_unread_answers, native=True),
    Attack(name="unread-events", run=_unread_events, native=True),
    Attack(name="leaving-clients", run=_leaving),
)
