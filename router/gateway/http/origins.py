"""Which hosts and web pages may use the gateway, and the CORS headers for those that may."""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta, Struct

from router.formats.net import is_loopback
from router.gateway.http.response_headers import RESPONSE_HEADERS

_ALL = "*"
_ORIGIN = re.compile(r"\*|null|[a-z][a-z0-9+.*-]*://[^/\s?#]*")
_HOST = re.compile(r"[^\s/:@?#]+|\[[0-9a-fA-F:.]+\]")
_MAX_AGE_S = 600
# What a page may read of a response, beside what every page may.
_EXPOSED = ", ".join(RESPONSE_HEADERS)
_METHODS = "GET, POST, DELETE, OPTIONS"


class Cors(Struct, frozen=True, forbid_unknown_fields=True):
    """Web pages and desktop applications whose requests are allowed."""

    origins: Annotated[
        tuple[str, ...],
        Meta(
            description="Origins, or patterns: https://chat.example.org, app://obsidian.md, vscode-webview://*, null."
        ),
    ] = ()

    def __post_init__(self) -> None:
        for origin in self.origins:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f'origins: "{origin}" is not an origin; write scheme://host[:port] without a path, such as '
                    "https://chat.example.org or vscode-webview://*, or null, or *"
                )


class Visitors(Struct, frozen=True):
    """Who may send requests.

    `hosts` are names by which this machine is called beside its loopback names; `origins` those of web pages, each of
    which may be a pattern. `needs_no_key`: the gateway has no API keys, so other hosts and origins are rejected.
    """

    needs_no_key: bool = False
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()

    def are_allowed(self, headers: Mapping[str, str]) -> bool:
        """Whether a request with this `host` and `origin` may be answered: with keys always, since these protect it."""
        if not self.needs_no_key:
            return True
        # A request without a Host does not come from a browser; some load balancers send such health checks.
        host, origin = headers.get("host"), headers.get("origin")
        host_is_known = host is None or _is_loopback(f"http://{host}") or _matches(self.hosts, _host_of(host))
        if origin is None:
            return host_is_known
        # `*` is for gateways with keys: without them, every page that a user of this machine visits could use it.
        named = tuple(pattern for pattern in self.origins if pattern != _ALL)
        return host_is_known and (_is_loopback(origin) or _matches(named, origin))

    def cors_headers(self, origin: str | None) -> list[tuple[bytes, bytes]]:
        """The headers that let the page of this origin read a response; none where it is not allowed."""
        if not self.origins:
            return []
        vary = (b"vary", b"origin")
        if origin is None or not _matches(self.origins, origin):
            return [vary]
        return [
            vary,
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-expose-headers", _EXPOSED.encode()),
        ]

    def preflight_headers(self, origin: str, asked_headers: str, private_network: bool) -> list[tuple[bytes, bytes]]:
        """The headers of the answer to a preflight request; only `vary` where the origin is not allowed."""
        headers = self.cors_headers(origin)
        if len(headers) < 2:
            return headers
        # Credentials are keys in headers, never cookies, so every header may be sent.
        headers.append((b"access-control-allow-methods", _METHODS.encode()))
        headers.append((b"access-control-max-age", str(_MAX_AGE_S).encode()))
        if asked_headers:
            headers.append((b"access-control-allow-headers", asked_headers.encode("latin-1")))
        if private_network:
            headers.append((b"access-control-allow-private-network", b"true"))
        return headers


def host_problem(host: str) -> str | None:
    """What is wrong with a name in `allowed_hosts`, or None."""
    if _HOST.fullmatch(host):
        return None
    return f'"{host}" is not a host name; write it without scheme, port and path, such as host.docker.internal'


@functools.lru_cache(maxsize=256)
def _is_loopback(url: str) -> bool:
    return is_loopback(url)


def _host_of(host: str) -> str:
    """The name in a Host header, without its port."""
    return re.sub(r":\d*$", "", host)


def _matches(patterns: tuple[str, ...], value: str) -> bool:
    return bool(patterns) and _found(patterns, value)


@functools.lru_cache(maxsize=256)
def _found(patterns: tuple[str, ...], value: str) -> bool:
    lowered = value.lower()
    return any(pattern == _ALL or fnmatch.fnmatchcase(lowered, _glob(pattern)) for pattern in patterns)


def _glob(pattern: str) -> str:
    """The pattern for fnmatch in which only `*` has a meaning."""
    return pattern.lower().replace("[", "[[]").replace("?", "[?]")
