"""The list of model names: `/v1/models`."""

from __future__ import annotations

import calendar
import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from router.cards import Catalog
from router.decide.model_name import is_auto, is_plan
from router.decide.plans.catalog import NO_PLANS, Plans
from router.decide.plans.spec import PREFIX
from router.decide.policy import Policies
from router.errors import FieldError
from router.gateway.config.keys import NO_KEYS, Key, Keys
from router.gateway.routing.plan_names import plans_of, unknown_model

_MAX_SHOWN_CHARACTERS = 100
_DEFAULT_LIMIT, _MAX_LIMIT = 20, 1000


class Page(Struct, frozen=True):
    """Which part of a list Anthropic's clients ask for: at most `limit` names after or before one of them."""

    limit: int = _DEFAULT_LIMIT
    after_id: str | None = None
    before_id: str | None = None


def read_page(query: Mapping[str, str]) -> Page:
    """The page that a query asks for. Raises FieldError."""
    limit = query.get("limit", str(_DEFAULT_LIMIT))
    if not limit.isascii() or not limit.isdecimal() or not 1 <= int(limit[:9]) <= _MAX_LIMIT:
        raise FieldError("limit", f"must be a whole number between 1 and {_MAX_LIMIT}")
    return Page(int(limit), query.get("after_id") or None, query.get("before_id") or None)


class ModelList:
    """The names that `model` may have: `auto`, one for each policy and plan, every alias, every card that a key may
    use.
    """

    def __init__(
        self,
        catalog: Catalog,
        policies: Policies,
        aliases: Mapping[str, str],
        plans: Plans = NO_PLANS,
        keys: Keys = NO_KEYS,
    ) -> None:
        self._keys = keys
        self._plans, self._all_policies = plans, policies
        self._policies = {"auto": "", **{f"auto/{id_}": id_ for id_ in policies.ids}}
        self._cards = {
            card.id: _entry(card.id, calendar.timegm(card.released.timetuple()) if card.released else 0, card.provider)
            for card in catalog
            if card.withheld is None
        }
        self._aliases = aliases
        # The card of an alias; None where its target is chosen by a policy.
        self._alias_cards = {
            name: None if is_auto(target) or catalog.position(target) is None else catalog.named(target).id
            for name, target in aliases.items()
        }
        self._other_names = {alias: card.id for card in catalog if card.withheld is None for alias in card.aliases}

    def listed(self, key: Key | None) -> bytes:
        """The list as JSON."""
        entries = [
            *(_entry(name, 0, "pulvinar") for name, policy in self._policies.items() if _allows(key, policy)),
            *(_entry(name, 0, "pulvinar") for name in (*self._plans_of(key), *self._aliases_of(key))),
            *(entry for id_, entry in self._cards.items() if self._keys.allows_naming(key, id_)),
        ]
        return msgspec.json.encode({"object": "list", "data": entries})

    def names(self, key: Key | None) -> tuple[str, ...]:
        """The names that a key may use, in the order of the list."""
        return (
            *(name for name, policy in self._policies.items() if _allows(key, policy)),
            *self._plans_of(key),
            *self._aliases_of(key),
            *self._keys.nameable(key, self._cards),
        )

    def _plans_of(self, key: Key | None) -> tuple[str, ...]:
        return tuple(
            f"{PREFIX}{name}" for name in plans_of(key, self._all_policies, self._plans, self._keys.hidden(key))
        )

    def _aliases_of(self, key: Key | None) -> tuple[str, ...]:
        return tuple(name for name in self._aliases if self._allows_alias(key, name))

    def _allows_alias(self, key: Key | None, name: str) -> bool:
        # A pattern's names are in no list.
        target = self._aliases[name]
        if is_plan(target) and target.partition("[")[0] not in self._plans_of(key):
            return False
        card = self._alias_cards.get(name)
        return card is None or (card in self._cards and self._keys.allows_naming(key, card))

    def page(self, key: Key | None, page: Page) -> bytes:
        """A page of the list in Anthropic's shape, as JSON. Raises FieldError for a name that is not in the list."""
        names = self.names(key)
        start, end = 0, len(names)
        if page.after_id is not None:
            start = _position(names, page.after_id, "after_id") + 1
        if page.before_id is not None:
            end = _position(names, page.before_id, "before_id")
            start = max(start, end - page.limit)
        shown = names[start:end][: page.limit]
        has_more = start > 0 if page.before_id is not None else end > start + len(shown)
        return msgspec.json.encode(
            {
                "data": [self._anthropic_entry(name) for name in shown],
                "has_more": has_more,
                "first_id": shown[0] if shown else None,
                "last_id": shown[-1] if shown else None,
            }
        )

    def anthropic_one(self, name: str, key: Key | None) -> bytes:
        """Like `one`, in Anthropic's shape."""
        self.one(name, key)
        return msgspec.json.encode(self._anthropic_entry(self._other_names.get(name, name)))

    def _anthropic_entry(self, name: str) -> dict[str, Any]:
        created = self._cards[name]["created"] if name in self._cards else 0
        moment = datetime.datetime.fromtimestamp(created, datetime.UTC)
        created_at = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "type": "model",
            "id": name,
            "display_name": name,
            "created_at": created_at,
            # Required by Anthropic's SDK.
            "lifecycle": "active",
        }

    def one(self, name: str, key: Key | None) -> bytes:
        """The entry of this name or alias as JSON. Raises UnknownModelError, which suggests a similar name."""
        card = self._other_names.get(name, name)
        if (
            (name in self._aliases and self._allows_alias(key, name))
            or (name in self._policies and _allows(key, self._policies[name]))
            or name in self._plans_of(key)
        ):
            return msgspec.json.encode(_entry(name, 0, "pulvinar"))
        if card in self._cards and self._keys.allows_naming(key, card):
            return msgspec.json.encode(self._cards[card])
        raise unknown_model(name, self.names(key))


def _position(names: Sequence[str], name: str, parameter: str) -> int:
    if name not in names:
        raise FieldError(parameter, f'is "{name[:_MAX_SHOWN_CHARACTERS]}", which is not in the list')
    return names.index(name)


def _allows(key: Key | None, policy: str) -> bool:
    return key is None or not policy or key.allows_policy(policy)


def _entry(name: str, created: int, owner: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": owner}
