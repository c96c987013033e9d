"""What the calls of one request cost so far, and what their upstreams still write."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from router.cards import Card, Catalog
from router.compose.run.ledger import Ledger
from router.dispatch import UpstreamResponse
from router.dispatch.costs import booked_usage, cost_of, lost_usage
from router.gateway.http.disconnect import CLIENT_CLOSED_REQUEST
from router.gateway.routing.selection import GatewayRequest, Selection
from router.types import Api, Attempt, Usage

Unfinished = Literal["nothing", "rest", "whole", "stream"]
"""What an upstream goes on to write after the end of a request: the rest of an answer, which may become as long as what
was reserved; a whole answer of which nothing has arrived, which costs that, too; or a stream that has not begun, which
servers end soon, and which costs what is likely.
"""


class Bill:
    """The calls of one request: `attempts` in order, those of a plan also in the `ledger`.

    `begun_attempts` counts the attempts that have begun. `is_endless`: the answer was given up while it was written.
    """

    def __init__(self, api: Api) -> None:
        self.attempts: list[Attempt] = []
        self.ledger = Ledger()
        self.begun_attempts = 0
        self.is_endless = False
        self._api = api
        self._booked: Usage | None = None
        self._costed: tuple[Usage, Card, float | None] | None = None

    def usage(self, request: GatewayRequest | None, response: UpstreamResponse | None) -> Usage | None:
        """The usage so far, estimated where the upstream reports none; None where no upstream has answered."""
        if self.ledger.plan:
            return self.ledger.usage()
        if response is None or request is None:
            return None
        if self._booked is None or not isinstance(response.body, bytes):
            self._booked = booked_usage(response, self._api, request.body)
        return self._booked

    def cost_usd(self, response: UpstreamResponse | None, usage: Usage | None) -> float | None:
        """The cost of the answer; None where it is not known."""
        if self.ledger.plan:
            return self.ledger.cost_usd()
        if response is None or usage is None:
            return None
        # The record and the headers of a whole answer state the same cost.
        if self._costed is None or self._costed[0] is not usage or self._costed[1] is not response.card:
            self._costed = usage, response.card, cost_of(response.card, usage)
        return self._costed[2]

    def charged_usd(
        self,
        request: GatewayRequest | None,
        selection: Selection | None,
        response: UpstreamResponse | None,
        usage: Usage | None,
    ) -> float | None:
        """The cost of the answer and of those that broke off before it; None where nothing is known."""
        cost = self.cost_usd(response, usage)
        if selection is None or request is None:
            return cost
        lost = _lost_usd(self.attempts, selection.catalog, request.body)
        return (cost or 0.0) + lost if lost else cost

    def unfinished(
        self, request: GatewayRequest | None, response: UpstreamResponse | None, status: int, usage: Usage | None
    ) -> Unfinished:
        """What an upstream writes on, of which the gateway has not waited for the end."""
        if request is None or self.ledger.plan:
            return "nothing"
        if response is not None:
            # The answer to a request in the background comes later, and is not read by the gateway.
            is_later = request.body.get("background") is True and response.status < 400
            return "rest" if self.is_endless or (is_later and (usage is None or usage.estimated)) else "nothing"
        is_cut_off = status in (CLIENT_CLOSED_REQUEST, 500) and self.begun_attempts > len(self.attempts)
        if not is_cut_off:
            return "nothing"
        return "stream" if request.stream else "whole"


def _lost_usd(attempts: Iterable[Attempt], catalog: Catalog, body: Mapping[str, Any]) -> float:
    """What answers cost that broke off before the last attempt, or in it: what had arrived of them is charged."""
    broken = [(catalog.named(each.card), each.delivered_tokens) for each in attempts if each.delivered_tokens]
    return sum([cost_of(card, lost_usage(body, tokens)) or 0.0 for card, tokens in broken])
