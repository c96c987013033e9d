"""The dialect of a server and a model, from the tables."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import msgspec

from router.wire.dialect.models import MODELS
from router.wire.dialect.rules import Dialect
from router.wire.dialect.servers import SERVERS

# Providers whose name says nothing about the server where a card has a base URL of its own.
_GENERIC = frozenset({"custom_openai", "openai", "openai_like"})
_UNKNOWN, _THROUGH_LITELLM = "openai_compatible", "litellm"


@functools.lru_cache(maxsize=1024)
def dialect_for(provider: str, host: str, model: str, named: str | None = None, *, converted: bool = False) -> Dialect:
    """The dialect of `model` at a server: of the row `named`, else by host, else by the provider of the card.

    `host` is that of the base URL in lower case, empty where it is unknown. `converted`: litellm converts the request.
    """
    server = named or _by_host(host) or _by_provider(provider) or (_THROUGH_LITELLM if converted else _UNKNOWN)
    dialect = SERVERS[server].dialect
    name = model.lower()
    for row in MODELS:
        if (not row.servers or server in row.servers) and row.pattern.search(name):
            dialect = _changed(dialect, row.changes)
    return dialect


def _by_host(host: str) -> str | None:
    matches = (
        (known, name)
        for name, server in SERVERS.items()
        for known in server.hosts
        if host == known or host.endswith((f".{known}", f"-{known}"))
    )
    return next((name for known, name in matches), None)


def _by_provider(provider: str) -> str | None:
    if provider in _GENERIC:
        return None
    return next((name for name, server in SERVERS.items() if provider in server.providers), None)


def _changed(dialect: Dialect, changes: Mapping[str, Any]) -> Dialect:
    merged = {field: _merged(getattr(dialect, field), value) for field, value in changes.items()}
    return msgspec.structs.replace(dialect, **merged)


def _merged(old: Any, new: Any) -> Any:
    if isinstance(new, frozenset):
        return (old or frozenset()) | new
    return {**old, **new} if isinstance(new, Mapping) and isinstance(old, Mapping) else new
