"""What could be called now: credentials that are set, and servers that answer on this machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
from msgspec import Struct

from router import settings
from router.cards import Card
from router.dispatch.dispatcher import why_uncallable
from router.dispatch.relay import models_url

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


def local_servers() -> tuple[LocalServer, ...]:
    """The well-known model servers that answer now."""
    return tuple(server for server in _ask(_KNOWN_SERVERS).values() if server is not None)


def unavailable_cards(cards: Iterable[Card]) -> dict[str, str]:
    """Why each card that cannot be called now cannot; cards that can are left out.

    Servers on this machine are asked for their models. Servers elsewhere are taken to be up: only a call would tell.
    """
    catalog = tuple(cards)
    urls = {card.id: models_url(card) for card in catalog}
    servers = _ask({url for url in urls.values() if url is not None and settings.on_this_machine(url)})
    reasons = ((card.id, why_uncallable(card) or _silence(card, urls[card.id], servers)) for card in catalog)
    return {name: reason for name, reason in reasons if reason is not None}


def _silence(card: Card, url: str | None, servers: Mapping[str, LocalServer | None]) -> str | None:
    if url is None or url not in servers:
        return None
    server, port = servers[url], urlsplit(url).port or 80
    if server is None:
        return f"no server answers on port {port} of this machine"
    if not {card.model, f"{card.model}:latest"} & set(server.models):
        return f"the server on port {port} of this machine does not list {card.model}"
    return None


def _ask(urls: Iterable[str]) -> dict[str, LocalServer | None]:
    wanted = sorted(urls)
    if not wanted:
        return {}
    with (
        httpx.Client(timeout=_TIMEOUT_S, trust_env=False) as client,
        ThreadPoolExecutor(max_workers=min(8, len(wanted))) as pool,
    ):
        return dict(zip(wanted, pool.map(lambda url: _ask_one(client, url), wanted), strict=True))


def _ask_one(client: httpx.Client, url: str) -> LocalServer | None:
    try:
        answer = client.get(url)
        entries = answer.json()["data"] if answer.status_code == httpx.codes.OK else None
        owners = {str(entry.get("owned_by")) for entry in entries or ()}
        models = tuple(str(entry["id"]) for entry in entries or ())
    except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if entries is None:
        return None
    name = next((_SIGNATURES[owner] for owner in owners if owner in _SIGNATURES), None)
    return LocalServer(url, name or _KNOWN_SERVERS.get(url, "a server"), models)
