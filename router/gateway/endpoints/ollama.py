"""Ollama's endpoints that list and describe models, for clients that know only this API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from router.cards import Card
from router.errors import FieldError
from router.gateway.config.keys import Key, presented_key
from router.gateway.config.reload import ConfigReloader
from router.gateway.endpoints.models import ModelList
from router.gateway.http.body import read_body, read_object
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

    def __init__(self, reloader: ConfigReloader, models: Callable[[], ModelList]) -> None:
        self._reloader, self._models = reloader, models

    async def version(self, _: Request) -> Response:
        """`GET /api/version`."""
        return Response(_VERSION, media_type=_JSON)

    async def tags(self, request: Request) -> Response:
        """`GET /api/tags`: the names that `model` may have."""
        names = self._models().names(self._key(request))
        return Response(msgspec.json.encode({"models": [self._entry(name) for name in names]}), media_type=_JSON)

    async def show(self, request: Request) -> Response:
        """`POST /api/show`: one of these names. Raises UnknownModelError."""
        key, config = self._key(request), self._reloader.current.config
        raw = await read_body(request.receive, request.headers, config.max_body_bytes)
        body = prepared(read_object(raw, config.max_depth))
        name = body.get("model") or body.get("name")
        if not isinstance(name, str):
            raise FieldError("model", "must be the name of a model")
        self._models().one(name, key)
        return Response(msgspec.json.encode(self._described(name)), media_type=_JSON)

    def _key(self, request: Request) -> Key | None:
        return self._reloader.current.keys.authenticate(presented_key(request.headers))

    def _card(self, name: str) -> Card | None:
        catalog = self._reloader.current.router.catalog
        position = catalog.position(name)
        return None if position is None else catalog[position]

    def _entry(self, name: str) -> dict[str, Any]:
        card = self._card(name)
        released = f"{card.released}T00:00:00Z" if card is not None and card.released else _UNKNOWN_DATE
        common = {"name": name, "model": name, "modified_at": released, "size": 0, "digest": ""}
        return {**common, "details": _details(card)}

    def _described(self, name: str) -> dict[str, Any]:
        card = self._card(name)
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
