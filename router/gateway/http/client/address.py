"""The address of a client, for the access log: that of the connection, or the one that a trusted proxy states."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from starlette.types import Scope

UNIX = "unix"
"""The word for clients of the gateway's unix socket, which have no address."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_HEADER = b"x-forwarded-for"
# More hops are not searched, so that a header cannot take long.
_MAX_HOPS = 32
_MAX_CHARACTERS = 2048


class TrustedProxies:
    """The proxies whose `X-Forwarded-For` is believed: addresses, networks, or `unix`."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        """Raises ValueError for a name that is none of these."""
        names = tuple(names)
        self._has_unix = UNIX in names
        self._networks = tuple(read_network(name) for name in names if name != UNIX)

    def client_of(self, scope: Scope) -> str:
        """The address of the client: of the hops before trusted proxies the last, which they saw themselves."""
        client = scope.get("client")
        peer = plain(client[0]) if client and client[0] else UNIX
        if not self.trusts(peer):
            return peer
        stated = b",".join(value for name, value in scope["headers"] if name == _HEADER)[-_MAX_CHARACTERS:]
        for hop in reversed(stated.decode("latin-1").split(",")[-_MAX_HOPS:]):
            address = _address_in(hop.strip())
            if address is None:
                # Whoever wrote this, the proxies behind it did not check it.
                break
            peer = address
            if not self.trusts(peer):
                break
        return peer

    def trusts(self, peer: str) -> bool:
        """Whether this address, or `unix`, is that of a proxy."""
        if peer == UNIX:
            return self._has_unix
        if not self._networks:
            return False
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:
            return False
        return any(address in network for network in self._networks)


def read_network(name: str) -> Network:
    """An address or a network. Raises ValueError."""
    try:
        return ipaddress.ip_network(name)
    except ValueError as error:
        raise ValueError(f'"{name}" is no address, no network such as 10.0.0.0/8, and not {UNIX}: {error}') from None


def plain(host: str) -> str:
    """An address without its zone, of IPv4 where a socket for both kinds writes it as one of IPv6."""
    host = host.partition("%")[0]
    return host[7:] if host.startswith("::ffff:") and "." in host else host


def _address_in(hop: str) -> str | None:
    """The address of a hop, which may have a port."""
    if hop.startswith("["):
        hop = hop[1:].partition("]")[0]
    elif hop.count(":") == 1:
        hop = hop.partition(":")[0]
    try:
        return str(ipaddress.ip_address(hop))
    except ValueError:
        return None
