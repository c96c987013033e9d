"""URLs."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def is_loopback(url: str | None) -> bool:
    """Whether the URL's host is the loopback interface of this machine; false for what is no URL."""
    try:
        host = urlsplit(url).hostname if url else None
    except ValueError:
        return False
    if not host:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
