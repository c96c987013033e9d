"""The plans that a key may name, and the error for a name that stands for nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from router.decide.plans.catalog import Plans
from router.decide.plans.shape import cards_named_in
from router.decide.plans.spec import PREFIX
from router.decide.policy import Policies, Policy
from router.errors import UnknownModelError, did_you_mean, excerpt
from router.gateway.config.keys import Key

if TYPE_CHECKING:
    from router.gateway.routing.selection import GatewayRequest


def unknown_model(name: str, usable: Iterable[str] = ()) -> UnknownModelError:
    """The error for an unknown model, with a similar one of the names that the key may use."""
    return UnknownModelError(f'there is no model "{excerpt(name)}"{did_you_mean(name, usable)}')


def plans_of(key: Key | None, policies: Policies, plans: Plans, hidden: Collection[str] = ()) -> tuple[str, ...]:
    """The plans that a key may name: those of its policies where these alone choose, else all but those that name a
    card which is `hidden` from it. Their members must be cards that the key allows like any other.
    """
    ids = plans.ids
    if hidden:
        ids = tuple(name for name in ids if not any(card in hidden for card in cards_named_in(plans[name])))
    if key is None or not key.only_narrows:
        return ids
    used = {name for policy in policies.values() if key.allows_policy(policy.id) for name in policy.plans}
    return tuple(name for name in ids if name in used)


def named_plan(request: GatewayRequest, name: str, policy: Policy) -> str:
    """The id of the plan that the client named. Raises UnknownModelError where there is none that the key may use."""
    router, key = request.active.router, request.key
    allowed = plans_of(key, router.policies, router.plans, request.active.keys.hidden(key))
    # Where the key's policies alone choose, this policy must have the plan.
    if name not in allowed or (key is not None and key.only_narrows and name not in policy.plans):
        raise unknown_model(f"{PREFIX}{name}", tuple(f"{PREFIX}{each}" for each in allowed))
    return name
