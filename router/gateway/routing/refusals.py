"""Which requests the upstreams of cards do not support, before any is called."""

from __future__ import annotations

from collections.abc import Mapping

from router.cards import Catalog
from router.cards.schema import Card
from router.dispatch.configured import unsupported_api
from router.dispatch.providers import dialect_of, native_apis
from router.types import Api
from router.wire import ChatRequest
from router.wire.dialect import may_be_refused, refusal


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
