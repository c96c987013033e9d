"""What could be called now: credentials that are set, and servers that answer on this machine."""

from __future__ import annotations

import enum
import functools
import ssl
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
from msgspec import Struct

from router.cards import Card
from router.dispatch.deployments import deployments_of
from router.dispatch.dispatcher import missing_configuration
from router.dispatch.providers import api_key
from router.dispatch.relay import models_url
from router.formats.net import is_loopback

_TIMEOUT_S = 0.7
# The ports that the servers listen on unless told otherwise, and how each signs its models.
_KNOWN_SERVERS = {
    "http://127.0.0.1:11434/v1/models": "Ollama",
    "http://127.0.0.1:8000/v1/models": "vLLM",
    "http://127.0.0.1:8080/v1/models": "llama.cpp",
    "http://127.0.0.1:1234/v1/models": "LM Studio",
}
_SIGNATURES = {
    "library": "Ollama",
    "vllm": "vLLM",
    "llamacpp": "llama.cpp",
    "organization_owner": "LM Studio",
}


class LocalServer(Struct, frozen=True):
    """A server that answers on this machine, where it lists its models, and these."""

    url: str
    name: str
    models: tuple[str, ...]


class _Trouble(enum.Enum):
    """Why a server that was asked for its models did not list them."""

    SILENT = "no server answers on port {port} of this machine"
    REFUSES = "the server on port {port} of this machine refuses the key"
    WANTS_A_KEY = "the server on port {port} of this machine wants a key, and the card states no api_key_env"


_Place = tuple[str, str | None]
"""Where models are listed, and the key to ask with."""


def local_servers() -> tuple[LocalServer, ...]:
    """The well-known model servers that answer now."""
    found = _ask((url, None) for url in _KNOWN_SERVERS).values()
    return tuple(server for server in found if isinstance(server, LocalServer))


def unavailable_cards(cards: Iterable[Card]) -> dict[str, str]:
    """Why each card that cannot be called now cannot; cards that can are left out.

    Servers on this machine are asked for their models. Servers elsewhere are taken to be up: only a call would tell.
    """
    catalog = tuple(cards)
    reasons = {card.id: missing_configuration(card) for card in catalog}
    places = {
        card.id: tuple(_place(deployment.card) for deployment in deployments_of(card))
        for card in catalog
        if reasons[card.id] is None
    }
    servers = _ask({place for several in places.values() for place in several if place is not None})
    for card in catalog:
        absences = [place and _absence(card, place[0], servers[place]) for place in places.get(card.id, ())]
        # One server that may answer is enough.
        if absences and None not in absences:
            reasons[card.id] = absences[0]
    return {name: reason for name, reason in reasons.items() if reason is not None}


def _place(card: Card) -> _Place | None:
    url = models_url(card)
    return (url, api_key(card)) if url is not None and is_loopback(url) else None


def _absence(card: Card, url: str, server: LocalServer | _Trouble) -> str | None:
    port = urlsplit(url).port or 80
    if isinstance(server, _Trouble):
        return server.value.format(port=port)
    if not {card.model, f"{card.model}:latest"} & set(server.models):
        return f"the server on port {port} of this machine does not list {card.model}"
    return None


def _ask(places: Iterable[_Place]) -> dict[_Place, LocalServer | _Trouble]:
    wanted = tuple(places)
    if not wanted:
        return {}
    with (
        httpx.Client(timeout=_TIMEOUT_S, trust_env=False, verify=_certificates()) as client,
        ThreadPoolExecutor(max_workers=min(8, len(wanted))) as pool,
    ):
        return dict(zip(wanted, pool.map(lambda place: _ask_one(client, *place), wanted), strict=True))


@functools.cache
def _certificates() -> ssl.SSLContext:
    # Reading them takes longer than asking every server.
    return httpx.create_ssl_context(trust_env=False)


def _ask_one(client: httpx.Client, url: str, key: str | None) -> LocalServer | _Trouble:
    try:
        answer = client.get(url, headers={"authorization": f"Bearer {key}"} if key else None)
        if answer.status_code in (401, 403):
            return _Trouble.REFUSES if key else _Trouble.WANTS_A_KEY
        if answer.status_code != httpx.codes.OK:
            return _Trouble.SILENT
        entries = answer.json()["data"] or ()
        owners = {str(entry.get("owned_by")) for entry in entries}
        models = tuple(str(entry["id"]) for entry in entries)
    except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError):
        return _Trouble.SILENT
    name = next((_SIGNATURES[owner] for owner in owners if owner in _SIGNATURES), None)
    return LocalServer(url, name or _KNOWN_SERVERS.get(url, "a server"), models)
