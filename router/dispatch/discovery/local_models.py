"""Ask model servers for what they know about their models, and make cards of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import aiohttp
from msgspec import Struct

from router.cards import Card
from router.cards.sources.local_models import (
    Facts,
    listed_facts,
    llama_cpp_facts,
    lm_studio_facts,
    ollama_facts,
    vllm_facts,
)
from router.dispatch.availability import ModelServer
from router.dispatch.connection.urls import models_url
from router.dispatch.pool.deployment import deployments_of
from router.formats.json import json_or_none
from router.formats.net import is_loopback, parse_url

_TIMEOUT_S = 10.0
_CONCURRENT = 8
_LIST = "/v1/models"

Ask = Callable[..., Any]


class LocalModel(Struct, frozen=True, eq=False):
    """A model of a server: the server's kind, such as Ollama, and the facts of a card for it."""

    server: str
    facts: Facts


async def local_models(servers: Iterable[ModelServer]) -> list[LocalModel]:
    """The models of `servers` that write text, with the facts of a card for each; a base before its adapters."""
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    connector = aiohttp.TCPConnector(limit=_CONCURRENT)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector, trust_env=False) as session:
        found = await asyncio.gather(*(_models_of(session, server) for server in servers))
    return [model for models in found for model in models]


def described_by(cards: Iterable[Card], facts: Facts) -> Card | None:
    """The card for the model of `facts` at its server, if there is one."""
    place = _place(facts["base_url"])
    for card in cards:
        for deployment in deployments_of(card):
            url = models_url(deployment.card)
            names = {deployment.card.model, f"{deployment.card.model}:latest"}
            if url is not None and _place(url) == place and facts["model"] in names:
                return card
    return None


async def _models_of(session: aiohttp.ClientSession, server: ModelServer) -> list[LocalModel]:
    root = server.url.removesuffix(_LIST)

    async def ask(path: str, body: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        return await _ask(session, f"{root}{path}", body)

    found = await _READERS.get(server.kind, _listed)(ask)
    place: Facts = {"base_url": f"{root}/v1"}
    if is_loopback(root):
        # A server of one's own charges nothing per token. Ollama's cloud is no such server.
        place |= {"privacy": "local", "price": {"input": "0$", "output": "0$"}}
    models = []
    for facts in found:
        if facts is not None:
            known = {"base_url": place["base_url"]} if "privacy" in facts else place
            models.append(LocalModel(server.kind, {**facts, **known}))
    return models


async def _ollama(ask: Ask) -> list[Facts | None]:
    tags = _entries(await ask("/api/tags"), "models")
    shown = await asyncio.gather(*(ask("/api/show", {"model": tag.get("name")}) for tag in tags))
    return [ollama_facts(tag, show) for tag, show in zip(tags, shown, strict=True) if tag.get("name")]


async def _llama_cpp(ask: Ask) -> list[Facts | None]:
    entries = _entries(await ask(_LIST), "data")
    # Where the server has several models, its properties are not those of one model.
    props = await ask("/props") if len(entries) == 1 else {}
    return [llama_cpp_facts(entry, props) for entry in entries]


async def _vllm(ask: Ask) -> list[Facts | None]:
    entries = _entries(await ask(_LIST), "data")
    bases = {entry["id"]: vllm_facts(entry) for entry in entries if not entry.get("parent")}
    adapters = [entry for entry in entries if entry.get("parent") in bases]
    return [*bases.values(), *(vllm_facts(entry, bases[entry["parent"]]) for entry in adapters)]


async def _lm_studio(ask: Ask) -> list[Facts | None]:
    return [lm_studio_facts(entry) for entry in _entries(await ask("/api/v0/models"), "data")]


async def _listed(ask: Ask) -> list[Facts | None]:
    return [listed_facts(entry) for entry in _entries(await ask(_LIST), "data")]


_READERS = {"Ollama": _ollama, "llama.cpp": _llama_cpp, "vLLM": _vllm, "LM Studio": _lm_studio}


async def _ask(session: aiohttp.ClientSession, url: str, body: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The JSON object at `url`, to which `body` is posted if there is one; empty where there is none."""
    call = session.get(url) if body is None else session.post(url, json=body)
    try:
        async with call as response:
            answer = json_or_none(await response.read()) if response.status == 200 else None
    except (aiohttp.ClientError, OSError, ValueError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _entries(answer: Mapping[str, Any], field: str) -> list[Mapping[str, Any]]:
    entries = answer.get(field)
    known = "id" if field == "data" else "name"
    return [entry for entry in entries if isinstance(entry, dict) and entry.get(known)] if entries else []


def _place(url: str) -> tuple[str, int | None] | None:
    """The host and port of a server; all names of this machine are one host."""
    parsed = parse_url(url)
    if parsed is None:
        return None
    return "" if is_loopback(url) else str(parsed.host), parsed.port
