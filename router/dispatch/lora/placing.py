"""How calls of adapters get their deployments: where there is room, in the order of the residency."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, Protocol

from router.cards.schema import Card
from router.dispatch.bounds.share import fits
from router.dispatch.lora.claims import Claim
from router.dispatch.lora.places import server_key

if TYPE_CHECKING:
    from router.dispatch.pool.deployment import Deployment


# The share of a server's slots that the adapters in use by one of several tenants may have.
_SHARE_OF_SLOTS = 0.75
_NONE: Counter[str] = Counter()


class Adapters(Protocol):
    """What is asked of `router.dispatch.lora.control.AdapterControl`."""

    def order(
        self, card: Card, deployments: Sequence[Deployment], running: Callable[[Deployment], int]
    ) -> list[Deployment]: ...
    def can_hold(self, deployment: Deployment) -> bool: ...
    def is_loaded(self, deployment: Deployment) -> bool: ...
    def claim(self, deployment: Deployment) -> Claim | None: ...
    def expect(self, card: Card, must_leave: Callable[[str], Collection[str]]) -> int: ...
    def forget(self, ticket: int) -> None: ...


class Placing:
    """Where calls of adapters go; without `adapters`, and for other cards, it changes nothing. `running`: how many
    calls run at a server.
    """

    def __init__(self, adapters: Adapters | None, running: Callable[[Deployment], int]) -> None:
        self._adapters, self._running = adapters, running
        # The calls of each adapter, by server and, where there are several keys, by tenant.
        self._uses: dict[tuple[str, str], Counter[str]] = {}

    def places(self, card: Card) -> bool:
        """Whether the card is that of an adapter which a server must hold."""
        return card.adapters is not None and card.kind == "adapter" and self._adapters is not None

    def begin(self, deployment: Deployment, tenant: str) -> None:
        """Count the start of a call."""
        for place in _places(deployment, tenant):
            self._uses.setdefault(place, Counter())[deployment.card.id] += 1

    def end(self, deployment: Deployment, tenant: str) -> None:
        """Count the end of a call."""
        for place in _places(deployment, tenant):
            uses = self._uses[place]
            uses[deployment.card.id] -= 1
            if not uses[deployment.card.id]:
                del uses[deployment.card.id]
            if not uses:
                del self._uses[place]

    def in_order(self, card: Card, ready: Sequence[Deployment], preferred: str) -> list[Deployment]:
        """The ready deployments of an adapter's card, best first. `preferred` is the server that is asked first."""
        assert self._adapters is not None
        in_order = self._adapters.order(card, ready, self._running)
        return sorted(in_order, key=lambda each: each.server != preferred)

    def claim(self, deployment: Deployment, tenant: str) -> Claim | Literal["no_room"] | None:
        """The claim of a call that begins now; None where the card states nothing of adapters. `no_room`: there is none
        for the adapter, or the tenant has its share.
        """
        if deployment.card.adapters is None:
            return None
        if self._adapters is None or not self.places(deployment.card):
            return Claim()
        claim = self._adapters.claim(deployment) if self._has_share(deployment, tenant) else None
        return "no_room" if claim is None else claim

    def _has_share(self, deployment: Deployment, tenant: str) -> bool:
        """Whether a tenant may use one more adapter at a server: one of several never has all slots, since calls may be
        long, and an adapter in use is not unloaded for others.
        """
        return not self._used_share(deployment, deployment.card, tenant)

    def _used_share(self, deployment: Deployment, card: Card, tenant: str) -> Collection[str]:
        """The cards whose adapters the tenant uses at a server, where it may not use that of `card` beside them; else
        none.
        """
        settings = deployment.card.adapters
        if not tenant or settings is None or settings.slots is None or not settings.loads:
            return ()
        of_all, own = (self._uses.get(place, _NONE) for place in _places(deployment, tenant))
        may_use = card.id in own or fits(len(own), 1, settings.slots - len(of_all), _SHARE_OF_SLOTS)
        return () if may_use else own

    def can_hold_any(self, ready: Sequence[Deployment], tenant: str) -> bool:
        """Whether one of these deployments of an adapter's card has the adapter, or room for it, for this tenant."""
        adapters = self._adapters
        return adapters is None or any(self._has_share(each, tenant) and adapters.can_hold(each) for each in ready)

    @contextmanager
    def waiting(self, card: Card, deployments: Sequence[Deployment], tenant: str) -> Iterator[Callable[[], bool]]:
        """A tenant's call waits for this card. The value tells whether its adapter is loaded somewhere."""
        if self._adapters is None or not self.places(card):
            yield lambda: True
            return
        at = {server_key(each): each for each in deployments}
        is_loaded = self._adapters.is_loaded
        ticket = self._adapters.expect(
            card, lambda server: self._used_share(at[server], card, tenant) if server in at else ()
        )
        try:
            yield lambda: any(map(is_loaded, deployments))
        finally:
            self._adapters.forget(ticket)


def _places(deployment: Deployment, tenant: str) -> tuple[tuple[str, str], ...]:
    """The server, whatever key it is called with, alone, and with the tenant if it is one of several; none where the
    card is no adapter's.
    """
    if deployment.card.kind == "model":
        return ()
    server = server_key(deployment)
    return ((server, ""), (server, tenant)) if tenant else ((server, ""),)
