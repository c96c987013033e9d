"""Attacks with bodies: large, deep, compressed, unfinished, and names and flags that are slow to read."""

from __future__ import annotations

import gzip
import itertools
import json

from bench.hostile.attack import Attack
from bench.hostile.bed import Bed

_LARGE = 16 * 2**20
_AT_ONCE = 6


def _padded(bed: Bed, filling: bytes, unit: int) -> bytes:
    """A chat body of almost 16 MiB with `filling` as the value of an unknown field."""
    head = json.dumps(bed.chat()).encode()[:-1] + b',"novel":'
    return head + filling * ((_LARGE - len(head) - 64) // unit)


def _commas(bed: Bed) -> bytes:
    return _padded(bed, b"[],", 3).replace(b'"novel":', b'"novel":[') + b"0]}"


async def _comma_bodies(bed: Bed) -> list[str]:
    body = _commas(bed)
    raw = bed.head(len(body)) + body

    async def act(_: int) -> None:
        await bed.exchange(raw, 30)

    await bed.each(_AT_ONCE, act)
    return []


async def _deep(bed: Bed) -> list[str]:
    depth = 1_000_000
    body = json.dumps(bed.chat()).encode()[:-1] + b',"novel":' + b"[" * depth + b"]" * depth + b"}"
    raw, statuses = bed.head(len(body)) + body, set()

    async def act(_: int) -> None:
        statuses.add((await bed.exchange(raw, 30)).status)

    await bed.each(_AT_ONCE, act)
    return [f"answered {status}" for status in statuses if status >= 500 and status != 503]


async def _unfinished(bed: Bed) -> list[str]:
    """Bodies of 16 MiB of which the last bytes never come."""
    body = b" " * (_LARGE - 1024)
    head = bed.head(_LARGE)

    async def act(_: int) -> None:
        async with bed.connection() as (reader, writer):
            writer.write(head)
            for start in range(0, len(body), 1 << 16):
                writer.write(body[start : start + (1 << 16)])
                await writer.drain()
            await reader.read(1)

    await bed.each(40, act)
    return []


async def _bombs(bed: Bed) -> list[str]:
    """16 KiB that unpack to 16 MiB, and to more than is allowed."""
    bombs = [gzip.compress(_commas(bed)), gzip.compress(b" " * (256 * 2**20), 6)]
    raws = [bed.head(len(bomb), content_encoding="gzip") + bomb for bomb in bombs]

    async def act(number: int) -> None:
        await bed.exchange(raws[number % 2], 30)

    await bed.each(_AT_ONCE, act)
    return []


async def _without_key(bed: Bed) -> list[str]:
    """A body without end after a wrong key."""
    head = bed.head(2**40, authorization="Bearer pv-wrong")
    block = b" " * (1 << 16)

    async def act(_: int) -> None:
        async with bed.connection() as (_reader, writer):
            writer.write(head)
            while not bed.is_over:
                writer.write(block)
                await writer.drain()

    await bed.each(4, act)
    return []


async def _slow_names(bed: Bed) -> list[str]:
    """Flags and names of models that take long to read, if reading backtracks or looks for similar names."""
    shapes = (
        "auto[" + "a" * 200_000 + "]",
        "auto[" + "size<" * 40_000 + "]",
        "auto[" + "(" * 100_000 + "]",
        "auto[" + ("!" * 50 + "cheapest,") * 3_000 + "]",
        "auto[" + " " * 500_000 + "]",
        "x" * 8_000_000,
        "auto/" + "-" * 1_000_000,
    )
    prompts = ("[Flag:" * 100_000, "[Flag: " + " " * 1_000_000, "[" * 1_000_000)
    numbers = itertools.count()

    async with bed.session() as session:

        async def act(_: int) -> None:
            number = next(numbers)
            body = bed.chat()
            if number % 2:
                body["model"] = shapes[number // 2 % len(shapes)]
            else:
                body["messages"] = [{"role": "user", "content": prompts[number // 2 % len(prompts)]}]
            await bed.post(session, body)

        await bed.each(3, act)
    return []


async def _sessions(bed: Bed) -> list[str]:
    """Every request is a conversation of its own, with a long name."""
    numbers = itertools.count()
    async with bed.session() as session:

        async def act(_: int) -> None:
            number = next(numbers)
            await bed.post(session, bed.chat(), headers={"x-route-session": f"{number}-" + "s" * 4_000})

        await bed.each(4, act)
    return []


BODIES = (
    Attack(name="comma-bodies", run=_comma_bodies, settings={"max_concurrency": 64}),
    Attack(name="deep-json", run=_deep),
    Attack(name="unfinished-bodies", run=_unfinished),
    Attack(name="gzip-bombs", run=_bombs),
    Attack(name="endless-body-without-key", run=_without_key),
    Attack(name="slow-flags-and-names", run=_slow_names),
    Attack(name="many-sessions", run=_sessions),
)
