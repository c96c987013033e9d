"""What a card states about its servers: addresses, keys, limits, the connection to them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct


class RateLimits(Struct, frozen=True, forbid_unknown_fields=True):
    """The limits of a deployment: requests and tokens per minute, concurrent calls."""

    rpm: Annotated[int, Meta(gt=0)] | None = None
    tpm: Annotated[int, Meta(gt=0)] | None = None
    concurrency: Annotated[int, Meta(gt=0)] | None = None


Profile = Annotated[
    Literal["throughput"],
    Meta(description="throughput: for requests that can wait, marked as batch; the others go elsewhere."),
]
Url = Annotated[
    str,
    Meta(description="Base URL of the server's API, such as http://127.0.0.1:8000/v1."),
]
KeyVariables = Annotated[
    str | tuple[str, ...],
    Meta(description="The environment variable of the API key, or several, whose keys are used in turn."),
]
Headers = Annotated[
    Mapping[Annotated[str, Meta(min_length=1, max_length=200)], Annotated[str, Meta(max_length=2000)]],
    Meta(description="Headers that every call has, too. ${NAME} is the value of an environment variable."),
]
Proxy = Annotated[
    str | None,
    Meta(description="Proxy for calls, such as http://proxy:3128, or none; else HTTP_PROXY, HTTPS_PROXY, NO_PROXY."),
]
CaBundle = Annotated[
    str | None, Meta(description="PEM file of the certificate authorities that are trusted for calls.")
]
Http2 = Annotated[
    bool | Literal["prior_knowledge"],
    Meta(description="HTTP/2 where the server offers it (https); prior_knowledge: without TLS, from the first byte."),
]
DIRECT = "none"
_HEADER_NAME = re.compile(r"[A-Za-z0-9-]+")
# The gateway sets these itself, for each call.
_RESERVED_HEADERS = frozenset(
    {"accept-encoding", "connection", "content-encoding", "content-length", "content-type", "host", "transfer-encoding"}
)


class Place(Struct, frozen=True, forbid_unknown_fields=True, rename={"rate_limits": "limits"}):
    """One of several servers of a card's model."""

    base_url: Url
    api_key_env: KeyVariables | None = None
    rate_limits: RateLimits | None = None
    profile: Profile | None = None

    def __post_init__(self) -> None:
        check_server(self.base_url, self.api_key_env)


def check_server(url: str | None, variables: str | tuple[str, ...] | None) -> None:
    """Raise ValueError for an invalid base URL, or names that are no variables."""
    if url is not None and not _is_url(url):
        # The message does not repeat the URL, since it may contain a password.
        raise ValueError("base_url: must be an http or https URL such as https://host/v1, without blanks, user or key")
    names = (variables,) if isinstance(variables, str) else variables or ()
    if variables is not None and not (names and all(name.isidentifier() for name in names)):
        raise ValueError("api_key_env: must be the name of a variable, such as OPENAI_API_KEY, not the key itself")
    if len(set(names)) < len(names):
        raise ValueError("api_key_env: names a variable twice")


def check_http2(http2: Http2 | None, urls: Sequence[str | None]) -> None:
    """Raise ValueError where the servers of a card cannot offer HTTP/2, since they are all called without TLS."""
    stated = [url for url in urls if url is not None]
    if http2 is True and stated and all(url.startswith("http://") for url in stated):
        raise ValueError(
            "http2: true is for https servers, which choose the protocol during the handshake; write prior_knowledge "
            "for a server without TLS that speaks HTTP/2 from the first byte"
        )


def check_connection(proxy: str | None, headers: Mapping[str, str]) -> None:
    """Raise ValueError for an invalid proxy or header."""
    if proxy is not None and proxy != DIRECT and not _is_url(proxy):
        raise ValueError(
            "proxy: must be an http or https URL such as http://proxy.example.org:3128, without user and password "
            "(state these in HTTPS_PROXY), or none"
        )
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not value.isprintable() or not value.isascii():
            raise ValueError(f'headers: "{name}" is not a header with a value of visible ASCII characters')
        if name.lower() in _RESERVED_HEADERS:
            raise ValueError(f'headers: "{name}" is set by the gateway itself, for each call')


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return usable and "@" not in parts.netloc and not any(character.isspace() for character in text)
