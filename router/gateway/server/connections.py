"""The connections of one worker: how many there are, of whom, and which are closed for the sake of others.

A connection without a request in progress *waits*: it has sent nothing, or part of a head, or is kept open after a
response. Where there are too many connections, the one that has waited longest is closed: first of those that never
sent a whole head, then of those kept open, then of those that do not read their response. So clients that only hold
connections open never keep out those that send requests.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Iterator
from typing import Protocol

from router.gateway.config.connections import ConnectionLimits
from router.gateway.http.client.address import plain

SURPLUS = 32
"""Connections beyond the limits, for health checks; any other request on them is answered with status 503."""

_TICK_S = 1.0
# A client that does not read its response makes room for others after so long, where nothing waits. Its request ends by
# `timeouts.send`.
_PATIENCE_S = 5.0


class Waiting(Protocol):
    """A connection as this module needs it. `address` is what is counted, `peer` the whole address, or `unix`."""

    address: str
    peer: str
    deadline: float

    def expire(self) -> None:
        """The deadline has passed."""

    def evict(self) -> None:
        """Close the connection in favour of another one."""


class _Group:
    """Connections that wait, each in order of the beginning of its wait."""

    def __init__(self) -> None:
        self.count = 0
        self.silent: dict[Waiting, None] = {}
        self.idle: dict[Waiting, None] = {}

    def oldest(self) -> Waiting | None:
        return next(iter(self.silent), None) or next(iter(self.idle), None)


class Connections:
    """The connections of one worker. `limits` returns the current limits; `capacity` is what descriptors allow;
    `is_trusted` says whether a peer has no limit of its own.

    `on_room` is called whenever a connection has been closed. `refused` counts requests refused because of too many
    connections, `evicted` the connections closed in favour of others, `invalid_heads` the heads that were refused.
    """

    def __init__(
        self,
        limits: Callable[[], ConnectionLimits] = ConnectionLimits,
        capacity: int = 1_000_000,
        max_unread: int = 2**24,
        is_trusted: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._is_trusted = is_trusted
        self._read_limits, self.capacity = limits, capacity
        self.limits = limits()
        self.max_unread_bytes = max_unread
        self.on_room: Callable[[], None] = lambda: None
        self.refused = self.evicted = self.invalid_heads = 0
        self._all = _Group()
        self._groups: dict[str, _Group] = {}
        self._stalled: dict[Waiting, float] = {}
        self._ticking: asyncio.TimerHandle | None = None

    @property
    def count(self) -> int:
        """The number of open connections."""
        return self._all.count

    @property
    def total(self) -> int:
        """The highest number of connections."""
        return min(self.limits.total, self.capacity)

    @property
    def is_full(self) -> bool:
        """Whether no further connection should be accepted now, not even a surplus one."""
        return self._all.count >= self.total + SURPLUS and self._all.oldest() is None and not self._stalled

    def add(self, connection: Waiting, loop: asyncio.AbstractEventLoop) -> bool:
        """Count a new connection, which waits. Return false for a surplus one."""
        group = self._groups.setdefault(connection.address, _Group())
        for of in (self._all, group):
            of.count += 1
            of.silent[connection] = None
        if self._ticking is None:
            self._ticking = loop.call_later(_TICK_S, self._tick, loop)
        is_within = True
        if group.count > self.limits.per_address and not self._is_trusted(connection.peer):
            is_within = self._evict(group, connection, loop.time())
        if is_within and self._all.count > self.total:
            is_within = self._evict(self._all, connection, loop.time())
        return is_within

    def remove(self, connection: Waiting) -> None:
        """Forget a connection that was closed."""
        self.busy(connection)
        self._stalled.pop(connection, None)
        group = self._groups[connection.address]
        self._all.count -= 1
        group.count -= 1
        if not group.count:
            del self._groups[connection.address]
        self.on_room()

    def busy(self, connection: Waiting) -> None:
        """A request has begun, so the connection no longer waits."""
        group = self._groups[connection.address]
        for of in (self._all, group):
            of.silent.pop(connection, None)
            of.idle.pop(connection, None)

    def idle(self, connection: Waiting) -> None:
        """A response is complete, so the connection waits for the next request."""
        self._all.idle[connection] = None
        self._groups[connection.address].idle[connection] = None

    def ending(self, connection: Waiting) -> None:
        """The connection only waits for the client to read the last response."""
        self.busy(connection)
        self._all.silent[connection] = None
        self._groups[connection.address].silent[connection] = None

    def stalled(self, connection: Waiting, now: float) -> None:
        """The client does not read."""
        self._stalled[connection] = now

    def moving(self, connection: Waiting) -> None:
        """The client reads again."""
        self._stalled.pop(connection, None)

    def _evict(self, group: _Group, newcomer: Waiting, now: float) -> bool:
        victim = group.oldest()
        if victim is None or victim is newcomer:
            victim = next(self._unread_by(group, newcomer.address, now), None)
        if victim is None:
            return False
        self.evicted += 1
        self.busy(victim)
        self._stalled.pop(victim, None)
        victim.evict()
        return True

    def _unread_by(self, group: _Group, address: str, now: float) -> Iterator[Waiting]:
        """The connections of the group whose clients have not read for a while, in the order of their stalls."""
        for connection, since_s in self._stalled.items():
            if since_s + _PATIENCE_S > now:
                return
            if group is self._all or connection.address == address:
                yield connection

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._ticking = None
        self.limits = self._read_limits()
        now = loop.time()
        for connection in [*self._expired(now)]:
            connection.expire()
        if self._all.count:
            self._ticking = loop.call_later(_TICK_S, self._tick, loop)

    def _expired(self, now: float) -> Iterator[Waiting]:
        for waiting in (self._all.silent, self._all.idle):
            for connection in waiting:
                if connection.deadline <= now:
                    yield connection


def address_of(client: tuple[str, int] | None) -> str:
    """The address that is counted: of IPv6 its /64, which one client may have as a whole; empty for a unix socket."""
    if client is None:
        return ""
    host = plain(client[0])
    if ":" not in host:
        return host
    return str(ipaddress.IPv6Network((int(ipaddress.IPv6Address(host)) >> 64 << 64, 64)))
