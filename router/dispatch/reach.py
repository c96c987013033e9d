"""What could be called now: credentials that are set, and servers that answer on this machine."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
from msgspec import Struct

from router import settings
from router.cards import Card

_TIMEOUT_S = 0.7
# The ports that the servers listen on unless told otherwise, and how each signs its models.
_KNOWN_SERVERS = {
    "http://127.0.0.1:11434/v1": "Ollama",
    "http://127.0.0.1:8000/v1": "vLLM",
    "http://127.0.0.1:8080/v1": "llama.cpp",
    "http://127.0.0.1:1234/v1": "LM Studio",
}
_SIGNATURES = {"library": "Ollama", "vllm": "vLLM", "llamacpp": "llama.cpp", "organization_owner": "LM Studio"}


class LocalServer(Struct, frozen=True):
    """A server that answers on this machine, and the models it lists."""

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
    servers = _ask({card.base_url for card in catalog if card.base_url and is_on_this_machine(card.base_url)})
    reasons = ((card.id, _reason(card, servers)) for card in catalog)
    return {name: reason for name, reason in reasons if reason is not None}


def is_on_this_machine(url: str) -> bool:
    """Whether the URL's host is the loopback interface."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _reason(card: Card, servers: Mapping[str, LocalServer | None]) -> str | None:
    missing = settings.missing_credentials(card)
    if missing is not None or card.base_url not in servers:
        return missing
    server = servers[card.base_url]
    port = urlsplit(card.base_url).port or 80
    if server is None:
        return f"no server answers on port {port} of this machine"
    if card.model not in server.models and card.id not in server.models:
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
        answer = client.get(f"{url.rstrip('/')}/models")
        entries = answer.json()["data"] if answer.status_code == httpx.codes.OK else None
        owners = {str(entry.get("owned_by")) for entry in entries or ()}
        models = tuple(str(entry["id"]) for entry in entries or ())
    except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if entries is None:
        return None
    name = next((_SIGNATURES[owner] for owner in owners if owner in _SIGNATURES), None)
    return LocalServer(url, name or _KNOWN_SERVERS.get(url, "a server"), models)
