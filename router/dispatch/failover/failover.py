"""The failures of one request, and what is left to try."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from router.cards.schema import Card
from router.dispatch.failover.account import account_of, host_of_server
from router.dispatch.response import UpstreamResponse, fault_in
from router.errors import FieldError, UpstreamError
from router.wire.errors import KINDS, Fault, ReportedError, kind_of_failure

if TYPE_CHECKING:
    from router.dispatch.pool.deployment import Deployment

# An HTTP response says more than a broken connection, of whatever kind.
_WITHOUT_RESPONSE = 100
MAX_DOUBTS = 2


class Failover:
    """The order of attempts of one request.

    Deployments that would probably fail like those before (with the same key at the same host, of the same model) are
    tried last rather than never: another may be healthy all the same. A card with less context than a request needs is
    left out.
    """

    def __init__(self, cards: Sequence[Card]) -> None:
        self._cards = cards
        self.tried: set[str] = set()
        self.is_over = False
        self._alike: set[object] = set()
        self._too_small_tokens: int | None = None
        self._doubts = 0
        self._rank = 2 * _WITHOUT_RESPONSE
        self._answer: UpstreamResponse | UpstreamError | FieldError | None = None

    @property
    def cards(self) -> Sequence[Card]:
        """The cards that may still answer, in their order."""
        too_small = self._too_small_tokens
        if too_small is None:
            return self._cards
        return [card for card in self._cards if card.context_tokens is None or card.context_tokens >= too_small]

    def avoids(self, deployment: Deployment) -> bool:
        """Whether the deployment would probably fail like those before."""
        card = deployment.card
        if self._too_small_tokens is not None and card.context_tokens == self._too_small_tokens:
            return True
        return bool(self._alike) and not self._alike.isdisjoint(
            (card.id_without_effort, account_of(card), host_of_server(card))
        )

    def add(self, deployment: Deployment, failure: UpstreamResponse | UpstreamError) -> None:
        """Take in the failure of an attempt at `deployment`."""
        card = deployment.card
        fault: Fault | None
        if isinstance(failure, UpstreamResponse):
            fault = fault_in(failure)
            meaning = fault.meaning
        else:
            fault = failure.reported if isinstance(failure, ReportedError) else None
            meaning = KINDS[kind_of_failure(failure)]
        match meaning.then:
            case "end":
                self.is_over = True
            case "one_more":
                self._doubts += 1
                self.is_over = self._doubts == MAX_DOUBTS
            case "roomier" if fault is not None:
                self._need_more_than(card, fault)
            case _:
                pass
        match meaning.shared_by:
            case "model":
                self._alike.add(card.id_without_effort)
            case "key" if (account := account_of(card)) is not None:
                self._alike.add(account)
            case "host":
                self._alike.add(host_of_server(card))
            case _:
                pass
        rank = meaning.rank + (0 if fault is not None else _WITHOUT_RESPONSE)
        if rank < self._rank or (rank == self._rank and rank):
            self._rank, self._answer = rank, failure

    def refuse(self, error: FieldError) -> None:
        """Take in that a server supports a field of the request so little that it was not called."""
        self._answer = self._answer or error

    def answer(self) -> UpstreamResponse:
        """The error for the client after all attempts. Raises it where it is no HTTP response."""
        answer, self._answer = self._answer, None
        assert answer is not None
        if isinstance(answer, UpstreamError | FieldError):
            try:
                raise answer
            finally:
                # The error refers to this frame.
                del answer
        return answer

    def _need_more_than(self, card: Card, fault: Fault) -> None:
        """The request is too long for `card`. Another of the same context is asked once, since cards may state more
        than their server has.
        """
        known = [tokens for tokens in (card.context_tokens, fault.limit_tokens) if tokens is not None]
        if not known:
            return
        room_tokens = min(known)
        if self._too_small_tokens is not None and room_tokens <= self._too_small_tokens:
            self.is_over = True
        else:
            self._too_small_tokens = room_tokens
