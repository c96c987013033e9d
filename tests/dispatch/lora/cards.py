"""Cards of a base model and adapters on one server, and calls of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from router.cards import Card, Catalog
from router.cards.adapter.facts import Lora
from router.cards.adapter.serving import AdapterServer
from router.cards.servers import Place
from router.dispatch.bounds.timeouts import Timeouts
from router.dispatch.call import Call
from router.dispatch.lora.control import AdapterControl
from router.dispatch.pool.deployment import Deployment, deployments_of
from router.dispatch.relay import Relay
from router.dispatch.response import UpstreamResponse
from router.formats.quantities import Seconds
from tests.dispatch.lora.scripted import BASE

CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}


def make_cards(
    urls: str | Iterable[str],
    server: str = "vllm",
    *,
    adapters: Iterable[str] = ("a", "b", "c"),
    slots: int | None = 2,
    load_timeout_s: float = 5,
    paths: dict[str, str] | None = None,
    ttl_s: float | None = None,
    manage: bool = True,
    pinned: tuple[str, ...] = (),
    lora_slots: tuple[str, ...] | None = None,
    **base_facts: Any,
) -> dict[str, Card]:
    """The cards by id: `base`, and adapters whose weights are at /adapters/NAME."""
    places = [f"{url}/v1" for url in ([urls] if isinstance(urls, str) else urls)]
    where: dict[str, Any] = {"base_url": places[0]}
    if len(places) > 1:
        where = {"deployments": tuple(Place(url) for url in places)}
    settings = AdapterServer(server, slots, Seconds(load_timeout_s), manage, pinned)  # type: ignore[arg-type]
    base = Card("base", "hosted_vllm", BASE, adapters=settings, lora_slots=lora_slots, **where, **base_facts)
    cards = [
        Card(
            name,
            "hosted_vllm",
            name,
            kind="adapter",
            base="base",
            lora=Lora(path=(paths or {}).get(name, f"/adapters/{name}")),
            ttl_s=None if ttl_s is None else Seconds(ttl_s),
        )
        for name in adapters
    ]
    catalog = Catalog([base, *cards])
    return {card.id: catalog.named(card.id) for card in (base, *cards)}  # type: ignore[misc]


def at(card: Card, number: int = 0) -> Deployment:
    """A deployment of the card."""
    return deployments_of(card)[number]


class Calls:
    """Calls of adapters as a dispatcher makes them: hold, send, release. Use it on one event loop."""

    def __init__(self, cards: dict[str, Card]) -> None:
        self.cards = cards
        self.control = AdapterControl()
        self.control.configure(cards.values())
        self._relay = Relay(Timeouts())

    async def __aenter__(self) -> Calls:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.control.aclose()
        await self._relay.aclose()

    async def send(self, card: str, **fields: Any) -> UpstreamResponse:
        """The answer of the card's first deployment, whose adapter is held."""
        deployment, call = at(self.cards[card]), Call("chat", {**CHAT, **fields})
        hold = await self.control.hold(deployment, call)
        try:
            return await self._relay.send(deployment.card, call)
        finally:
            hold.release()

    async def text(self, card: str, **fields: Any) -> str:
        """The text of the answer."""
        response = await self.send(card, **fields)
        assert isinstance(response.body, bytes)
        return str(json.loads(response.body)["choices"][0]["message"]["content"])

    def held(self, server: str = "") -> list[str]:
        """The names of the adapters that are loaded, at the server of which this is a part of the URL."""
        return [each.name for one in self.control.status() if server in one.server for each in one.adapters]
