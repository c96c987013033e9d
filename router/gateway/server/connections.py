"""The connections of one worker: how many there are, of whom, and which are closed for the sake of others.

A connection without a request in progress *waits*. Where there are too many connections, one that waits is closed, and
after those one whose client does not read its response. So clients that only hold connections open never keep out those
that send requests.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Iterator

from router.gateway.config.connections import ConnectionLimits
from router.gateway.http.client.address import plain
from router.gateway.server.http.head import is_health
from router.gateway.server.waiting import Waiting, WaitingRoom

SURPLUS = 32
"""Connections beyond the limits, for health checks; any other request on them is answered with status 503 while there
is no room."""

_TICK_S = 1.0
# A client that does not read its response makes room for others after so long, where nothing waits. Its request ends by
# `timeouts.send`.
_PATIENCE_S = 5.0


class _Group:
    """The connections of all clients, or of one address, and those of them that wait."""

    def __init__(self) -> None:
        self.count = 0
        self.waiting = WaitingRoom()

    @property
    def busy(self) -> int:
        """The number of connections with a request in progress."""
        return self.count - len(self.waiting)


class Connections:
    """The connections of one worker. `limits` returns the current limits; `capacity` is what descriptors allow;
    `is_trusted` says whether a peer has no limit of its own; `base_path` is that of the gateway behind a proxy.

    `common_head` are header lines of every response. `on_room` is called whenever a connection has been closed.
    `refused` counts requests refused because of too many connections, `evicted` the connections closed in favour of
    others, `invalid_heads` the heads that were refused.
    """

    def __init__(
        self,
        limits: Callable[[], ConnectionLimits] = ConnectionLimits,
        capacity: int = 1_000_000,
        max_unread: int = 2**24,
        is_trusted: Callable[[str], bool] = lambda _: False,
        base_path: Callable[[], str] = lambda: "",
    ) -> None:
        self._is_trusted, self._base_path = is_trusted, base_path
        self._read_limits, self.capacity = limits, capacity
        self.limits = limits()
        self.max_unread_bytes = max_unread
        self.common_head = b""
        self.on_room: Callable[[], None] = lambda: None
        self.refused = self.evicted = self.invalid_heads = 0
        self._all = _Group()
        self._groups: dict[str, _Group] = {}
        # Since when connections wait, None where a request is in progress, as far as their groups do not know it yet.
        self._changed: dict[Waiting, float | None] = {}
        self._stalled: dict[Waiting, float] = {}
        # Closed for others, and counted no more. The event loop reports their end soon.
        self._closing: set[Waiting] = set()
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
        if self._all.count < self.total + SURPLUS or self._stalled:
            return False
        self._note_changes()
        return not self._all.waiting

    def add(self, connection: Waiting, loop: asyncio.AbstractEventLoop) -> bool:
        """Count a new connection, which waits. Return false for a surplus one."""
        self._note_changes()
        group, now_s = self._groups.setdefault(connection.address, _Group()), loop.time()
        for of in (self._all, group):
            of.count += 1
            of.waiting.open(connection, now_s)
        if self._ticking is None:
            self._ticking = loop.call_later(_TICK_S, self._tick, loop)
        return all(self._make_room(of, limit, connection, now_s) for of, limit in self._limited(connection))

    def admits(self, connection: Waiting, now_s: float) -> bool:
        """Whether there is room for the request that has come on a surplus connection: others only wait, or do not
        read and are closed.
        """
        self._note_changes()
        for group, limit in self._limited(connection):
            while group.busy >= limit:
                victim = next(self._unread_by(group, connection.address, now_s), None)
                if victim is None:
                    return False
                self._evict(victim)
        return True

    def serves_always(self, url: bytes) -> bool:
        """Whether a request for `url` is served on a surplus connection, too."""
        return is_health(url, self._base_path())

    def remove(self, connection: Waiting) -> None:
        """Forget a connection that was closed."""
        if connection in self._closing:
            self._closing.remove(connection)
        else:
            self._uncount(connection)
        self.on_room()

    def busy(self, connection: Waiting) -> None:
        """A request has begun, so the connection no longer waits."""
        assert connection.address in self._groups
        self._changed[connection] = None

    def idle(self, connection: Waiting, now_s: float) -> None:
        """A response is complete, so the connection waits for the next request."""
        assert connection.address in self._groups
        # In the order in which they began to wait.
        self._changed.pop(connection, None)
        self._changed[connection] = now_s

    def ending(self, connection: Waiting, now_s: float) -> None:
        """The connection only waits for the client to read the last response."""
        self._changed.pop(connection, None)
        for of in self._groups_of(connection):
            of.waiting.end(connection, now_s)

    def stalled(self, connection: Waiting, now: float) -> None:
        """The client does not read."""
        self._stalled[connection] = now

    def moving(self, connection: Waiting) -> None:
        """The client reads again."""
        self._stalled.pop(connection, None)

    def _groups_of(self, connection: Waiting) -> tuple[_Group, _Group]:
        return self._all, self._groups[connection.address]

    def _note_changes(self) -> None:
        """Sort in the connections that have begun or ended a request: not with each, since hardly any makes room."""
        changed, self._changed = self._changed, {}
        for connection, since_s in changed.items():
            for of in self._groups_of(connection):
                if since_s is None:
                    of.waiting.leave(connection)
                else:
                    of.waiting.idle(connection, since_s)

    def _uncount(self, connection: Waiting) -> None:
        self._changed.pop(connection, None)
        self._stalled.pop(connection, None)
        for of in self._groups_of(connection):
            of.waiting.leave(connection)
            of.count -= 1
        if not self._groups[connection.address].count:
            del self._groups[connection.address]

    def _limited(self, connection: Waiting) -> Iterator[tuple[_Group, int]]:
        group = self._groups[connection.address]
        if group.count > self.limits.per_address and not self._is_trusted(connection.peer):
            yield group, self.limits.per_address
        yield self._all, self.total

    def _make_room(self, group: _Group, limit: int, newcomer: Waiting, now_s: float) -> bool:
        while group.count > limit:
            # Where requests take all the room, closing those that wait makes none.
            victim = group.waiting.first_to_go(limit, now_s) if group.busy < limit else None
            if victim is None or victim is newcomer:
                victim = next(self._unread_by(group, newcomer.address, now_s), None)
            if victim is None:
                break
            self._evict(victim)
        if group.count > limit + SURPLUS:
            victim = group.waiting.first_to_go(limit, now_s) or group.waiting.oldest_new()
            if victim is not None and victim is not newcomer:
                self._evict(victim)
        return group.count <= limit

    def _evict(self, victim: Waiting) -> None:
        self.evicted += 1
        self._uncount(victim)
        self._closing.add(victim)
        victim.evict()

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
        self._note_changes()
        for connection in [waiting for waiting in self._all.waiting if waiting.deadline <= now]:
            connection.expire()
        if self._all.count:
            self._ticking = loop.call_later(_TICK_S, self._tick, loop)


def address_of(client: tuple[str, int] | None) -> str:
    """The address that is counted: of IPv6 its /64, which one client may have as a whole; empty for a unix socket."""
    if client is None:
        return ""
    host = plain(client[0])
    if ":" not in host:
        return host
    return str(ipaddress.IPv6Network((int(ipaddress.IPv6Address(host)) >> 64 << 64, 64)))
