"""Which requests cards cannot answer, before any is called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from router.cards import Catalog
from router.cards.schema import Card
from router.dispatch.configured import unsupported_api
from router.dispatch.providers import dialect_of, native_apis
from router.gateway.config.keys import Key
from router.gateway.config.reload import ActiveConfig
from router.types import Api
from router.wire import ChatRequest
from router.wire.dialect import may_be_refused, refusal

# A key that uses several APIs has several entries, each as large as the number of cards that it may not use.
_MOST_KEPT = 2048


class _Kept(NamedTuple):
    """Reasons, and what they were found for."""

    unavailable: Mapping[str, str]
    cooling_down: Mapping[str, str]
    reasons: Mapping[str, str]


class UnavailableCards:
    """Why cards cannot answer requests, kept for each key as long as nothing changes."""

    def __init__(self) -> None:
        # Of one configuration: an earlier one, with all its cards, must not stay in memory for keys that ask no more.
        self._kept: tuple[ActiveConfig | None, dict[tuple[Api, bool, str], _Kept]] = None, {}

    def of(
        self,
        active: ActiveConfig,
        key: Key | None,
        api: Api,
        unavailable: Mapping[str, str],
        cooling_down: Mapping[str, str],
        *,
        native: bool,
    ) -> Mapping[str, str]:
        """The reasons by card for a request of this key; `native` as in `unsupported`. The same mapping object as long
        as `unavailable` is the same object and `cooling_down` equal. Threads may call it.
        """
        kept_under, kept = self._kept
        if kept_under is not active:
            kept = {}
            self._kept = active, kept
        place = api, native, "" if key is None else key.id
        known = kept.get(place)
        if known is not None and known.unavailable is unavailable and known.cooling_down == cooling_down:
            return known.reasons
        reasons = {**cooling_down, **unavailable}
        for card in active.router.catalog:
            if problem := unsupported(card, api, native=native):
                reasons[card.id] = problem
        if key is not None:
            reasons |= active.keys.denied(key)
        if len(kept) >= _MOST_KEPT:
            kept.clear()
        kept[place] = _Kept(unavailable, cooling_down, reasons)
        return reasons


def refused_by(catalog: Catalog, api: Api, chat: ChatRequest) -> Mapping[str, str]:
    """Why the servers of cards refuse a field or part of the request, which is rare, by the ids of the cards."""
    body = chat.chat_body
    if body is None or not may_be_refused(body):
        return {}
    cards = (card for card in catalog if api == "chat" or api not in native_apis(card))
    return {card.id: problem for card in cards if (problem := refusal(body, dialect_of(card)))}


def unsupported(card: Card, api: Api, *, native: bool) -> str | None:
    """Why a card's upstream cannot answer; `native`: the request cannot be converted. None where it can."""
    if native and api not in native_apis(card):
        return f"its upstream does not support {api}, and this request cannot be converted"
    return unsupported_api(card, api)
