"""Whether a card can be called at all, as far as its configuration shows."""

from __future__ import annotations

from router.cards.schema import Card
from router.dispatch.connection.egress import missing_parts
from router.dispatch.pool.deployment import deployments_of
from router.dispatch.providers import base_url, missing_credentials, native_apis, unknown_provider, uses_litellm
from router.formats.net import parse_url
from router.types import Api


def missing_configuration(card: Card) -> str | None:
    """What is missing or wrong in the configuration of `card`, or None where any of its deployments can be called."""
    if card.withheld is not None:
        return f"{card.id} {card.withheld}"
    reasons = [_missing_configuration(deployment.card) for deployment in deployments_of(card)]
    return None if None in reasons else reasons[0]


def unsupported_api(card: Card, api: Api) -> str | None:
    """Why `card` cannot answer requests of `api`, or None where it can, natively or by conversion."""
    # Asked about every card of a catalogue, most of which are never called.
    native = native_apis(card)
    if api in native or uses_litellm(card) or ("chat" in native and api != "embeddings"):
        return None
    return f"its upstream supports {', '.join(sorted(native))}, and {api} cannot be converted to that"


def _missing_configuration(card: Card) -> str | None:
    if not uses_litellm(card):
        base = base_url(card)
        if base is None:
            return "the card has no base_url"
        if parse_url(base) is None:
            return "base_url is not a valid URL"
    return unknown_provider(card) or missing_credentials(card) or missing_parts(card) or _not_by_litellm(card)


def _not_by_litellm(card: Card) -> str | None:
    if uses_litellm(card) and (card.proxy is not None or card.ca_bundle is not None or card.http2):
        return f"proxy, ca_bundle and http2 of a card need a server called directly; litellm calls {card.provider}"
    return None
