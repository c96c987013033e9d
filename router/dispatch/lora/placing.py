"""How calls of adapters get their deployments: where there is room, in the order of the residency."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from router.cards.schema import Card
from router.dispatch.lora.claims import Claim

if TYPE_CHECKING:
    from router.dispatch.deployments import Deployment


class Adapters(Protocol):
    """What is asked of `router.dispatch.lora.control.AdapterControl`."""

    def order(
        self, card: Card, deployments: Sequence[Deployment], running: Callable[[Deployment], int]
    ) -> list[Deployment]: ...
    def can_hold(self, deployment: Deployment) -> bool: ...
    def is_loaded(self, deployment: Deployment) -> bool: ...
    def claim(self, deployment: Deployment) -> Claim | None: ...
    def expect(self, card: Card) -> int: ...
    def forget(self, ticket: int) -> None: ...


class Placing:
    """Where calls of adapters go; without `adapters`, and for other cards, it changes nothing. `running`: how many
    calls run at a server.
    """

    def __init__(self, adapters: Adapters | None, running: Callable[[Deployment], int]) -> None:
        self._adapters, self._running = adapters, running

    def places(self, card: Card) -> bool:
        """Whether the card is that of an adapter which a server must hold."""
        return card.adapters is not None and card.kind == "adapter" and self._adapters is not None

    def claims(
        self, card: Card, ready: Sequence[Deployment], preferred: str
    ) -> Iterator[tuple[Deployment, Claim | None]]:
        """Claims at the ready deployments of an adapter's card, best first, and None where there is no room. Take the
        first claim, and no more. `preferred` is the server that is asked first.
        """
        assert self._adapters is not None
        in_order = self._adapters.order(card, ready, self._running)
        for each in sorted(in_order, key=lambda each: each.server != preferred):
            yield each, self._adapters.claim(each)

    def can_hold_any(self, ready: Sequence[Deployment]) -> bool:
        """Whether one of these deployments of an adapter's card has the adapter, or room for it."""
        return self._adapters is None or any(map(self._adapters.can_hold, ready))

    @contextmanager
    def waiting(self, card: Card, deployments: Sequence[Deployment]) -> Iterator[Callable[[], bool]]:
        """A call waits for this card. The value tells whether its adapter is loaded somewhere."""
        if self._adapters is None or not self.places(card):
            yield lambda: True
            return
        is_loaded, ticket = self._adapters.is_loaded, self._adapters.expect(card)
        try:
            yield lambda: any(map(is_loaded, deployments))
        finally:
            self._adapters.forget(ticket)
