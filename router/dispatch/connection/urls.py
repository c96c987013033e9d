"""The URLs of the endpoints of an upstream."""

from __future__ import annotations

import functools

from yarl import URL

from router.cards.schema import Card
from router.dispatch.providers import base_url, native_apis
from router.errors import UpstreamError
from router.formats.net import parse_url

# Servers whose documentation gives their address without the path of the API, which is /v1.
_DEFAULT_PATH_PROVIDERS = frozenset(
    {"anthropic", "hosted_vllm", "llamafile", "lm_studio", "ollama", "ollama_chat", "vllm"}
)


def models_url(card: Card) -> str | None:
    """The URL at which a relayed card's upstream lists its models in HTTP/1.1; None where it does not, or the URL is
    unknown.
    """
    base = base_url(card)
    if base is None or "chat" not in native_apis(card) or card.http2 == "prior_knowledge":
        return None
    endpoint = _endpoint(base, card.provider in _DEFAULT_PATH_PROVIDERS, "models")
    return None if endpoint is None else str(endpoint)


def endpoint_url(card: Card, path: str) -> URL:
    """The URL of an endpoint of the card's upstream. Raises UpstreamError."""
    url = base_url(card)
    if url is None:
        raise UpstreamError(f'the card "{card.id}" has no base_url')
    endpoint = _endpoint(url, card.provider in _DEFAULT_PATH_PROVIDERS, path)
    if endpoint is None:
        raise UpstreamError(f'the base_url of the card "{card.id}" is not a valid URL')
    return endpoint


@functools.lru_cache(maxsize=4096)
def _endpoint(base: str, default_path: bool, name: str) -> URL | None:
    """The URL of the endpoint `name`; None where the base URL is invalid. `default_path`: without a path it is /v1."""
    url = parse_url(base)
    if url is None:
        return None
    path = url.raw_path.rstrip("/") or ("/v1" if default_path else "")
    return url.with_path(f"{path}/{name}", encoded=True, keep_query=True)
