"""The addresses of names."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Any

from msgspec import Struct

# As long as the previous client remembered them: a name that moves is followed, and a burst asks once.
_REMEMBERED_S = 10.0
_MAX_NAMES = 1024

Address = tuple[Any, ...]
"""What `getaddrinfo` returns: family, type, protocol, canonical name, and the address with its port."""


class _Known(Struct):
    addresses: list[Address]
    until_s: float
    turn: int = 0


class Names:
    """Looks names up, and remembers their addresses for a short time. Use it on one event loop.

    Several calls for one name share a look-up. Each call gets the addresses in another order, so that new connections
    spread over them.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], _Known] = {}
        self._asked: dict[tuple[str, int], asyncio.Task[_Known]] = {}

    async def addresses(self, host: str, port: int) -> list[Address]:
        """The addresses of a name, at least one. Raises OSError."""
        if literal := _literal(host, port):
            return [literal]
        key = host, port
        known = self._known.get(key)
        if known is None or known.until_s <= asyncio.get_running_loop().time():
            asked = self._asked.get(key)
            if asked is None:
                asked = self._asked[key] = asyncio.ensure_future(self._look_up(host, port))
                asked.add_done_callback(lambda _: self._asked.pop(key, None))
                # The call that wanted it may be gone by then.
                asked.add_done_callback(lambda done: done.cancelled() or done.exception())
            # One call that gives up must not end the look-up of the others.
            known = await asyncio.shield(asked)
        turn = known.turn = (known.turn + 1) % len(known.addresses)
        return known.addresses[turn:] + known.addresses[:turn]

    async def _look_up(self, host: str, port: int) -> _Known:
        found = await _resolved(host, port)
        if not found:
            raise OSError("the name has no address")
        if len(self._known) >= _MAX_NAMES:
            self._known.clear()
        until_s = asyncio.get_running_loop().time() + _REMEMBERED_S
        known = self._known[host, port] = _Known(found, until_s, turn=-1)
        return known


async def _resolved(host: str, port: int) -> list[Address]:
    return list(await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM))


def _literal(host: str, port: int) -> Address | None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if "%" in host:
        # The zone of a link-local address is a number only to the operating system.
        return None
    if address.version == 4:
        return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port)
    return socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port, 0, 0)
