"""How busy the servers of cards are, for the goal `load`."""

from __future__ import annotations

import collections
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
        self._running: collections.Counter[_Place] = collections.Counter()
        self._waiting: collections.Counter[_Place] = collections.Counter()

    def begin(self, deployment: Deployment) -> None:
        """A call begins."""
        self._running[_place(deployment)] += 1

    def end(self, deployment: Deployment) -> None:
        """A call has ended."""
        _decrement(self._running, _place(deployment))

    def running(self, deployment: Deployment) -> int:
        """The calls that run at a server, whatever their adapters are."""
        return self._running[_place(deployment)]

    @contextlib.contextmanager
    def waiting(self, first_choice: Sequence[Deployment]) -> Iterator[None]:
        """A call waits for a place, rather at one of these deployments, inside `with`."""
        places = [_place(each) for each in first_choice[:1]]
        for place in places:
            self._waiting[place] += 1
        try:
            yield
        finally:
            for place in places:
                _decrement(self._waiting, place)

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
        places = {_place(each) for each in deployments}
        waiting = sum(self._waiting[place] for place in places) / len(deployments)
        least = min(
            (self._running[_place(each)] + waiting) / (each.limits.concurrency or USUAL_CONCURRENCY)
            for each in deployments
        )
        return round(min(least, 1.0), 4)


def _place(deployment: Deployment) -> _Place:
    card = deployment.card
    return card.base or card.server_id, deployment.server


def _decrement(counter: collections.Counter[_Place], place: _Place) -> None:
    counter[place] -= 1
    if counter[place] <= 0:
        del counter[place]
