"""Ollama's endpoints that list and describe models, for clients that know only this API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from router.cards import Card, Catalog
from router.errors import FieldError
from router.gateway.endpoints.keyed import Entry
from router.gateway.endpoints.models import ModelList
from router.wire.ollama import prepared

_JSON = "application/json"
# The version of Ollama whose API these endpoints have; clients reject older ones.
_VERSION = b'{"version":"0.13.0"}'
_UNKNOWN_DATE = "1970-01-01T00:00:00Z"
# What a model can do, in Ollama's words and those of cards.
_BY_CAPABILITY = {"tools": "tools", "reasoning": "thinking"}
_DEFAULT_CONTEXT_TOKENS = 32_768


class Ollama:
    """Handlers of `/api/tags`, `/api/show` and `/api/version`. `models` returns the current model list."""

    def __init__(self, models: Callable[[], ModelList]) -> None:
        self._models = models

    async def version(self, _: Request) -> Response:
        """`GET /api/version`."""
        return Response(_VERSION, media_type=_JSON)

    async def tags(self, _: Request, entry: Entry) -> Response:
        """`GET /api/tags`: the names that `model` may have."""
        catalog = entry.request.active.router.catalog
        listed = [_listed(name, _card(catalog, name)) for name in self._models().names(entry.request.key)]
        return Response(msgspec.json.encode({"models": listed}), media_type=_JSON)

    async def show(self, http: Request, entry: Entry) -> Response:
        """`POST /api/show`: one of these names. Raises UnknownModelError."""
        body = prepared(await entry.read_body(http))
        name = body.get("model") or body.get("name")
        if not isinstance(name, str):
            raise FieldError("model", "must be the name of a model")
        entry.request = msgspec.structs.replace(entry.request, body={"model": name})
        self._models().one(name, entry.request.key)
        return Response(
            msgspec.json.encode(_described(_card(entry.request.active.router.catalog, name))), media_type=_JSON
        )


def _card(catalog: Catalog, name: str) -> Card | None:
    position = catalog.position(name)
    return None if position is None else catalog[position]


def _listed(name: str, card: Card | None) -> dict[str, Any]:
    released = f"{card.released}T00:00:00Z" if card is not None and card.released else _UNKNOWN_DATE
    common = {"name": name, "model": name, "modified_at": released, "size": 0, "digest": ""}
    return {**common, "details": _details(card)}


def _described(card: Card | None) -> dict[str, Any]:
    details = _details(card)
    family = details["family"]
    context = card.context_tokens if card is not None else None
    return {
        "modelfile": "",
        "parameters": "",
        "template": "",
        "details": details,
        "model_info": {
            "general.architecture": family,
            f"{family}.context_length": int(context or _DEFAULT_CONTEXT_TOKENS),
        },
        "capabilities": _capabilities(card),
    }


def _details(card: Card | None) -> dict[str, Any]:
    family = (card.family if card is not None else None) or "pulvinar"
    size = card.size if card is not None else None
    return {
        "parent_model": "",
        "format": "",
        "family": family,
        "families": [family],
        "parameter_size": "" if size is None else f"{size.total / 1e9:g}B",
        "quantization_level": "",
    }


def _capabilities(card: Card | None) -> list[str]:
    """Routing has whatever one of the cards has."""
    if card is None:
        return ["completion", "tools", "vision", "thinking"]
    known = [_BY_CAPABILITY[word] for word in card.capabilities or () if word in _BY_CAPABILITY]
    return ["completion", *known, *(["vision"] if "image" in card.modalities else [])]
