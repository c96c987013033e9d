"""The known next uses of adapters: the waiting requests, in the order of their tickets."""

from __future__ import annotations

from collections.abc import Iterator

NEVER = float("inf")


class NextUses:
    """Which adapters the waiting requests need. A ticket is a request's number; lower ones are served earlier."""

    def __init__(self) -> None:
        self._adapters: dict[int, str] = {}
        self._tickets: dict[str, set[int]] = {}

    def __len__(self) -> int:
        return len(self._adapters)

    def add(self, adapter: str, ticket: int) -> None:
        """A request waits. A ticket that waits already is moved to `adapter`."""
        self.remove(ticket)
        self._adapters[ticket] = adapter
        self._tickets.setdefault(adapter, set()).add(ticket)

    def remove(self, ticket: int) -> None:
        """A request waits no longer, or never did."""
        adapter = self._adapters.pop(ticket, None)
        if adapter is None:
            return
        tickets = self._tickets[adapter]
        tickets.remove(ticket)
        if not tickets:
            del self._tickets[adapter]

    def next(self, adapter: str) -> float:
        """The ticket of the first request that needs `adapter`; NEVER where none is known to."""
        tickets = self._tickets.get(adapter)
        return min(tickets) if tickets else NEVER

    def in_order(self) -> Iterator[str]:
        """The adapters that are needed, by first ticket."""
        return iter(sorted(self._tickets, key=self.next))
