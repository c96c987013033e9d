"""Connections without a request in progress, and which of them makes room first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

# A head follows its connection at once. So long a connection is not closed for another one, unless there are many such.
_GRACE_S = 0.5


class Waiting(Protocol):
    """A connection as this package needs it. `address` is what is counted, `peer` the whole address, or `unix`.

    `key_id` is the API key with which a request on it was accepted; empty where there was none.
    """

    address: str
    peer: str
    deadline: float

    @property
    def key_id(self) -> str:
        """The API key that this connection has shown."""

    def expire(self) -> None:
        """The deadline has passed."""

    def evict(self) -> None:
        """Close the connection in favour of another one."""


class _Kind:
    """Connections of one kind in the order of their waits, and by owner. Every step takes constant time."""

    def __init__(self) -> None:
        self._since_s: dict[Waiting, tuple[float, str]] = {}
        self._owned: dict[str, dict[Waiting, None]] = {}
        # The owners with so many connections each; of those with equally many, about the one that has had them for
        # longest comes first.
        self._ranks: dict[int, dict[str, None]] = {}
        self._most = 0

    def __len__(self) -> int:
        return len(self._since_s)

    def add(self, connection: Waiting, owner: str, now_s: float) -> None:
        """Take a connection, which is in no kind."""
        self._since_s[connection] = now_s, owner
        owned = self._owned.setdefault(owner, {})
        owned[connection] = None
        self._rank(owner, len(owned) - 1, len(owned))

    def remove(self, connection: Waiting) -> None:
        """Forget a connection of this kind."""
        _, owner = self._since_s.pop(connection)
        owned = self._owned[owner]
        del owned[connection]
        self._rank(owner, len(owned) + 1, len(owned))
        if not owned:
            del self._owned[owner]

    def oldest(self) -> Waiting | None:
        """The connection that has waited longest."""
        return next(iter(self._since_s), None)

    def oldest_of_most(self) -> Waiting | None:
        """The connection that has waited longest, of the owner that has most."""
        if not self._most:
            return None
        return next(iter(self._owned[next(iter(self._ranks[self._most]))]))

    def since(self, before_s: float) -> Iterator[Waiting]:
        """The connections that have waited since this time or longer."""
        for connection, (since_s, _) in self._since_s.items():
            if since_s > before_s:
                return
            yield connection

    def _rank(self, owner: str, before: int, after: int) -> None:
        if before:
            equals = self._ranks[before]
            del equals[owner]
            if not equals:
                del self._ranks[before]
        if after:
            self._ranks.setdefault(after, {})[owner] = None
        # It changes by one at most.
        self._most = max(self._most, after)
        if self._most not in self._ranks:
            self._most = after


class WaitingRoom:
    """The connections that wait, of all clients or of one address.

    Of four kinds: *new* ones, whose head may still be on its way; *silent* ones, which have sent no whole head, or
    have had their last response; those kept open without an API key, and those with one.
    """

    def __init__(self) -> None:
        self._new, self._silent, self._anonymous, self._known = _Kind(), _Kind(), _Kind(), _Kind()
        self._kind_of: dict[Waiting, _Kind] = {}

    def __len__(self) -> int:
        return len(self._kind_of)

    def __iter__(self) -> Iterator[Waiting]:
        return iter(self._kind_of)

    def open(self, connection: Waiting, now_s: float) -> None:
        """A connection begins."""
        self._add(self._new, connection, connection.address, now_s)

    def end(self, connection: Waiting, now_s: float) -> None:
        """Nothing is expected of this connection any more."""
        self.leave(connection)
        self._add(self._silent, connection, connection.address, now_s)

    def idle(self, connection: Waiting, now_s: float) -> None:
        """A response is complete."""
        self.leave(connection)
        if connection.key_id:
            self._add(self._known, connection, connection.key_id, now_s)
        else:
            self._add(self._anonymous, connection, connection.address, now_s)

    def leave(self, connection: Waiting) -> None:
        """A connection no longer waits, or never did."""
        if (kind := self._kind_of.pop(connection, None)) is not None:
            kind.remove(connection)

    def first_to_go(self, limit: int, now_s: float) -> Waiting | None:
        """The connection that makes room for another one where `limit` are allowed; None if none should.

        Silent ones go first, then those without a key, then those with one; of each kind, the owner of most loses
        first. New ones have had no chance yet, and go only where they are more than half of all.
        """
        for connection in [*self._new.since(now_s - _GRACE_S)]:
            self.end(connection, now_s)
        many_new = self._new if 2 * len(self._new) > limit else _NONE
        return (
            self._silent.oldest_of_most()
            or self._anonymous.oldest_of_most()
            or many_new.oldest()
            or self._known.oldest_of_most()
        )

    def oldest_new(self) -> Waiting | None:
        """The new connection that has waited longest."""
        return self._new.oldest()

    def _add(self, kind: _Kind, connection: Waiting, owner: str, now_s: float) -> None:
        kind.add(connection, owner, now_s)
        self._kind_of[connection] = kind


_NONE = _Kind()
