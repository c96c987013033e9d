"""The servers that a card's model runs on."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from router.cards.schema import Card, RateLimits

_NO_LIMITS = RateLimits()


class Deployment(Struct, frozen=True, eq=False):
    """One server of a card. `card` is the card as if this were its only one."""

    name: str
    card: Card

    @property
    def limits(self) -> RateLimits:
        """What the server accepts."""
        return self.card.rate_limits or _NO_LIMITS


def deployments_of(card: Card) -> tuple[Deployment, ...]:
    """The servers of `card`: `small` where it has one, else `small#1`, `small#2` …"""
    if not card.deployments:
        return (Deployment(card.id, card),)
    return tuple(
        Deployment(
            f"{card.id}#{number}",
            msgspec.structs.replace(
                card,
                base_url=place.base_url,
                api_key_env=place.api_key_env,
                rate_limits=place.rate_limits,
                deployments=(),
            ),
        )
        for number, place in enumerate(card.deployments, 1)
    )
