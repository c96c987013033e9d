"""The share of a limited resource that one holder may have, such as a key or a card."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

Share = Annotated[float, Meta(gt=0, le=1)]


class Shares(Struct, frozen=True, forbid_unknown_fields=True):
    """The greatest share of the requests in progress that one key, or the calls of one card, may have; 1 for no limit.

    It counts only where there are several keys, or several cards.
    """

    key: Share = 0.75
    card: Share = 0.75


def room(held: int, free: int, share: float) -> int:
    """How many of the `free` units a holder of `held` ones may take, one after the other, as `fits` allows it."""
    if share >= 1:
        return free
    # The tolerance keeps an exact limit, such as 6 of 8, in spite of rounding.
    return max(int(free * share - held * (1 - share) + 1e-9), 0 if held else min(free, 1))


def fits(held: int, weight: int, free: int, share: float) -> bool:
    """Whether a holder of `held` units may take `weight` of the `free` ones.

    It may hold at most `share / (1 - share)` times what is then still free: a single holder gets `share` of all, two
    greedy ones get equal parts and still leave some to a third (dynamic thresholds: Choudhury and Hahne, IEEE/ACM
    Transactions on Networking, 1998). A holder of nothing may always take what is free.
    """
    left = free - weight
    return left >= 0 and (held == 0 or share >= 1 or (held + weight) * (1 - share) <= left * share)
