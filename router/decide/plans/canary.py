"""Canaries: where the decision falls on a card that has one, the canary answers those requests that it is to take.

A canary is no candidate by itself: it never takes a request from any other card. Which requests it takes is an input of
the decision (`RequestContext.canaries`), so a decision is repeated as it was.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec
import numpy as np

from router.cards.adapter.canary import Canary
from router.cards.catalog import Catalog
from router.decide.limits import LimitResult
from router.decide.ranking import AVAILABLE, TRIED
from router.trials import CanaryChoice
from router.types import Indices, Mask, Plan, SinglePlan


class Trial:
    """The canaries that meet the limits of a request, and those of them that it is to go to (`admitted`, their ids)."""

    def __init__(self, catalog: Catalog, results: Sequence[LimitResult], admitted: Collection[str]) -> None:
        """`results` are all limits; a canary need not meet the one on canaries."""
        self._ids = catalog.ids
        others = [result for result in results if result.limit is not TRIED]
        # The answers of a predecessor count for comparison, too, while its canary cannot be called.
        lasting = [result for result in others if result.limit is not AVAILABLE]
        self._comparable = {of: each for of, each in catalog.canaries.items() if self._passes(each, lasting)}
        self._taking = {of for of, each in self._comparable.items() if each.card in admitted}
        self._taking = {of for of in self._taking if self._passes(self._comparable[of], others)}

    def _passes(self, canary: Canary, results: Sequence[LimitResult]) -> bool:
        return not any(result.fails[self._ids.index(canary.card)] for result in results)

    def admit(self, rejected: Mask) -> None:
        """The canaries that answer where no other card can are no longer `rejected`: they have what the request refers
        to.
        """
        rejected[[self._ids.index(self._comparable[of].card) for of in self._taking]] = False

    def applied(self, chosen: str, order: Indices, rejected: Mask) -> tuple[Indices, CanaryChoice | None]:
        """The order of the candidates, which the canary of the card `chosen` precedes where it answers instead, and
        whether it does; None where there is none that could. What answers is no longer `rejected`.
        """
        canary = self._comparable.get(chosen)
        if canary is None:
            return order, None
        choice = CanaryChoice(*canary.trial, chosen in self._taking)
        if choice.taken:
            position = self._ids.index(canary.card)
            rejected[position] = False
            order = np.concatenate([np.array([position], dtype=order.dtype), order])
        return order, choice


def predecessor(catalog: Catalog, card: str | None) -> str | None:
    """The card that a conversation is kept at: of one that a canary answered, the card whose share it takes."""
    return next((of for of, canary in catalog.canaries.items() if canary.card == card), card)


def conversation_card(catalog: Catalog, kept: str | None, rejected: Mask) -> int | None:
    """The position of the card that answered the conversation before, as far as it passes every limit; else None."""
    card = predecessor(catalog, kept)
    position = None if card is None else catalog.position(card)
    return None if position is None or rejected[position] else position


def with_predecessor(plan: Plan, choice: CanaryChoice, count: int) -> Plan:
    """The plan of a canary: where it fails, the card answers that would have answered without it."""
    if not choice.taken or not isinstance(plan, SinglePlan):
        return plan
    effort = plan.card.removeprefix(choice.card)
    others = [card for card in plan.fallbacks if card != choice.of + effort]
    return msgspec.structs.replace(plan, fallbacks=(choice.of + effort, *others)[: max(count, 1)])
