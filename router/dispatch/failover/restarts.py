"""Servers on this machine that restart: requests wait until they answer again.

A model server takes some seconds to load its model. It refuses connections meanwhile, or answers that it is loading.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from router.cards.schema import Card
from router.dispatch.facts import server_facts_of
from router.dispatch.response import CONNECTION_FAULTS, UpstreamResponse
from router.errors import BusyError, UpstreamError

if TYPE_CHECKING:
    from router.dispatch.pool.deployment import Deployment

MOST_ROUNDS = 3
"""How often a request is tried while servers restart: it may be what brings its server down."""

# What llama.cpp's server answers until its model is loaded.
_LOADING = b"Loading model"
_PAUSE_S = 0.2
_TIMEOUT_S = 2.0


class Restarts:
    """The servers that have answered, by the URL of their list of models, and those that are being waited for."""

    def __init__(self) -> None:
        self._answered: set[str] = set()
        self._waits: dict[str, asyncio.Task[str]] = {}
        # When they were last seen to be gone.
        self._gone_s: dict[str, float] = {}

    def answered(self, card: Card) -> None:
        """Take in that the server of a card with one server has answered."""
        if (url := server_facts_of(card).local_models_url) is not None:
            self._answered.add(url)

    async def returned(
        self, deployments: Sequence[Deployment], outcome: UpstreamResponse | UpstreamError | BusyError, limit_s: float
    ) -> list[Deployment]:
        """Those of the deployments whose server has answered before, was gone, as the `outcome` of a request may show,
        and lists its models again; the first such server is enough. Waits for that until `limit_s` seconds after its
        first request that failed; a server that does not come back by then is not waited for until it has answered
        again. One that was not seen to be gone in so many seconds is left out: it runs, and fails for another reason.
        """
        if not _shows_restart(outcome):
            return []
        urls = {
            each.name: url
            for each in deployments
            if (url := server_facts_of(each.card).local_models_url) in self._answered
        }
        servers = set(filter(None, urls.values()))
        if _says_gone(outcome) and len(servers) == 1:
            self._gone_s |= dict.fromkeys(servers, time.monotonic())
        # Where only some of the servers have gone, the others have failed for another reason.
        waits = [self._waits.get(url) or self._wait(url, limit_s) for url in servers]
        for finished in asyncio.as_completed([asyncio.shield(wait) for wait in waits]):
            back = await finished
            if back and time.monotonic() - self._gone_s.get(back, -math.inf) <= limit_s:
                return [each for each in deployments if urls.get(each.name) == back]
        return []

    async def aclose(self) -> None:
        """End all waiting."""
        for wait in tuple(self._waits.values()):
            wait.cancel()
        await asyncio.gather(*self._waits.values(), return_exceptions=True)

    def _wait(self, url: str, limit_s: float) -> asyncio.Task[str]:
        wait = self._waits[url] = asyncio.create_task(self._lists_models(url, time.monotonic() + limit_s))
        wait.add_done_callback(lambda _: self._waits.pop(url, None))
        return wait

    async def _lists_models(self, url: str, until_s: float) -> str:
        """The URL once it lists models; empty where it does not in time."""
        # Imported here: only a gateway has requests to repeat.
        from yarl import URL

        from router.dispatch.http1 import Client, target_of

        client, target = Client(), target_of(URL(url))
        try:
            while (now_s := time.monotonic()) < until_s:
                with contextlib.suppress(OSError):
                    async with asyncio.timeout(_TIMEOUT_S):
                        answer = await client.send("GET", target, {}, connect_s=_TIMEOUT_S, is_alone=True)
                    answer.close()
                    # One that wants an API key runs, too.
                    if answer.status < 500:
                        return url
                self._gone_s[url] = time.monotonic()
                await asyncio.sleep(min(_PAUSE_S, max(until_s - now_s, 0.0)))
        finally:
            await client.aclose()
        self._answered.discard(url)
        return ""


def _shows_restart(outcome: UpstreamResponse | UpstreamError | BusyError) -> bool:
    match outcome:
        case UpstreamError():
            return outcome.fault in CONNECTION_FAULTS
        case BusyError():
            # All cool down since their servers have gone.
            return outcome.status != 429
        case _:
            return _says_gone(outcome)


def _says_gone(outcome: UpstreamResponse | UpstreamError | BusyError) -> bool:
    """Whether a server has refused the connection, or is loading its model."""
    if isinstance(outcome, UpstreamResponse):
        return outcome.status == 503 and isinstance(outcome.body, bytes) and _LOADING in outcome.body
    return isinstance(outcome, UpstreamError) and outcome.fault == "unreachable"
