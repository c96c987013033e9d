"""The list of model names: `/v1/models`."""

from __future__ import annotations

import calendar
from collections.abc import Mapping
from typing import Any

import msgspec

from router.cards import Catalog
from router.decide.policy import Policies
from router.gateway.config.keys import Key
from router.gateway.routing.selection import unknown_model


class ModelList:
    """The names that `model` may have: `auto`, one for each policy, every alias, every card that a key may use."""

    def __init__(self, catalog: Catalog, policies: Policies, aliases: Mapping[str, str]) -> None:
        self._policies = {"auto": "", **{f"auto/{id_}": id_ for id_ in policies.ids}}
        self._cards = {
            card.id: _entry(card.id, calendar.timegm(card.released.timetuple()) if card.released else 0, card.provider)
            for card in catalog
        }
        self._aliases = aliases
        self._other_names = {alias: card.id for card in catalog for alias in card.aliases}

    def listed(self, key: Key | None) -> bytes:
        """The list as JSON."""
        entries = [
            *(_entry(name, 0, "pulvinar") for name, policy in self._policies.items() if _allows(key, policy)),
            *(_entry(name, 0, "pulvinar") for name in self._aliases),
            *(entry for id_, entry in self._cards.items() if key is None or key.allows_card(id_)),
        ]
        return msgspec.json.encode({"object": "list", "data": entries})

    def names(self, key: Key | None) -> tuple[str, ...]:
        """The names that a key may use, in the order of the list."""
        return (
            *(name for name, policy in self._policies.items() if _allows(key, policy)),
            *self._aliases,
            *(id_ for id_ in self._cards if key is None or key.allows_card(id_)),
        )

    def one(self, name: str, key: Key | None) -> bytes:
        """The entry of this name or alias as JSON. Raises UnknownModelError, which suggests a similar name."""
        card = self._other_names.get(name, name)
        if name in self._aliases or (name in self._policies and _allows(key, self._policies[name])):
            return msgspec.json.encode(_entry(name, 0, "pulvinar"))
        if card in self._cards and (key is None or key.allows_card(card)):
            return msgspec.json.encode(self._cards[card])
        raise unknown_model(name, (*self._policies, *self._aliases, *self._cards), key)


def _allows(key: Key | None, policy: str) -> bool:
    return key is None or not policy or key.allows_policy(policy)


def _entry(name: str, created: int, owner: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": owner}
