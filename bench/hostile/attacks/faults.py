"""Attacks by way of upstreams: faults that only the attacker's requests cause, calls that hang, storms of retries."""

from __future__ import annotations

import asyncio
import functools

from bench.hostile.attack import Attack
from bench.hostile.bed import Bed
from bench.hostile.gateways import AUTO, DEAR, NAMED, POOL

_SLOTS = 16
_SHORT = {"connect": "2s", "first_token": "8s", "idle": "8s", "total": "8s"}
_CALLS_A_REQUEST = 1.5
"""How many calls a request may cause on average while everything fails: a budget of retries, not a multiple."""


async def _forged(bed: Bed, status: int) -> list[str]:
    """Requests for which alone the upstream has `status`, for every card that the honest clients use.

    They fail at the same time, so that no request that succeeds comes between them.
    """
    async with bed.session() as session:

        async def act(number: int) -> None:
            model = (POOL[0], NAMED, AUTO, POOL[0], POOL[1])[number % 5]
            await bed.post(session, bed.chat(f"do={status} pause_ms=300") | {"model": model})

        await bed.each(30, act)
    return []


async def _hung(bed: Bed) -> list[str]:
    """Twice as many calls of one card that hangs as there are slots."""
    raw = bed.request(bed.chat("do=hang") | {"model": DEAR})

    async def act(_: int) -> None:
        async with bed.connection() as (reader, writer):
            writer.write(raw)
            await reader.read(1)

    await bed.each(2 * _SLOTS, act)
    return []


async def _retry_storm(bed: Bed) -> list[str]:
    """Requests that fail on every card: how many calls does each cause?"""
    sent = 0
    async with bed.session() as session:

        async def act(_: int) -> None:
            nonlocal sent
            sent += 1
            await bed.post(session, bed.chat("do=500") | {"model": AUTO})

        await bed.each(8, act)
    calls = (await asyncio.to_thread(bed.bills)).of("evil").calls
    a_request = calls / max(sent, 1)
    return [f"{a_request:.1f} calls a request while everything fails"] if a_request > _CALLS_A_REQUEST else []


FAULTS = (
    *(
        Attack(name=f"forged-{status}", run=functools.partial(_forged, status=status), native=True)
        for status in (404, 429, 500)
    ),
    Attack(name="hung-card", run=_hung, settings={"max_concurrency": _SLOTS, "timeouts": _SHORT}, native=True),
    Attack(name="retry-storm", run=_retry_storm, native=True),
)
