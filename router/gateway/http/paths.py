"""The paths that clients build, and the endpoint that each of them means.

Clients join a base URL and a path, and people state base URLs with a slash at the end, with `/v1` or without, or with
the whole path of an endpoint. Every such path is rewritten before anything reads it, so that routing and authentication
see one path per endpoint.
"""

from __future__ import annotations

import functools
from urllib.parse import unquote

from msgspec import Struct

_V1 = "v1"
# A base URL may end with these, although the client appends the path of an endpoint.
_ENDPOINTS = (
    ("chat", "completions"),
    ("completions",),
    ("embeddings",),
    ("responses",),
    ("messages",),
)
# What a client appends to its base URL.
_APPENDED = (*_ENDPOINTS, ("models",), ("messages", "count_tokens"), ("moderations",), ("rerank",))
# Prefixes of APIs that have the same paths elsewhere, with what replaces them, which is never longer: Azure's and
# Groq's; DeepSeek's and others' for Anthropic's protocol; OpenRouter's; Open WebUI's; Azure AI's; Cohere's; those of
# clients that append the prefix to a base URL that ends with /v1.
_PREFIXES = (
    (("openai",), ()),
    (("anthropic",), ()),
    (("ollama",), ()),
    (("api", _V1), (_V1,)),
    (("api", "chat", "completions"), _ENDPOINTS[0]),
    (("models", "chat", "completions"), _ENDPOINTS[0]),
    (("models", "embeddings"), ("embeddings",)),
    (("v2", "rerank"), (_V1, "rerank")),
    ((_V1, "openai"), ("openai",)),
    ((_V1, "anthropic"), ("anthropic",)),
    ((_V1, "api"), ("api",)),
)
# The first segments of paths that are rewritten. Others, such as those for operators, have one spelling only: a proxy
# may protect them by their path.
_ROOTS = frozenset(
    {_V1, "api", "audio", "chat", "completions", "deployments", "embeddings", "engines", "files", "images", "messages"}
    | {"models", "moderations", "rerank", "responses"}
)
# Names and ids follow these. Only there an escape is decoded: elsewhere it has no purpose but to hide a path.
_DEPLOYMENTS = frozenset({"deployments", "engines"})
_NAMED = frozenset({"models", "responses", "files"}) | _DEPLOYMENTS
_MAX_CACHED_CHARACTERS = 200
# The longest path of an endpoint has seven; base URLs and names with slashes add some. Longer paths mean no endpoint,
# and could repeat a prefix thousands of times.
_MAX_SEGMENTS = 32


class RequestPath(Struct, frozen=True):
    """The path of an endpoint, and the model in the client's path: that of a deployment of Azure's, or of an engine."""

    path: str
    model: str | None = None


def read_path(raw: str, base_path: str = "") -> RequestPath:
    """The endpoint's path that the undecoded path `raw` means, without `base_path` where it begins with that.

    An escape outside of a name stays as it is, so such a path exists nowhere. The result begins with one slash, has no
    empty segments where it is a path of an API.
    """
    if len(raw) > _MAX_CACHED_CHARACTERS:
        return _read.__wrapped__(raw, base_path)
    return _read(raw, base_path)


@functools.lru_cache(maxsize=1024)
def _read(raw: str, base_path: str) -> RequestPath:
    segments, base = _segments(raw), _segments(base_path)
    if base and segments[: len(base)] == base:
        segments = segments[len(base) :]
    segments = _without_prefix(segments) if len(segments) <= _MAX_SEGMENTS else ()
    if not segments or segments[0] not in _ROOTS:
        return RequestPath(_without_base_path(raw, base_path))
    segments = _without_base_endpoint(_with_one_v1(segments))
    if segments == (_V1,):
        # Some clients ask it whether the server is there.
        return RequestPath("/")
    return _deployment(segments) or RequestPath("/" + "/".join(_decoded(segments)))


def _segments(path: str) -> tuple[str, ...]:
    return tuple(segment for segment in path.split("/") if segment)


def _without_base_path(raw: str, base_path: str) -> str:
    is_below = bool(base_path) and raw.startswith(base_path) and raw[len(base_path) :][:1] in ("", "/")
    return raw[len(base_path) :] or "/" if is_below else raw


def _without_prefix(segments: tuple[str, ...]) -> tuple[str, ...]:
    for prefix, replacement in _PREFIXES:
        if segments[: len(prefix)] == prefix:
            shorter = _without_prefix(replacement + segments[len(prefix) :])
            if replacement or _ROOTS.intersection(shorter[:1]):
                return shorter
    return segments


def _with_one_v1(segments: tuple[str, ...]) -> tuple[str, ...]:
    while segments[:2] == (_V1, _V1):
        segments = segments[1:]
    return segments


def _without_base_endpoint(segments: tuple[str, ...]) -> tuple[str, ...]:
    """`segments` without the endpoint in front of the one that the client appended."""
    rest = segments[1:] if segments[:1] == (_V1,) else segments
    for endpoint in _ENDPOINTS:
        appended = rest[len(endpoint) :]
        if rest[: len(endpoint)] != endpoint:
            continue
        appended = _with_one_v1(appended)
        named = appended[1:] if appended[:1] == (_V1,) else appended
        if named in _APPENDED:
            return (_V1, *named)
    return segments


def _deployment(segments: tuple[str, ...]) -> RequestPath | None:
    """The endpoint of one of Azure's deployments, or of an engine in OpenAI's old words, whose name is the model."""
    rest = segments[1:] if segments[:1] == (_V1,) else segments
    if len(rest) < 3 or rest[0] not in _DEPLOYMENTS:
        return None
    endpoint = _without_base_endpoint(_with_one_v1((_V1, *rest[2:])))
    return RequestPath("/" + "/".join(endpoint), unquote(rest[1]))


def _decoded(segments: tuple[str, ...]) -> tuple[str, ...]:
    """The segments, those of a name without their escapes."""
    start = next((number + 1 for number, segment in enumerate(segments) if segment in _NAMED), len(segments))
    return segments[:start] + tuple(unquote(segment) for segment in segments[start:])
