"""At which of several servers an adapter is used: rendezvous hashing (Thaler and Ravishankar, IEEE/ACM Transactions on
Networking, 1998), which keeps the places of all adapters when a server comes, and moves only its own when one goes.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from typing import Literal

from msgspec import Struct

Room = Literal["holds", "free", "evictable", "full"]
"""What a server has for an adapter: the adapter itself, a free slot, a slot after an eviction, or nothing now."""

_ROOMS: tuple[Room, ...] = ("holds", "free", "evictable", "full")
# A server may run this many times as many calls as the average one, and one call more, before a colder one is taken.
_BALANCE = 1.25


class ServerLoad(Struct, frozen=True):
    """A server that could be called, and how many calls run there."""

    server: str
    running: int = 0


def ranked(adapter: str, servers: Sequence[ServerLoad], room: Callable[[str], Room]) -> list[str]:
    """The names of `servers`, best first: those that hold `adapter`, the least busy of them first; then those with a
    free slot, those where another adapter must go, and those without room. Among these, rendezvous hashing decides,
    but servers far busier than the average come last, the least busy of them first.
    """
    if len(servers) == 1:
        return [servers[0].server]
    limit = _BALANCE * (sum(each.running for each in servers) / max(len(servers), 1) + 1)

    def place(each: ServerLoad) -> tuple[int, int, int, str]:
        kind = _ROOMS.index(room(each.server))
        busy = each.running if kind == 0 or each.running > limit else 0
        return kind, busy, -weight(adapter, each.server), each.server

    return [each.server for each in sorted(servers, key=place)]


@functools.lru_cache(maxsize=65_536)
def weight(adapter: str, server: str) -> int:
    """The rendezvous weight of an adapter at a server, of 64 bits: it belongs to the server where this is greatest."""
    return int.from_bytes(hashlib.blake2b(f"{server}\n{adapter}".encode(), digest_size=8).digest())
