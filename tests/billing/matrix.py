"""The matrix of what an upstream does, when the client leaves, the surface, and how the upstream is called: what is
delivered in each cell, and what its key is charged.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from router.cards import Card
from router.cards.price import Price
from router.dispatch import Cooldown, Timeouts
from router.formats.quantities import Dollars, OptionalSeconds, Seconds
from router.gateway.app import make_app
from router.gateway.config.gateway_yaml import Budgeting, GatewayConfig
from router.gateway.config.keys import Key, Keys, hash_of
from router.store.state.protocol import StateStore
from router.types import Api
from tests.billing.upstream import FAULTS, TOKENS, CountingUpstream, counting_upstream
from tests.gateway.servers import make_gateway, make_router, served

PATHS = {
    "chat": "chat/completions",
    "messages": "messages",
    "responses": "responses",
    "completions": "completions",
}
STREAM_DEPARTURES = ("stays", "first", "middle", "finish", "before-usage")
WHOLE_DEPARTURES = ("stays", "at-once", "middle")
FINISH = (b'"finish_reason": "stop"', b'"finish_reason":"stop"', b"content_block_stop", b"output_text.done")
USD_PER_TOKEN = 1e-3
MAX_TOKENS = 1_000


class Way(msgspec.Struct, frozen=True):
    """How requests reach their upstream: the provider and the protocols of the card, and the surfaces tried with it."""

    provider: str
    surfaces: tuple[str, ...]
    apis: tuple[Api, ...] | None = None
    is_whole: bool = True
    """Whether every departure is tried. A conversion changes what is counted, and not when."""


WAYS = {
    "native": Way("openai", tuple(PATHS), ("chat", "completions", "messages", "responses")),
    "converted": Way("openai", ("messages", "responses", "completions"), ("chat",), is_whole=False),
    # Both are called through litellm.
    "gemini": Way("gemini", tuple(PATHS), is_whole=False),
    "claude": Way("anthropic", ("chat",)),
}
RELAYED, BY_LITELLM = ("native", "converted"), ("claude", "gemini")


class Cell(msgspec.Struct, frozen=True):
    """One request. `way` is a key of WAYS."""

    fault: str
    surface: str
    way: str
    stream: bool
    departure: str

    @property
    def name(self) -> str:
        how = "stream" if self.stream else "whole"
        return f"request-{self.fault}.{self.surface}.{self.way}.{how}.{self.departure}"

    @property
    def key(self) -> str:
        return f"pv-{self.name}"


class Bill(msgspec.Struct):
    """The tokens that the upstream delivered, and for which the key was charged; the status of the response."""

    delivered: int
    charged: float
    status: int


def cells_of(*ways: str) -> tuple[Cell, ...]:
    """The cells of these ways."""
    return tuple(
        Cell(fault, surface, way, stream, departure)
        for fault, way, stream in itertools.product(FAULTS, ways, (True, False))
        for surface in WAYS[way].surfaces
        for departure in (STREAM_DEPARTURES if stream else WHOLE_DEPARTURES)
        if WAYS[way].is_whole or departure in ("stays", "middle")
        # Nothing is ever delivered of it.
        if stream or (fault, departure) != ("error-event", "middle")
    )


@contextlib.contextmanager
def billed(
    cells: Sequence[Cell], in_parallel: int, total_s: float = 40, open_state: Callable[[], StateStore] | None = None
) -> Iterator[dict[Cell, Bill]]:
    """The bills of these cells, whose requests are sent through a gateway. `open_state` opens its state, and once more
    to read what was charged.
    """
    with pytest.MonkeyPatch.context() as patch, counting_upstream() as upstream:
        for provider in ("OPENAI", "GEMINI", "ANTHROPIC"):
            patch.setenv(f"{provider}_API_KEY", "sk-gateway-secret")
        yield asyncio.run(_bills(cells, upstream, in_parallel, total_s, open_state))


async def _bills(
    cells: Sequence[Cell],
    upstream: CountingUpstream,
    in_parallel: int,
    total_s: float,
    open_state: Callable[[], StateStore] | None,
) -> dict[Cell, Bill]:
    price = Price(Dollars(0), Dollars(USD_PER_TOKEN * 1e6))
    cards = [
        Card(
            id=f"{name}-{fault}",
            provider=WAYS[name].provider,
            model=fault,
            base_url=upstream.url,
            api_key_env=f"{WAYS[name].provider.upper()}_API_KEY",
            price=price,
            apis=WAYS[name].apis,
        )
        for fault in FAULTS
        for name in dict.fromkeys(cell.way for cell in cells)
    ]
    keys = Keys(
        [
            Key(id=f"k{number}", hash=hash_of(cell.key), budget_usd_per_day=Dollars(1e6))
            for number, cell in enumerate(cells)
        ]
    )
    timeouts = Timeouts(first_token_s=Seconds(5), idle_s=Seconds(4), total_s=Seconds(total_s))
    # The failures of one cell must not keep those of others from the card.
    budgets, cooldown = Budgeting(drain_s=OptionalSeconds(3)), Cooldown(failures=10_000)
    config = GatewayConfig(timeouts=timeouts, budgets=budgets, cooldown=cooldown, max_concurrency=len(cells))
    # The first calls may have to load what they need.
    patient = msgspec.structs.replace(config, timeouts=Timeouts(total_s=Seconds(60)))
    with served(make_app(make_gateway(make_router(*cards), patient, keys))) as url:
        for way, stream in dict.fromkeys((cell.way, cell.stream) for cell in cells):
            first = Cell("complete", WAYS[way].surfaces[0], way, stream, "stays")
            await _ask(url, first, upstream)
    upstream.delivered.clear()
    upstream.calls.clear()
    gateway = make_gateway(make_router(*cards), config, keys, state=open_state() if open_state else None)
    state = open_state() if open_state else gateway.state
    gate = asyncio.Semaphore(in_parallel)
    with served(make_app(gateway)) as url:

        async def bill(cell: Cell) -> Bill:
            # What hangs takes time and nothing else.
            async with contextlib.nullcontext() if cell.fault == "hang" else gate:
                status = await _ask(url, cell, upstream)
            return Bill(0, 0.0, status)

        bills = dict(zip(cells, await asyncio.gather(*map(bill, cells)), strict=True))
        # The last ones are read on for a while.
        async with asyncio.timeout(30):
            while gateway.admission.running:
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.3)
        for number, cell in enumerate(cells):
            bills[cell].delivered = upstream.delivered[cell.name]
            bills[cell].charged = await state.spent_usd(f"k{number}", time.time()) / USD_PER_TOKEN
    if state is not gateway.state:
        await asyncio.to_thread(state.close)
    return bills


async def _ask(url: str, cell: Cell, upstream: CountingUpstream) -> int:
    """Send the request, and leave where the cell says. Returns the status of the response, 0 where none was read."""
    card = f"{cell.way}-{cell.fault}"
    prompt = f"Say something about {cell.name} now"
    body: dict[str, Any] = {"model": card, "stream": cell.stream, "max_tokens": MAX_TOKENS}
    if cell.surface in ("chat", "messages"):
        body["messages"] = [{"role": "user", "content": prompt}]
    elif cell.surface == "completions":
        body["prompt"] = prompt
    else:
        body["input"] = prompt
        body["max_output_tokens"] = body.pop("max_tokens")
    content = json.dumps(body).encode()
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    writer.write(
        f"POST /v1/{PATHS[cell.surface]} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {cell.key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(content)}\r\nconnection: close\r\n\r\n".encode()
        + content
    )
    try:
        return await asyncio.wait_for(_read(reader, cell, upstream), 60)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def _read(reader: asyncio.StreamReader, cell: Cell, upstream: CountingUpstream) -> int:
    if not cell.stream and cell.departure != "stays":
        while not (upstream.calls if cell.departure == "at-once" else upstream.delivered)[cell.name]:
            await asyncio.sleep(0.002)
        return 0
    received = b""
    while chunk := await reader.read(65536):
        received += chunk
        words = received.count(b"word ")
        if cell.departure == "first" and words:
            break
        if cell.departure == "middle" and words >= TOKENS // 4:
            break
        if cell.departure in ("finish", "before-usage") and any(mark in received for mark in FINISH):
            await asyncio.sleep(0.0 if cell.departure == "finish" else 0.002)
            break
    return int(received.split(b" ", 2)[1]) if received else 0
