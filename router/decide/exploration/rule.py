"""How much a policy explores, and what a decision needs from outside for that."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from router.propensities import Exploration

SHARE_USED, MONEY_USED = "the share is used up", "the money of this day is used up"
UNREACHABLE = "the shared state does not respond"
USED_UP = frozenset({SHARE_USED, MONEY_USED, UNREACHABLE})
"""Why nothing may be drawn at present, whatever the request is."""


class ExplorationRule(Struct, frozen=True, forbid_unknown_fields=True):
    """How much a policy explores: `share` is the greatest share of its requests that another card answers than the
    choice, `dollars_per_day` what these may cost together in a UTC day, over all workers and gateways.
    """

    share: Annotated[float, Meta(gt=0, le=0.5)] = 0.02
    dollars_per_day: Annotated[float, Meta(gt=0, le=1e6)] = 2.0


class Draw(Struct, frozen=True):
    """What a decision needs from outside to explore.

    `number` in [0, 1) decides; without one nothing is drawn, and the propensities are explained only. `prevented` is
    why nothing may be drawn, empty where something may. `refused`: what was drawn cannot be paid, so the choice
    answers. `no_dearer`: only cards that are forecast to cost no more than the choice may be drawn.
    """

    number: float | None = None
    prevented: str = ""
    refused: bool = False
    no_dearer: bool = False


def draw_again(exploration: Exploration | None) -> Draw | None:
    """What a decision needs to explore as it did in a recorded one."""
    if exploration is None:
        return None
    return Draw(exploration.number, exploration.prevented, exploration.refused, exploration.no_dearer)
