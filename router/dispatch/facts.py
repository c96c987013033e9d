"""What a card with one server says of that server, found out once for all calls."""

from __future__ import annotations

from msgspec import Struct

from router.cards.schema import Card
from router.cards.servers import DIRECT
from router.dispatch.connection.urls import models_url
from router.dispatch.providers import base_url, dialect_of, native_apis, uses_litellm
from router.formats.net import is_loopback
from router.types import Api
from router.wire import Dialect

_MOST = 4096


class Facts(Struct, frozen=True, eq=False):
    """`apis` are the APIs that the server supports without conversion. `by_litellm`: chat requests go through litellm.
    `is_direct`: it is never called by way of a proxy. `local_models_url` is where a server on this machine lists its
    models; None for every other.
    """

    card: Card
    apis: frozenset[Api]
    base_url: str | None
    by_litellm: bool
    dialect: Dialect
    is_direct: bool
    local_models_url: str | None


# Cards do not change, and to compare one by its value would take longer than to find out its facts.
_BY_IDENTITY: dict[int, Facts] = {}


def server_facts_of(card: Card) -> Facts:
    """The facts of a card."""
    facts = _BY_IDENTITY.get(id(card))
    if facts is None or facts.card is not card:
        if len(_BY_IDENTITY) >= _MOST:
            # Otherwise those of cards that have been edited would stay.
            _BY_IDENTITY.clear()
        url = base_url(card)
        is_local = is_loopback(url)
        facts = Facts(
            card,
            native_apis(card),
            url,
            uses_litellm(card),
            dialect_of(card),
            is_local or card.proxy == DIRECT,
            models_url(card) if is_local else None,
        )
        _BY_IDENTITY[id(card)] = facts
    return facts
