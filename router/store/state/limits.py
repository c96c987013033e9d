"""What all stores of the shared state agree on: units, hashes of conversations, and how a rejection reads."""

from __future__ import annotations

import hashlib
import math

from msgspec import Struct

from router.errors import BudgetError, RateLimitError
from router.store.state.protocol import Claim

NANO = 10**9
DAY_S = 86_400
MINUTE_US = 60_000_000
MAX_NANO = 10**18


class Amounts(Struct, frozen=True):
    """What a request needs, and the budget of its key, in 1e-9 US dollars; `day` is the UTC day since 1970."""

    day: int
    cost: int
    likely: int
    worst: int
    budget: int


def amounts_of(claim: Claim, now_s: float) -> Amounts:
    """The claim in whole units: costs are rounded up and the budget down, so that rounding never overspends."""
    cost = nano(claim.reserved_usd)
    likely = cost if claim.likely_usd is None else nano(claim.likely_usd)
    worst = max(cost, likely, 0 if claim.worst_usd is None else nano(claim.worst_usd))
    return Amounts(int(now_s // DAY_S), cost, likely, worst, math.floor(min(claim.budget_usd * NANO, MAX_NANO)))


def nano(cost_usd: float) -> int:
    """US dollars in units of 1e-9, rounded up. As integers, reservations and their release cancel out exactly."""
    if not cost_usd >= 0:
        raise ValueError(f"a cost cannot be {cost_usd}")
    # Twice the maximum budget, so that no budget allows a cost that was clipped.
    return math.ceil(min(cost_usd * NANO, 2 * MAX_NANO))


def step_us(rpm: int) -> int:
    """The time between requests at a rate of `rpm` a minute, in microseconds."""
    return max(MINUTE_US // rpm, 1)


def digest(key_id: str, session: str) -> bytes:
    """The hash by which a conversation of a key is stored."""
    text = f"{len(key_id)}:{key_id}:{session}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=16).digest()


def rate_rejection(key_id: str, rpm: int, wait_s: float) -> RateLimitError:
    """The error for a request above the rate of its key."""
    problem = f'rate limit of {rpm} requests a minute exceeded for the key "{key_id}"; retry in {wait_s:.1f} s'
    return RateLimitError(problem, wait_s)


def budget_rejection(
    claim: Claim, amounts: Amounts, spent: int, reserved: int, now_s: float, running_wait_s: float
) -> BudgetError:
    """Why a request cannot be accepted, and when money returns: where running requests have reserved it, in
    `running_wait_s` seconds.
    """
    problem = (
        f'daily budget of {claim.budget_usd:g}$ exceeded for the key "{claim.key_id}": {spent / NANO:.6g}$ spent, '
        f"{reserved / NANO:.6g}$ reserved for running requests, {amounts.likely / NANO:.3g}$ expected for this one"
    )
    if spent + amounts.likely > amounts.budget:
        left_s = (amounts.day + 1) * DAY_S - now_s
        return BudgetError(f"{problem}; the budget resets in {math.ceil(left_s / 60)} minutes, at 00:00 UTC", left_s)
    problem += f" and {amounts.worst / NANO:.3g}$ at most; it can be sent when they end"
    return BudgetError(f"{problem}; retry in {running_wait_s:.0f} s", running_wait_s, is_spent=False)
