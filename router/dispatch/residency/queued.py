"""The known next uses of adapters: the waiting requests, in the order of their tickets."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

MustLeave = Callable[[str], Collection[str]]

NEVER = float("inf")

LATER_FIRST = 8
"""How many later requests may be served before one that needs an adapter to be loaded."""

# How many requests for each further server count as served soon. Fewer load more adapters in vain (`bench.residency`).
_SOON = 3


class Waiting:
    """A request that waits. `servers`: where it could be served, any where empty. `must_leave`: of which adapters at a
    server one has to leave before it may begin there, whatever room there is; none where it only needs room. `passed`:
    how many later requests have begun at one of them while it could not. `is_own`: it waits in this process.
    """

    __slots__ = ("adapter", "is_own", "must_leave", "passed", "servers")

    def __init__(self, adapter: str, servers: frozenset[str], must_leave: MustLeave, is_own: bool) -> None:
        self.adapter, self.servers, self.must_leave, self.passed = adapter, servers, must_leave, 0
        self.is_own = is_own

    def may_use(self, server: str) -> bool:
        """Whether it could be served there."""
        return not self.servers or server in self.servers


class NextUses:
    """Which adapters the waiting requests need. A ticket is a request's number; lower ones are served earlier."""

    def __init__(self) -> None:
        self._waiting: dict[int, Waiting] = {}
        self._tickets: dict[str, set[int]] = {}

    def add(
        self,
        adapter: str,
        ticket: int,
        servers: Collection[str] = (),
        must_leave: MustLeave = lambda _: (),
        *,
        is_own: bool = True,
    ) -> None:
        """A request waits. A ticket that waits already is replaced."""
        self.remove(ticket)
        self._waiting[ticket] = Waiting(adapter, frozenset(servers), must_leave, is_own)
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

    def __len__(self) -> int:
        """How many requests wait."""
        return len(self._waiting)

    def ahead(self, server: str, servers: int) -> Iterator[Waiting]:
        """The requests of this process that will probably be served at `server`, of so many: not the first ones, which
        any of the servers at which they could be served may take soon.
        """
        for place, waiting in enumerate(self.at(server)):
            if waiting.is_own and place >= _SOON * ((len(waiting.servers) or servers) - 1):
                yield waiting

    def at(self, server: str) -> Iterator[Waiting]:
        """The requests that could be served at `server`, by ticket."""
        return (self._waiting[ticket] for ticket in sorted(self._waiting) if self._waiting[ticket].may_use(server))
