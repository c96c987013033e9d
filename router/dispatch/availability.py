"""Which cards can be called now: their credentials are set, and servers on this machine list their models."""

from __future__ import annotations

import enum
import socket
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct
from yarl import URL

from router.cards import Card
from router.dispatch.configured import missing_configuration
from router.dispatch.connection.urls import models_url
from router.dispatch.pool.deployment import deployments_of
from router.dispatch.providers import api_key
from router.formats.json import json_or_none
from router.formats.net import is_loopback, parse_url

if TYPE_CHECKING:
    # Imported where a server is asked, which takes as long as a decision on the command line.
    from router.dispatch.http1 import Client

_TIMEOUT_S = 0.7
_MAX_LIST_BYTES = 8 * 2**20
# The default ports of well-known servers, and the `owned_by` with which each lists its models.
_KNOWN_SERVERS = {
    "http://127.0.0.1:11434/v1/models": "Ollama",
    "http://127.0.0.1:8000/v1/models": "vLLM",
    "http://127.0.0.1:8080/v1/models": "llama.cpp",
    "http://127.0.0.1:1234/v1/models": "LM Studio",
}
_KIND_BY_OWNER = {
    "library": "Ollama",
    "vllm": "vLLM",
    "llamacpp": "llama.cpp",
    "organization_owner": "LM Studio",
}
_UNKNOWN_KIND = "a server"


class ListingProblem(enum.Enum):
    """Why a server did not list its models."""

    NO_RESPONSE = "no server responds on port {port} of this machine"
    SLOW = "the server on port {port} of this machine does not list its models in time"
    KEY_REJECTED = "the server on port {port} of this machine rejects the API key"
    KEY_REQUIRED = "the server on port {port} of this machine requires an API key; set api_key_env in the card"


class ModelServer(Struct, frozen=True):
    """A server on this machine: the URL of its model list, its kind such as vLLM, and the models that it lists.

    `problem` is why it could not be listed; it then has no models. `is_missed`: it did not respond to the last probe,
    so the models are those that it listed before.
    """

    url: str
    kind: str
    models: tuple[str, ...]
    problem: ListingProblem | None = None
    is_missed: bool = False

    def missing(self, model: str) -> str | None:
        """Why `model` cannot be called at this server, or None where it can."""
        if self.problem is not None:
            return self.silence
        if {model, f"{model}:latest"}.isdisjoint(self.models):
            return f"the server on port {self._port} of this machine does not list {model}"
        return None

    @property
    def silence(self) -> str | None:
        """Why the server could not be listed, in words; None where it could."""
        return None if self.problem is None else self.problem.value.format(port=self._port)

    @property
    def _port(self) -> int | None:
        parsed = parse_url(self.url)
        return None if parsed is None else parsed.port


class ServerInventory(Struct, frozen=True):
    """What the servers on this machine list, by the names of the deployments that they serve.

    Deployments that run elsewhere, and those of cards with missing configuration, are left out.
    """

    servers: Mapping[str, ModelServer] = {}

    def unavailable_cards(self, cards: Iterable[Card]) -> dict[str, str]:
        """Why each card that cannot be called now cannot; cards that can are left out.

        Servers elsewhere count as running, since only a call could show that they are not.
        """
        reasons = {card.id: self._unavailable(card) for card in cards}
        return {card: reason for card, reason in reasons.items() if reason is not None}

    def with_known(self, before: ServerInventory) -> ServerInventory:
        """This inventory, in which a server that is only too slow now, or does not respond for the first time, lists
        what it listed before.

        A server that is busy with other clients' requests is running, and one that restarts is back soon; calls show
        whether it fails.
        """
        known = {
            name: kept
            for name, server in self.servers.items()
            if name in before.servers and (kept := _kept(server, before.servers[name])) is not None
        }
        return ServerInventory({**self.servers, **known}) if known else self

    def _unavailable(self, card: Card) -> str | None:
        problem = missing_configuration(card)
        if problem is not None:
            return problem
        problems: list[str | None] = []
        for deployment in deployments_of(card):
            server = self.servers.get(deployment.name)
            problems.append(None if server is None else _problem_at(server, deployment.card))
        # One deployment that can be called is enough.
        return None if None in problems else problems[0]


def _problem_at(server: ModelServer, card: Card) -> str | None:
    """Why a card cannot be called at its server. An adapter is loaded when it is needed, and LoRAX lists no models."""
    if card.adapters is None:
        return server.missing(card.model)
    if card.adapters.server == "lorax":
        return None
    return server.silence if card.kind == "adapter" else server.missing(card.model)


def _kept(server: ModelServer, before: ModelServer) -> ModelServer | None:
    if server.problem is ListingProblem.SLOW:
        return before
    is_first = server.problem is ListingProblem.NO_RESPONSE and before.problem is None and not before.is_missed
    return msgspec.structs.replace(before, is_missed=True) if is_first else None


async def list_servers(cards: Iterable[Card], timeout_s: float | None = None) -> ServerInventory:
    """Ask the servers on this machine that the cards need for their models, all at once.

    A server that has not answered after `timeout_s` seconds counts as not running. By default, it has 0.7 seconds to
    accept the connection and begin its answer, and as long for each further part.
    """
    requests = _requests_of(cards)
    servers = await _list_all(requests.values(), timeout_s)
    return ServerInventory({name: servers[request] for name, request in requests.items()})


def silent_inventory(cards: Iterable[Card]) -> ServerInventory | None:
    """What `list_servers` returns where none of the servers accepts a connection; None where one does.

    It spares the command line the HTTP client, whose import takes longer than a decision.
    """
    requests = _requests_of(cards)
    addresses = {(url.host, url.port) for url in map(URL, dict.fromkeys(url for url, _ in requests.values()))}
    if any(_accepts_connections(str(host), port) for host, port in addresses):
        return None
    kinds = {url: _KNOWN_SERVERS.get(url, _UNKNOWN_KIND) for url, _ in requests.values()}
    silent = {url: ModelServer(url, kind, (), ListingProblem.NO_RESPONSE) for url, kind in kinds.items()}
    return ServerInventory({name: silent[url] for name, (url, _) in requests.items()})


def _accepts_connections(host: str, port: int | None) -> bool:
    try:
        socket.create_connection((host, port or 80), timeout=_TIMEOUT_S).close()
    except TimeoutError:
        # The HTTP client finds out what is wrong.
        return True
    except OSError:
        return False
    return True


def _requests_of(cards: Iterable[Card]) -> dict[str, tuple[str, str | None]]:
    """The URL of the model list and the API key of each server on this machine, by the names of deployments there."""
    requests: dict[str, tuple[str, str | None]] = {}
    for card in cards:
        if missing_configuration(card) is not None:
            continue
        for deployment in deployments_of(card):
            url = models_url(deployment.card)
            if url is not None and is_loopback(url):
                requests[deployment.name] = url, api_key(deployment.card)
    return requests


async def well_known_servers(also: Iterable[str] = ()) -> tuple[ModelServer, ...]:
    """The servers that respond now on the default ports of Ollama, vLLM, llama.cpp and LM Studio, and at the URLs of
    model lists in `also`.
    """
    servers = await _list_all((url, None) for url in (*_KNOWN_SERVERS, *also))
    return tuple(server for server in servers.values() if server.problem is None)


async def _list_all(
    requests: Iterable[tuple[str, str | None]], timeout_s: float | None = None
) -> dict[tuple[str, str | None], ModelServer]:
    """The server behind each pair of URL and API key. Every pair is requested once."""
    unique = tuple(dict.fromkeys(requests))
    if not unique:
        return {}
    import asyncio

    from router.dispatch.http1 import Client

    client = Client()
    try:
        servers = await asyncio.gather(*(_list_one(client, url, key, timeout_s) for url, key in unique))
    finally:
        await client.aclose()
    return dict(zip(unique, servers, strict=True))


async def _list_one(client: Client, url: str, key: str | None, timeout_s: float | None) -> ModelServer:
    import asyncio

    kind = _KNOWN_SERVERS.get(url, _UNKNOWN_KIND)
    try:
        async with asyncio.timeout(timeout_s):
            status, body = await _get(client, url, key)
        if status in (401, 403):
            problem = ListingProblem.KEY_REJECTED if key else ListingProblem.KEY_REQUIRED
            return ModelServer(url, kind, (), problem)
        if status != 200:
            return ModelServer(url, kind, (), ListingProblem.NO_RESPONSE)
        entries = json_or_none(body)["data"] or ()
        owners = {str(entry.get("owned_by")) for entry in entries}
        models = tuple(str(entry["id"]) for entry in entries)
    except TimeoutError:
        return ModelServer(url, kind, (), ListingProblem.SLOW)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ModelServer(url, kind, (), ListingProblem.NO_RESPONSE)
    known_kind = next((_KIND_BY_OWNER[owner] for owner in owners if owner in _KIND_BY_OWNER), None)
    return ModelServer(url, known_kind or kind, models)


async def _get(client: Client, url: str, key: str | None) -> tuple[int, bytes]:
    """The status of a URL, and its body where the status is 200. Raises OSError, of which TimeoutError is one, and
    ValueError.
    """
    import asyncio

    from router.dispatch.bodies.reader import BodyReader
    from router.dispatch.http1 import target_of

    headers = {"accept": "application/json", "accept-encoding": "identity"}
    if key:
        headers["authorization"] = f"Bearer {key}"
    async with asyncio.timeout(_TIMEOUT_S):
        answer = await client.send("GET", target_of(URL(url)), headers, connect_s=_TIMEOUT_S, is_alone=True)
    try:
        if answer.status != 200:
            # Nothing of its body is needed, and it may never end.
            return answer.status, b""
        reader, body = BodyReader(answer.read, answer.headers.get("content-encoding", "")), bytearray()
        while True:
            async with asyncio.timeout(_TIMEOUT_S):
                part = await reader.read()
            body += part
            if not part:
                return answer.status, bytes(body)
            if len(body) > _MAX_LIST_BYTES:
                raise ValueError("the list is too long")
    finally:
        answer.close()
