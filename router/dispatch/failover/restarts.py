"""Servers on this machine that restart: requests wait until they answer again.

A model server takes some seconds to load its model. It refuses connections meanwhile, or answers that it is loading.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

import aiohttp

from router.cards.schema import Card
from router.dispatch.connection.urls import models_url
from router.dispatch.response import UpstreamResponse
from router.errors import BusyError, UpstreamError
from router.formats.net import is_loopback

_GONE = frozenset({"unreachable", "cut", "empty"})
# What llama.cpp's server answers until its model is loaded.
_LOADING = b"Loading model"
_PAUSE_S = 0.2
_TIMEOUT_S = 2.0


class Restarts:
    """The servers that have answered, by the URL of their list of models, and those that are being waited for."""

    def __init__(self) -> None:
        self._answered: set[str] = set()
        self._waits: dict[str, asyncio.Task[bool]] = {}

    def answered(self, card: Card) -> None:
        """Take in that the server of a card with one server has answered."""
        if (url := _local_url(card)) is not None:
            self._answered.add(url)

    async def is_back(
        self, servers: Iterable[Card], outcome: UpstreamResponse | UpstreamError | BusyError, limit_s: float
    ) -> bool:
        """Whether a server that has answered before was gone, as the `outcome` of a request may show, and lists its
        models again. Waits for that until `limit_s` seconds after its first request that failed; a server that does not
        come back by then is not waited for until it has answered again. `servers` are cards with one server each.
        """
        if not _shows_restart(outcome):
            return False
        urls = {url for card in servers if (url := _local_url(card)) is not None and url in self._answered}
        # Where only some of the servers have gone, the others have failed for another reason.
        waits = [self._waits.get(url) or self._wait(url, limit_s) for url in urls]
        for finished in asyncio.as_completed([asyncio.shield(wait) for wait in waits]):
            if await finished:
                return True
        return False

    async def aclose(self) -> None:
        """End all waiting."""
        for wait in tuple(self._waits.values()):
            wait.cancel()
        await asyncio.gather(*self._waits.values(), return_exceptions=True)

    def _wait(self, url: str, limit_s: float) -> asyncio.Task[bool]:
        wait = self._waits[url] = asyncio.create_task(self._lists_models(url, time.monotonic() + limit_s))
        wait.add_done_callback(lambda _: self._waits.pop(url, None))
        return wait

    async def _lists_models(self, url: str, until_s: float) -> bool:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
            while (now_s := time.monotonic()) < until_s:
                try:
                    async with session.get(url, allow_redirects=False) as response:
                        # One that wants an API key runs, too.
                        if response.status < 500:
                            return True
                except (aiohttp.ClientError, OSError, TimeoutError):
                    pass
                await asyncio.sleep(min(_PAUSE_S, max(until_s - now_s, 0.0)))
        self._answered.discard(url)
        return False


def _local_url(card: Card) -> str | None:
    url = models_url(card)
    return url if url is not None and is_loopback(url) else None


def _shows_restart(outcome: UpstreamResponse | UpstreamError | BusyError) -> bool:
    match outcome:
        case UpstreamError():
            return outcome.fault in _GONE
        case BusyError():
            # All cool down since their servers have gone.
            return outcome.status != 429
        case _:
            return outcome.status == 503 and isinstance(outcome.body, bytes) and _LOADING in outcome.body
