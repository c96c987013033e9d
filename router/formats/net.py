"""URLs, read the way that the HTTP client reads them."""

from __future__ import annotations

import functools
import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from yarl import URL

_MAX_PORT = 65535
# Clients send URLs, too: longer ones must not fill the cache.
_MAX_CHARACTERS = 2_048


def parse_url(url: str) -> URL | None:
    """The parsed URL; None where it has no valid host and port, or is longer than 2,048 characters.

    This is the parser of the HTTP client, and everything that depends on the host uses it: with a second parser, the
    host that is checked might not be the host that receives an API key.
    """
    return _parsed(url) if len(url) <= _MAX_CHARACTERS else None


@functools.lru_cache(maxsize=4096)
def _parsed(url: str) -> URL | None:
    # Imported here because importing yarl costs start-up time, which commands without URLs need not pay.
    from yarl import URL

    try:
        parsed = URL(url)
        usable = bool(parsed.host) and (parsed.port or 0) <= _MAX_PORT
    except (ValueError, IndexError):
        # yarl raises IndexError for some invalid URLs with brackets, such as `http://[]@`.
        return None
    return parsed if usable else None


def host_of(url: str | None) -> str:
    """The URL's host in lower case; empty where there is none."""
    return _host(url) if url and len(url) <= _MAX_CHARACTERS else ""


@functools.lru_cache(maxsize=4096)
def _host(url: str) -> str:
    parsed = parse_url(url)
    return (parsed.host or "") if parsed is not None else ""


def is_loopback(url: str | None) -> bool:
    """Whether the URL's host is the loopback interface of this machine; false for an invalid URL."""
    return is_loopback_host(host_of(url))


@functools.lru_cache(maxsize=4096)
def is_loopback_host(host: str) -> bool:
    """Whether a host, in lower case, is the loopback interface of this machine; false for an empty one."""
    if not host:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
