"""Where a request goes: the server, the way to it, and what both share of every request's head."""

from __future__ import annotations

import base64
import functools
import re
import ssl

from msgspec import Struct
from yarl import URL

_VISIBLE = re.compile(r"[!-~]+")


class Origin(Struct, frozen=True):
    """What a connection may be used for again: requests to the same server, by the same way, with the same trust.

    `host` is a name or an address without brackets. `trust` is None for a connection without TLS; `proxy` is None for
    one that goes straight to the server. `http2_trust` is `trust` with an offer of HTTP/2, None where that is not to be
    offered; with `is_http2`, the server is known to speak it.
    """

    host: str
    port: int
    trust: ssl.SSLContext | None
    proxy: URL | None
    http2_trust: ssl.SSLContext | None = None
    is_http2: bool = False


class Target(Struct, frozen=True, eq=False):
    """A URL of a server. `resource` is what the first line of a request names, `authority` is its host; both have the
    form in which they are sent. `fields` are the lines that every request to it has.
    """

    origin: Origin
    resource: str
    authority: str
    fields: str


@functools.lru_cache(maxsize=1024)
def target_of(
    url: URL,
    proxy: URL | None = None,
    trust: ssl.SSLContext | None = None,
    *,
    http2_trust: ssl.SSLContext | None = None,
    is_http2: bool = False,
) -> Target:
    """The target of an http or https URL, by way of `proxy`. `trust` says whom a certificate must be from; None trusts
    the authorities of this machine. `http2_trust` and `is_http2`: see `Origin`; the former is for TLS, the latter for
    connections without it. Raises ValueError where a character that is not encoded would end the first line too early.
    """
    is_tls = url.scheme == "https"
    host, port = url.raw_host or "", url.port or 0
    context = (trust or default_trust()) if is_tls else None
    is_http2 = is_http2 and not is_tls
    authority = url.host_port_subcomponent or host
    fields = f"host: {authority}\r\n"
    resource = url.raw_path_qs
    if proxy is not None and not is_tls and not is_http2:
        # The proxy reads the request.
        resource = f"{url.scheme}://{authority}{resource}"
        fields += proxy_credentials(proxy)
    if not _VISIBLE.fullmatch(resource + authority):
        raise ValueError("the URL has a blank or a control character that is not encoded")
    origin = Origin(host, port, context, proxy, http2_trust if is_tls else None, is_http2)
    return Target(origin, resource, authority, fields)


def proxy_credentials(proxy: URL) -> str:
    """The header line with the user and password in the proxy's URL, if it has one."""
    if proxy.user is None:
        return ""
    pair = base64.b64encode(f"{proxy.user}:{proxy.password or ''}".encode()).decode()
    return f"proxy-authorization: Basic {pair}\r\n"


@functools.cache
def default_trust(*, offers_http2: bool = False) -> ssl.SSLContext:
    """The context that trusts the authorities of this machine, and requires that the certificate names the host."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2", "http/1.1"] if offers_http2 else ["http/1.1"])
    return context
