"""The servers that hold adapters, and the adapters of each, by the cards."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from router.cards.adapter.serving import AdapterServer
from router.cards.schema import Card
from router.dispatch.lora.http import ServerClient
from router.dispatch.lora.naming import Naming, naming_of
from router.dispatch.pool.deployment import Deployment, deployments_of
from router.dispatch.providers import base_url

_LOG = logging.getLogger(__name__)


def server_key(deployment: Deployment) -> str:
    """The name of the server of a deployment: its base URL, which the adapters of one base share."""
    return base_url(deployment.card) or ""


class Place:
    """One server, called as its `card` says, which has `settings` for adapters.

    `cards` are those of its adapters by the names that the server has for them. `is_known`: it has been asked what it
    holds since this process began, and since it was last seen to have restarted, or to have been changed by others.
    `changes`: how often others were seen to have changed it.
    """

    def __init__(self, server: str, card: Card, settings: AdapterServer, naming: Naming, client: ServerClient) -> None:
        self.server, self.card, self.settings, self.naming = server, card, settings, naming
        self.api = naming.api(client, card)
        self.cards: dict[str, Card] = {}
        self.is_known = False
        self.changes = 0

    @property
    def loads(self) -> bool:
        """Whether the gateway loads and unloads adapters there."""
        return self.settings.manage and self.api.loads

    @property
    def slots(self) -> int:
        """How many adapters it holds at once."""
        return len(self.card.lora_slots or ()) if self.settings.slots is None else self.settings.slots

    @property
    def pinned(self) -> frozenset[str]:
        """The names of the adapters that stay."""
        return frozenset(name for name, card in self.cards.items() if card.id in self.settings.pinned)

    def path_of(self, name: str) -> str:
        """Where the server finds the weights of an adapter; empty where its card does not say."""
        card = self.cards.get(name)
        return "" if card is None or card.lora is None else card.lora.path or ""

    def name_of(self, adapter: str) -> str | None:
        """The name of the adapter that has this card id, or this name; None where there is none."""
        named = (name for name, card in self.cards.items() if adapter in (card.id, name))
        return next(named, None)


def places_of(cards: Iterable[Card], client: ServerClient, before: Mapping[str, Place]) -> dict[str, Place]:
    """The servers of these cards. What is known of those in `before` stays known, unless the weights of an adapter
    have moved.
    """
    places: dict[str, Place] = {}
    # The servers are called as the base's card says.
    for card in sorted(cards, key=lambda card: card.kind == "adapter"):
        naming = naming_of(card)
        if card.adapters is None or naming is None or card.withheld is not None:
            continue
        for deployment in deployments_of(card):
            server = server_key(deployment)
            place = places.get(server)
            if place is None:
                place = places[server] = Place(server, deployment.card, card.adapters, naming, client)
            if card.kind == "adapter":
                _add(place, naming.name_of(card), card)
    for server, place in places.items():
        earlier = before.get(server)
        if earlier is not None and earlier.settings.server == place.settings.server:
            moved = any(
                earlier.path_of(name) != place.path_of(name) for name in place.cards.keys() & earlier.cards.keys()
            )
            place.is_known = earlier.is_known and not moved
            place.changes = earlier.changes
    return places


def _add(place: Place, name: str, card: Card) -> None:
    other = place.cards.setdefault(name, card)
    if other.id != card.id and (other.lora and other.lora.path) != (card.lora and card.lora.path):
        _LOG.warning(
            'the cards "%s" and "%s" call different weights "%s"; only those of the first are loaded',
            other.id,
            card.id,
            name,
        )
