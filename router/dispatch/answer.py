"""What an upstream answered, whole or as it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from msgspec import Struct

from router.cards.schema import Card
from router.errors import UpstreamError

_PASSED_BACK = ("content-type", "retry-after", "retry-after-ms", "x-should-retry")


class Timeouts(Struct, frozen=True):
    """Seconds to wait: for a connection, for the first byte of the answer, and between two pieces of it."""

    connect_s: float = 5.0
    first_byte_s: float = 600.0
    idle_s: float = 120.0


class Stream:
    """The bytes of an answer as they arrive. Raises UpstreamError where they break off or stay out too long.

    `aclose` ends the upstream call, whether or not reading has begun.
    """

    def __init__(
        self,
        card: Card,
        chunks: AsyncIterator[bytes],
        close: Callable[[], Awaitable[object]],
        timeouts: Timeouts,
    ) -> None:
        self._card, self._chunks, self._close, self._timeouts = card, chunks, close, timeouts
        self._first: bytes | None = None
        self._limit_s = timeouts.first_byte_s

    async def start(self) -> None:
        """Wait for the first bytes, so that a failure before them is one of the whole call."""
        try:
            self._first = await self._read()
        except StopAsyncIteration:
            raise UpstreamError(f'the upstream of the card "{self._card.id}" sent an empty stream') from None

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> bytes:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return await self._read()

    async def whole(self) -> bytes:
        """Everything up to the end."""
        return b"".join([chunk async for chunk in self])

    async def aclose(self) -> None:
        await self._close()

    async def _read(self) -> bytes:
        try:
            async with asyncio.timeout(self._limit_s):
                chunk = await anext(self._chunks)
        except TimeoutError:
            raise late(self._card) from None
        self._limit_s = self._timeouts.idle_s
        return chunk


class Answer(Struct, frozen=True, eq=False):
    """An upstream's HTTP answer. `headers` holds only what a client may see; keys are in lower case.

    An error's `body` may be empty, where the upstream's own words would tell of the gateway's credentials.
    """

    card: Card
    status: int
    headers: Mapping[str, str]
    body: bytes | Stream


def passed_back(headers: Mapping[str, str]) -> dict[str, str]:
    """Those of an upstream's headers that a client may see."""
    return {name: headers[name] for name in _PASSED_BACK if name in headers}


def late(card: Card) -> UpstreamError:
    """The upstream did not answer, or did not go on, in time."""
    return UpstreamError(f'the upstream of the card "{card.id}" did not answer in time', 504)


def unreachable(card: Card) -> UpstreamError:
    """The upstream cannot be reached, or hung up."""
    return UpstreamError(f'the upstream of the card "{card.id}" cannot be reached, or hung up', 502)


def redacted(words: bytes, key: str | None, url: str | None) -> bytes:
    """`words` without the key, the URL and its host."""
    host = url.partition("://")[2].partition("/")[0] if url else ""
    for secret in (key, url, host):
        if secret:
            words = words.replace(secret.encode(), b"[hidden]")
    return words
