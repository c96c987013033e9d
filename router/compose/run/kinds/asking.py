"""When a further member is asked."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from router.compose.gate import Gate
from router.compose.prior_gate import PriorGate
from router.compose.run.draft import Draft
from router.compose.run.member import Members
from router.decide.plans.spec import FixedGate, GateRule

_PRIOR = PriorGate()


def gate_of(members: Members, rule: GateRule) -> Gate:
    """The gate that a plan's rule names."""
    return _PRIOR if rule == "prior" else members.gate.of(members.plan.members)


def is_worth_asking(members: Members, rule: GateRule, drafts: Sequence[Draft], later: Sequence[str]) -> bool:
    """Whether the first card of `later`, the members that are left, is asked after these drafts.

    It is where none of them may be right, or where the gain of asking it, or it and the next ones, exceeds the price.
    """
    gate = gate_of(members, rule)
    rights = members.rights(drafts, gate)
    if all(draft.failed for draft in drafts):
        return True
    if isinstance(rule, FixedGate):
        return max(rights) < rule.threshold
    priors = [members.prior(card) for card in later]
    gains = gate.gains(members.asked(drafts), priors, members.forecasts.usual_quality)
    prices = itertools.accumulate(price_of(members, card) for card in later)
    return any(gain > price for gain, price in zip(gains, prices, strict=False))


def price_of(members: Members, card: str) -> float:
    """What a call of the card costs, in units of quality."""
    cost_usd = members.forecasts.cost_usd
    # A call whose price is not known may cost as much as the dearest that is.
    return members.plan.quality_per_usd * cost_usd.get(card, max(cost_usd.values(), default=0.0))
