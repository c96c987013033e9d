"""What decides the requests of an experiment's arm."""

from __future__ import annotations

import msgspec
from msgspec import UNSET

from router.decide.guard import GuardRule
from router.decide.policy import Policy

# The arm's card answers wherever it may, and a conversation stays with its card.
_ALWAYS_DEFAULT = GuardRule(confidence=1.0, novelty=1.0)


def with_card(policy: Policy, card: str) -> Policy:
    """The policy of the arm in which `card` answers wherever it may: without plans, and without exploration, since an
    explored answer is another card's.
    """
    return msgspec.structs.replace(policy.with_plans(), default=card, guard=_ALWAYS_DEFAULT, explore=UNSET)


def card_arms(policy: Policy) -> list[Policy]:
    """The policies of the arms of its experiment that name a card."""
    arms = () if policy.experiment is None else policy.experiment.arms
    return [with_card(policy, arm.card) for arm in arms if arm.card is not None]
