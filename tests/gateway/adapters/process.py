"""`route serve` in a process of its own in front of scripted servers, with its configuration in files."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import aiohttp

from router.cards import Card
from router.gateway.config.keys import hash_of
from tests.faults.process import route_serve, served, write_cards

CHAT = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}


@contextlib.contextmanager
def gateway(
    folder: Path,
    cards: Iterable[Card],
    keys: Iterable[str] = (),
    arguments: Iterable[str] = (),
    operators: Iterable[str] = (),
    **settings: Any,
) -> Iterator[str]:
    """A gateway over `cards`; the value is its URL. The key `ops` is `pv-ops`, and so on; an operator's is in both."""
    folder.mkdir(parents=True, exist_ok=True)
    if keys := tuple(keys):
        known = set(operators)
        entries = [{"id": name, "hash": hash_of(f"pv-{name}"), "operator": name in known} for name in keys]
        (folder / "keys.yaml").write_text(json.dumps({"keys": entries}))
    with served(route_serve(folder, cards, settings, arguments)) as (url, _):
        yield url


def rewrite(folder: Path, cards: Iterable[Card], without: Iterable[str] = ()) -> None:
    """Change the cards of a running gateway."""
    for name in without:
        (folder / "cards" / f"{name}.yaml").unlink()
    write_cards(folder / "cards", cards)


class Client:
    """Requests to a gateway, many at a time."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self._url = session, url

    async def chat(self, model: str, key: str = "", **fields: Any) -> tuple[int, str]:
        """The status, and the text or the error's message."""
        headers = {"authorization": f"Bearer pv-{key}"} if key else {}
        body = {**CHAT, "model": model, **fields}
        async with self._session.post(f"{self._url}/v1/chat/completions", json=body, headers=headers) as response:
            answer = await response.json()
            if response.status == 200:
                return 200, answer["choices"][0]["message"]["content"]
            return response.status, answer["error"]["message"]

    async def readiness(self) -> int:
        """The status of /readyz."""
        async with self._session.get(f"{self._url}/readyz") as response:
            return response.status

    async def dropped(self, model: str, **fields: Any) -> str:
        """The names of the fields that were left out of a request."""
        body = {**CHAT, "model": model, **fields}
        async with self._session.post(f"{self._url}/v1/chat/completions", json=body) as response:
            return response.headers.get("x-route-dropped", "")

    async def held(self, key: str = "") -> dict[str, list[str]]:
        """The cards that each server holds."""
        headers = {"authorization": f"Bearer pv-{key}"} if key else {}
        async with self._session.get(f"{self._url}/adapters", headers=headers) as response:
            servers = (await response.json())["servers"]
        return {server["server"]: [each["card"] for each in server["adapters"]] for server in servers}

    async def metrics(self, key: str = "") -> dict[str, float]:
        """The samples of all metrics of adapters, by name and labels."""
        headers = {"authorization": f"Bearer pv-{key}"} if key else {}
        async with self._session.get(f"{self._url}/metrics", headers=headers) as response:
            lines = (await response.text()).splitlines()
        found = (line.rpartition(" ") for line in lines if line.startswith("pulvinar_adapter"))
        return {name: float(value) for name, _, value in found}


@contextlib.asynccontextmanager
async def client_of(url: str) -> AsyncIterator[Client]:
    """A client of the gateway at `url`."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), trust_env=False) as session:
        yield Client(session, url)


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 8.0) -> bool:
    """Whether an asynchronous condition becomes true within `seconds`."""
    deadline = time.monotonic() + seconds
    while not (met := await condition()) and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    return bool(met)
