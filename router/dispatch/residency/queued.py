"""The known next uses of adapters: the waiting requests, in the order of their tickets."""

from __future__ import annotations

from collections.abc import Collection, Iterator

NEVER = float("inf")

LATER_FIRST = 8
"""How many later requests may be served before one that needs an adapter to be loaded."""


class Waiting:
    """A request that waits. `servers`: where it could be served, any where empty. `passed`: how many later requests
    have begun at one of them while none could load its adapter.
    """

    __slots__ = ("adapter", "passed", "servers")

    def __init__(self, adapter: str, servers: frozenset[str]) -> None:
        self.adapter, self.servers, self.passed = adapter, servers, 0

    def may_use(self, server: str) -> bool:
        """Whether it could be served there."""
        return not self.servers or server in self.servers


class NextUses:
    """Which adapters the waiting requests need. A ticket is a request's number; lower ones are served earlier."""

    def __init__(self) -> None:
        self._waiting: dict[int, Waiting] = {}
        self._tickets: dict[str, set[int]] = {}

    def add(self, adapter: str, ticket: int, servers: Collection[str] = ()) -> None:
        """A request waits. A ticket that waits already is replaced."""
        self.remove(ticket)
        self._waiting[ticket] = Waiting(adapter, frozenset(servers))
        self._tickets.setdefault(adapter, set()).add(ticket)

    def remove(self, ticket: int) -> str | None:
        """A request waits no longer, or never did: the adapter for which no other one waits then."""
        waiting = self._waiting.pop(ticket, None)
        if waiting is None:
            return None
        tickets = self._tickets[waiting.adapter]
        tickets.remove(ticket)
        if tickets:
            return None
        del self._tickets[waiting.adapter]
        return waiting.adapter

    def next(self, adapter: str) -> float:
        """The ticket of the first request that needs `adapter`; NEVER where none is known to."""
        tickets = self._tickets.get(adapter)
        return min(tickets) if tickets else NEVER

    def at(self, server: str) -> Iterator[Waiting]:
        """The requests that could be served at `server`, by ticket."""
        return (self._waiting[ticket] for ticket in sorted(self._waiting) if self._waiting[ticket].may_use(server))
