"""Attacks before a key is known: heads of requests, and connections."""

from __future__ import annotations

import asyncio
import random

from bench.hostile.attack import Attack
from bench.hostile.bed import HOST, Bed, pieces
from tests.fuzz.heads import smuggling_forms

_START = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
_FLOOD_BYTES = 24 * 2**20
_SILENT = 700
_LIMIT = 512
_SLOW = 300
_SEED = 7


async def _flood(bed: Bed, start: bytes, piece: bytes) -> list[str]:
    """Heads of 24 MiB on four connections, again and again, as far as the gateway takes them."""

    async def act(_: int) -> None:
        async with bed.connection() as (_reader, writer):
            writer.write(start)
            for block in pieces(piece, _FLOOD_BYTES):
                writer.write(block)
                await writer.drain()
            await bed.wait_for_the_end()

    await bed.each(4, act)
    return []


async def _header_flood(bed: Bed) -> list[str]:
    return await _flood(bed, _START, b"A: a\r\n")


async def _endless_line(bed: Bed) -> list[str]:
    return await _flood(bed, _START + b"X-A: ", b"a" * 1024)


async def _endless_url(bed: Bed) -> list[str]:
    return await _flood(bed, b"GET /", b"a" * 1024)


async def _slow_heads(bed: Bed) -> list[str]:
    async def act(_: int) -> None:
        async with bed.connection() as (_reader, writer):
            writer.write(_START)
            while not bed.is_over:
                writer.write(b"X-A: a\r\n")
                await writer.drain()
                await asyncio.sleep(0.5)

    await bed.each(_SLOW, act)
    return []


async def _silent(bed: Bed) -> list[str]:
    """More connections that say nothing than the gateway has descriptors; each that is closed is opened again."""

    async def act(_: int) -> None:
        async with bed.connection() as (reader, _writer):
            await reader.read(1)
        await asyncio.sleep(0.2)

    await bed.each(_SILENT, act)
    return []


async def _kept_alive(bed: Bed) -> list[str]:
    """Connections that ask once and are then kept, beyond the descriptors."""

    async def act(_: int) -> None:
        async with bed.connection() as (reader, writer):
            writer.write(f"GET /healthz HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
            while await reader.read(1 << 14):
                pass
        await asyncio.sleep(0.2)

    await bed.each(_SILENT, act)
    return []


async def _churn(bed: Bed) -> list[str]:
    async def act(_: int) -> None:
        async with bed.connection() as (_reader, writer):
            writer.write(b"G")

    await bed.each(24, act)
    return []


async def _pipelining(bed: Bed) -> list[str]:
    """Requests without end on connections whose answers are not read."""
    block = f"GET /healthz HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode() * 200

    async def act(_: int) -> None:
        async with bed.connection() as (_reader, writer):
            while not bed.is_over:
                writer.write(block)
                await writer.drain()

    await bed.each(6, act)
    return []


async def _garbage(bed: Bed) -> list[str]:
    """Bytes that are no HTTP; every one of them used to be a line of the log."""
    rng = random.Random(_SEED)

    async def act(_: int) -> None:
        for _ in range(20):
            async with bed.connection() as (reader, writer):
                writer.write(rng.randbytes(200) + b"\r\n\r\n")
                await reader.read(1 << 14)

    await bed.each(24, act)
    return []


async def _trailers(bed: Bed) -> list[str]:
    """A key that stands only in the trailer of a chunked body; a flag that does."""
    key = bed.headers.get("authorization", "")
    start = (
        f"POST {bed.path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
    )
    problems = []
    while not bed.is_over:
        body = bed.request(bed.chat()).partition(b"\r\n\r\n")[2]
        chunked = b"%x\r\n%s\r\n0\r\n" % (len(body), body)
        answer = await bed.exchange(start.encode() + b"\r\n" + chunked + f"Authorization: {key}\r\n\r\n".encode())
        if answer.status == 200:
            problems.append("a key in a trailer is accepted")
        flagged = f"Authorization: {key}\r\n\r\n".encode() + chunked + b"X-Request-Id: of-the-trailer\r\n\r\n"
        answer = await bed.exchange(start.encode() + flagged)
        if answer.headers.get("x-request-id") == "of-the-trailer":
            problems.append("a header in a trailer is used")
        await asyncio.sleep(0.05)
    return list(dict.fromkeys(problems))


async def _smuggling(bed: Bed) -> list[str]:
    """Requests whose length two servers read differently: each must be refused, and its tail never be a request."""
    problems = []
    # In a long run, other attacks have called the upstream before.
    before = bed.bills().of("evil").calls
    tail = bed.request(bed.chat("do=ok tokens=1"))
    for name, raw in smuggling_forms(bed.path, bed.headers, tail):
        answer = await bed.exchange(raw, 3.0)
        if answer.status and not 400 <= answer.status < 600:
            problems.append(f"{name}: {answer.status}")
    if calls := bed.bills().of("evil").calls - before:
        problems.append(f"{calls} smuggled requests reached the upstream")
    return problems


_FEW_FILES = f'ulimit -n {_LIMIT}; exec "$@"'
# Nobody reads what the gateway writes to its standard error and output, and the pipe is almost full.
_UNREAD = '{ head -c 60000 /dev/zero; "$@"; } 2>&1 | sleep 600'

HEADS = (
    Attack(name="header-flood", run=_header_flood),
    Attack(name="endless-header-line", run=_endless_line),
    Attack(name="endless-url", run=_endless_url),
    Attack(name="slow-heads", run=_slow_heads),
    Attack(name="silent-connections", run=_silent, shell=_FEW_FILES, honest_retries=1),
    Attack(name="kept-connections", run=_kept_alive, shell=_FEW_FILES, honest_retries=1),
    Attack(name="connection-churn", run=_churn),
    Attack(name="pipelining", run=_pipelining),
    Attack(name="garbage-heads", run=_garbage),
    Attack(name="garbage-unread-log", run=_garbage, shell=_UNREAD),
    Attack(name="trailers", run=_trailers, native=True),
    Attack(name="smuggling", run=_smuggling),
)
