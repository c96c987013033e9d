"""What deployments share: the host of their server, and the key that they use there."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from msgspec import Struct

from router.cards.schema import Card
from router.dispatch.providers import base_url, key_variable
from router.formats.net import parse_url
from router.wire.errors import Fault, Kind

_LOG = logging.getLogger(__name__)
_REFUSALS: Mapping[Kind, str] = {
    "key": "refuses the key",
    "credit": "has no credit for the key",
    "permission": "does not permit this with the key",
}


class Account(Struct, frozen=True):
    """The key in the environment variable `variable`, at `host`."""

    host: str
    variable: str


class RefusedAccounts:
    """Accounts that a server refused lately. Times are in seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._until_s: dict[Account, float] = {}

    def add(self, card: Card, until_s: float) -> None:
        """The card's server has refused its account."""
        if (account := account_of(card)) is not None:
            self._until_s[account] = until_s

    def remove(self, card: Card) -> None:
        """The card's server accepts its account."""
        if self._until_s and (account := account_of(card)) is not None:
            self._until_s.pop(account, None)

    def has(self, card: Card, now_s: float) -> bool:
        """Whether calls with the card's account would probably be refused."""
        if not self._until_s:
            return False
        account = account_of(card)
        return account is not None and now_s < self._until_s.get(account, 0.0)


def host_of_server(card: Card) -> str:
    """The scheme, host and port of the card's server; the provider's name where litellm knows the address."""
    url = parse_url(base_url(card) or "")
    return f"{url.scheme}://{url.host}:{url.port}" if url is not None else card.provider


def account_of(card: Card) -> Account | None:
    """The account that pays for calls of the card; None where its server needs no key."""
    variable = key_variable(card)
    return None if variable is None else Account(host_of_server(card), variable)


def log_refusal(card: Card, fault: Fault) -> None:
    """Write to the operator's log which server refuses which key. Clients learn neither."""
    refusal = _REFUSALS.get(fault.kind)
    if refusal is None:
        _LOG.warning("%s: HTTP %d (%s)", card.id, fault.status, fault.kind)
        return
    variable = key_variable(card) or "no variable (the card names none)"
    host = host_of_server(card)
    _LOG.error("%s: %s %s in %s (HTTP %d); see route doctor", card.id, host, refusal, variable, fault.status)
