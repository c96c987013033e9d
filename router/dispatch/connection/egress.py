"""The proxy, the certificate authorities and the headers of calls to one upstream."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING

from yarl import URL

from router import settings
from router.cards.schema import Card
from router.cards.servers import DIRECT
from router.dispatch.connection.urls import endpoint_url
from router.dispatch.facts import Facts, server_facts_of
from router.errors import UpstreamError
from router.formats.net import is_loopback_host

if TYPE_CHECKING:
    # Imported where they are used.
    import ssl

    from router.dispatch.http1 import Target

_VARIABLE = re.compile(r"\$\{(\w+)\}")


def endpoint(card: Card, path: str, http2: bool = False) -> Target:
    """The target of an endpoint of the card's upstream; see `target`."""
    facts = server_facts_of(card)
    if facts.is_direct and card.ca_bundle is None:
        return _direct_endpoint(facts, path, http2)
    # The environment and the file may have changed.
    return target(card, endpoint_url(card, path), http2)


@functools.lru_cache(maxsize=4096)
def _direct_endpoint(facts: Facts, path: str, http2: bool) -> Target:
    return target(facts.card, endpoint_url(facts.card, path), http2)


def target(card: Card, url: URL, http2: bool = False) -> Target:
    """The target of a request to `url` for the card's `proxy`, `ca_bundle` and `http2`, or this one where the card does
    not say. Raises UpstreamError.
    """
    # Imported here, since a decision on the command line reads this module, and calls nothing.
    from router.dispatch.http1.target import default_trust, target_of

    proxy = _proxy_to(card, url)
    trust = None if card.ca_bundle is None else _trusting(card.id, card.ca_bundle)
    to_proxy = None if proxy is None else _parsed_proxy(proxy)
    asked = http2 if card.http2 is None else card.http2
    if not asked:
        return target_of(url, to_proxy, trust)
    if url.scheme == "https":
        offer = default_trust(offers_http2=True) if card.ca_bundle is None else _trusting(card.id, card.ca_bundle, True)
        return target_of(url, to_proxy, trust, http2_trust=offer)
    return target_of(url, to_proxy, trust, is_http2=asked == "prior_knowledge")


def extra_headers(card: Card) -> dict[str, str]:
    """The card's own headers, with the values of the variables that they name; without those that are not set."""
    return {
        name.lower(): _VARIABLE.sub(lambda found: settings.variable(found[1]) or "", value)
        for name, value in card.headers.items()
    }


def secrets_of(card: Card, key: str | None) -> tuple[str, ...]:
    """What no client and no log may see: the key, and the values of the variables in the card's headers."""
    variables = (name for value in card.headers.values() for name in _VARIABLE.findall(value))
    return tuple(filter(None, (key, *map(settings.variable, variables))))


def missing_parts(card: Card) -> str | None:
    """What is missing for the card's `headers` and `ca_bundle`, such as `CORP_TOKEN is not set`, or None."""
    for value in card.headers.values():
        for variable in _VARIABLE.findall(value):
            if settings.variable(variable) is None:
                return f"{variable} is not set"
    if card.ca_bundle is not None and not Path(card.ca_bundle).is_file():
        return f"ca_bundle: the file {card.ca_bundle} does not exist"
    return None


def _proxy_to(card: Card, url: URL) -> str | None:
    """The URL of the proxy by way of which `url` is called; None for a direct connection.

    It is that of the card, else that of the environment (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY). This machine is
    never called by way of a proxy, which would look for the server on its own machine.
    """
    if card.proxy == DIRECT or is_loopback_host(url.host or ""):
        return None
    return card.proxy or settings.proxy_of(url.scheme, f"{url.host}:{url.port}")


@functools.lru_cache(maxsize=64)
def _parsed_proxy(proxy: str) -> URL:
    url = URL(proxy if "://" in proxy else f"http://{proxy}")
    if url.scheme not in ("http", "https") or not url.host:
        raise UpstreamError(
            "the proxy for outgoing calls is not supported: only http:// and https:// are", 502, "proxy"
        )
    return url


def _trusting(card: str, bundle: str, offers_http2: bool = False) -> ssl.SSLContext:
    import ssl

    try:
        return _context(bundle, Path(bundle).stat().st_mtime_ns, offers_http2)
    except (OSError, ssl.SSLError):
        raise UpstreamError(f'the ca_bundle of the card "{card}" cannot be read', 502, "ca_bundle") from None


@functools.lru_cache(maxsize=64)
def _context(bundle: str, _changed_ns: int, offers_http2: bool = False) -> ssl.SSLContext:
    """The context that trusts the authorities in this file only, which is read again when it changes."""
    import ssl

    context = ssl.create_default_context(cafile=bundle)
    if offers_http2:
        context.set_alpn_protocols(["h2", "http/1.1"])
    return context
