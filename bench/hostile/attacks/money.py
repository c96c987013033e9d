"""Attacks on budgets: more than the budget at once, and leaving before the bill.

The attacker's key pays for output tokens alone, which the upstream counts as a provider would.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import Iterator

from bench.hostile.attack import Attack
from bench.hostile.bed import Bed
from bench.hostile.gateways import CLAUDE, DEAR, DEAR_USD_A_TOKEN
from bench.hostile.upstream import WORDS_AN_EVENT

_PARALLEL = 200
_TOKENS = 100_000
_DOLLAR = _TOKENS * DEAR_USD_A_TOKEN
_EVENTS = 100
_EACH_LIMIT = 5


async def _overspend(bed: Bed, **fields: object) -> list[str]:
    """Parallel requests, of which every one alone costs the whole budget."""
    count = int(str(fields.get("n", 1)))
    tokens = _TOKENS // count
    async with bed.session() as session:
        body = bed.chat(f"do=ok tokens={tokens} pause_ms=800", max_tokens=tokens, **fields) | {"model": DEAR}
        served = await asyncio.gather(*(bed.post(session, body) for _ in range(_PARALLEL)))
        # Later requests must not get more.
        while not bed.is_over:
            await bed.post(session, body)
            await asyncio.sleep(0.1)
    statuses = {answer.status for answer in served} - {200, 402, 429, 503}
    return [f"answered {sorted(statuses)}"] if statuses else []


async def _unlimited(bed: Bed) -> list[str]:
    """Parallel requests without max_tokens, whose answers are long."""
    async with bed.session() as session:
        body = bed.chat(f"do=ok tokens={_TOKENS} pause_ms=800") | {"model": DEAR}
        del body["max_tokens"]
        await asyncio.gather(*(bed.post(session, body) for _ in range(_PARALLEL)))
        while not bed.is_over:
            await bed.post(session, body)
            await asyncio.sleep(0.1)
    return []


def _points() -> Iterator[tuple[bytes, ...]]:
    """What a client reads before it leaves: nothing, the head, the first content, half of it, its end, everything."""
    yield ()
    yield (b"\r\n\r\n",)
    yield (b"measure1",)
    yield (b"measure1",) * (_EVENTS // 2)
    yield (b'"finish_reason":"stop"', b'"stop_reason":"end_turn"')
    yield (b"[DONE]", b"message_stop")


async def leave_streams(bed: Bed, cards: tuple[str, ...] = (DEAR, CLAUDE)) -> list[str]:
    """Leave a stream at every point, on both surfaces, from each of these cards."""
    cases = list(itertools.product(_points(), ("/v1/chat/completions", "/v1/messages"), cards))
    # With pauses, so that the stream goes on when a client leaves in it.
    instruction = f"do=stream events={_EVENTS} pause_ms=2"

    async def leave(marks: tuple[bytes, ...], path: str, card: str) -> None:
        body = bed.chat(instruction, stream=True, max_tokens=_EVENTS * WORDS_AN_EVENT) | {"model": card}
        async with bed.connection() as (reader, writer):
            writer.write(bed.request(body, path))
            async with asyncio.timeout(8):
                await _read_until(reader, marks)

    await asyncio.gather(*(leave(*case) for case in cases))
    return []


async def _read_until(reader: asyncio.StreamReader, marks: tuple[bytes, ...]) -> None:
    """Read until one of `marks` has come; of equal ones, until it has come as often."""
    wanted, text = len(marks) if len(set(marks)) == 1 else 1, b""
    if not marks:
        await asyncio.sleep(0.1)
        return
    while chunk := await reader.read(1 << 12):
        text += chunk
        if any(text.count(mark) >= wanted for mark in set(marks)):
            return


async def _leave_whole(bed: Bed) -> list[str]:
    """Leave requests without a stream while the upstream is writing the answer."""
    body = bed.chat("do=ok tokens=50000 pause_ms=1500", max_tokens=50_000) | {"model": DEAR}

    async def act(_: int) -> None:
        async with bed.connection() as (reader, writer):
            writer.write(bed.request(body))
            async with asyncio.timeout(0.5):
                await reader.read(1)

    await bed.each(3, act)
    await asyncio.sleep(2)
    return []


async def _unpaced(bed: Bed) -> list[str]:
    """Every path under a key with few requests a minute."""
    paths = ("/v1/chat/completions", "/route", "/v1/messages/count_tokens", "/v1/embeddings")
    served = 0
    async with bed.session() as session:
        for path in itertools.islice(itertools.cycle(paths), 10 * len(paths)):
            body = {"model": CLAUDE if "count_tokens" in path else DEAR, **_body_for(bed, path)}
            answer = await bed.post(session, body, path)
            served += answer.status not in (429, 0)
    # In the time of the attack one more becomes free.
    too_many = served > _EACH_LIMIT + 2
    return [f"{served} requests of {_EACH_LIMIT} a minute were not limited"] if too_many else []


def _body_for(bed: Bed, path: str) -> dict[str, object]:
    if path.endswith("embeddings"):
        return {"input": "who=evil"}
    return {name: value for name, value in bed.chat().items() if name != "model"}


_BUDGET = {"budget_usd_per_day": "1$"}
_RICH = {"budget_usd_per_day": "1000$"}
_ONE_MORE = 1.0 + _DOLLAR
_MANY = {"max_concurrency": 512}

MONEY = (
    Attack(name="overspend", run=_overspend, evil=_BUDGET, settings=_MANY, allowed_usd=_ONE_MORE, native=True),
    Attack(
        name="overspend-2-workers",
        run=_overspend,
        evil=_BUDGET,
        settings=_MANY,
        workers=2,
        allowed_usd=_ONE_MORE,
        native=True,
    ),
    Attack(
        name="overspend-n-50",
        run=functools.partial(_overspend, n=50),
        evil=_BUDGET,
        settings=_MANY,
        allowed_usd=_ONE_MORE,
        native=True,
    ),
    Attack(
        name="overspend-unlimited", run=_unlimited, evil=_BUDGET, settings=_MANY, allowed_usd=_ONE_MORE, native=True
    ),
    Attack(name="leaving-streams", run=leave_streams, evil=_RICH, native=True, anthropic=True),
    Attack(name="leaving-answers", run=_leave_whole, evil=_RICH, native=True),
    Attack(name="unpaced-paths", run=_unpaced, evil={"rpm": _EACH_LIMIT}, native=True, anthropic=True),
)
