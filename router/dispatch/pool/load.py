"""How busy the servers of cards are, for the goal `load`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from router.cards.catalog import Catalog
from router.cards.schema import Card

if TYPE_CHECKING:
    from router.dispatch.pool.deployment import Deployment

USUAL_CONCURRENCY = 32
"""How many calls a deployment counts as able to run at once that states no `concurrency`."""

_Place = tuple[str, str]


class Load:
    """The calls that run, and those that wait, by the model and the server: adapters of one base share its servers."""

    def __init__(self) -> None:
        self._running: dict[_Place, int] = {}
        self._waiting: dict[_Place, int] = {}

    def begin(self, deployment: Deployment) -> None:
        """A call begins."""
        place = deployment.place
        self._running[place] = self._running.get(place, 0) + 1

    def end(self, deployment: Deployment) -> None:
        """A call has ended."""
        _count(self._running, deployment.place, -1)

    def running(self, deployment: Deployment) -> int:
        """The calls that run at a server, whatever their adapters are."""
        return self._running.get(deployment.place, 0)

    @contextlib.contextmanager
    def waiting(self, first_choice: Sequence[Deployment]) -> Iterator[None]:
        """A call waits for a place, rather at one of these deployments, inside `with`."""
        places = [each.place for each in first_choice[:1]]
        for place in places:
            _count(self._waiting, place, 1)
        try:
            yield
        finally:
            for place in places:
                _count(self._waiting, place, -1)

    def shares(self, catalog: Catalog, deployments_of: Callable[[Card], Sequence[Deployment]]) -> dict[str, float]:
        """By the ids of `Catalog.hosts`, the load of the least busy deployment, in [0, 1], where it is above 0."""
        if not self._running and not self._waiting:
            return {}
        shares = {host: self._share(deployments_of(catalog.named(host))) for host in catalog.hosts}
        return {host: share for host, share in shares.items() if share > 0}

    def _share(self, deployments: Sequence[Deployment]) -> float:
        """The calls that run and wait as a share of what can run at once, to four decimals."""
        if not deployments:
            return 0.0
        places = {each.place for each in deployments}
        waiting = sum(self._waiting.get(place, 0) for place in places) / len(deployments)
        least = min(
            (self.running(each) + waiting) / (each.limits.concurrency or USUAL_CONCURRENCY) for each in deployments
        )
        return round(min(least, 1.0), 4)


def _count(counts: dict[_Place, int], place: _Place, more: int) -> None:
    count = counts.get(place, 0) + more
    if count > 0:
        counts[place] = count
    else:
        counts.pop(place, None)
