"""Fairness between tenants by virtual token counters (Sheng et al., OSDI 2024).

The tenant that has used the fewest tokens since somebody has had to wait is served next. What a call uses is known only
when it ends; while it runs, it counts as much as calls have used lately.

The counters of two tenants that wait for the same slots differ by at most R · L, where R is how many calls of both run
at once and L the most tokens that one call uses: whoever was served last had the lowest counter, the running calls of
the other one included, and is charged only for its own running calls afterwards. A tenant that comes begins with the
lowest counter of those that wait, so it gets nothing for the time in which it did not wait.
"""

from __future__ import annotations

from collections.abc import Iterable

_SHARE_OF_LAST = 0.1


class TokenCounters:
    """How many tokens every tenant has used since somebody has had to wait. While nobody waits, nothing is counted."""

    def __init__(self) -> None:
        self._counters: dict[str, float] = {}
        self._waiting: set[str] = set()
        self._running: dict[str, int] = {}
        self._usual_tokens = 0.0

    def counter(self, tenant: str) -> float:
        """The tokens that the ended calls of a tenant have used; at least the lowest counter of those that wait."""
        return max(self._counters.get(tenant, 0.0), self._lowest())

    def join(self, tenant: str) -> None:
        """A request of the tenant waits. A tenant of which none did is lifted to the lowest counter of the others."""
        if tenant not in self._waiting:
            self._counters[tenant] = self.counter(tenant)
            self._waiting.add(tenant)

    def leave(self, tenant: str) -> None:
        """No request of the tenant waits any more."""
        self._waiting.discard(tenant)
        if not self._waiting:
            self._counters.clear()

    def begin(self, tenant: str) -> None:
        """A call of the tenant begins."""
        self._running[tenant] = self._running.get(tenant, 0) + 1

    def end(self, tenant: str) -> None:
        """A call of the tenant has ended."""
        left = self._running.get(tenant, 0) - 1
        if left > 0:
            self._running[tenant] = left
        else:
            self._running.pop(tenant, None)

    def charge(self, tenant: str, tokens: float | None) -> None:
        """A call of the tenant has used this many tokens; None where that is unknown: as many as calls used lately."""
        if tokens is None:
            tokens = self._usual_tokens
        else:
            self._usual_tokens += _SHARE_OF_LAST * (tokens - self._usual_tokens) if self._usual_tokens else tokens
        if self._waiting:
            self._counters[tenant] = self.counter(tenant) + tokens

    def next(self, tenants: Iterable[str]) -> str:
        """The tenant to serve: the lowest counter, of equals the first. Raises ValueError where there are none."""
        lowest = self._lowest()

        def tokens(tenant: str) -> float:
            return max(self._counters.get(tenant, 0.0), lowest) + self._usual_tokens * self._running.get(tenant, 0)

        return min(tenants, key=tokens)

    def _lowest(self) -> float:
        return min((self._counters[tenant] for tenant in self._waiting), default=0.0)
