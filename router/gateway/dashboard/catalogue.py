"""What the page shows of the configuration: cards with their facts and state, policies, plans, goals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router import __version__
from router.cards.schema import Card, to_plain
from router.decide.goals import GOALS
from router.dispatch.pool.pool import DeploymentPool
from router.gateway.config.reload import ConfigReloader
from router.gateway.routing.availability import AvailabilityMonitor

# What a card is called with says nothing about the model, and a header may hold a secret.
_NOT_SHOWN = frozenset({"headers", "api_key_env", "proxy", "ca_bundle", "examples", "not_examples"})


def setup(reloader: ConfigReloader, availability: AvailabilityMonitor, *, has_records: bool) -> dict[str, Any]:
    """The policies, plans, goals and names of cards, and the state of the gateway."""
    active = reloader.current
    router = active.router
    return {
        "version": __version__,
        "artifact": router.predictor.id,
        "has_records": has_records,
        "has_keys": bool(active.keys),
        "configuration": {"number": active.number, "loaded_at": active.loaded_at, "problem": reloader.problem},
        "goals": sorted(GOALS),
        "plans": sorted(router.plans),
        "cards": [card.id for card in router.catalog],
        "callable": availability.callable_cards,
        "policies": [
            {
                "id": policy.id,
                "description": policy.description,
                "goals": policy.goals,
                "limits": policy.limits,
                "mistake_usd": policy.mistake_usd,
                "plans": policy.plans,
                "guard": policy.guard_rule is not None,
            }
            for policy in router.policies.values()
        ],
    }


def cards(reloader: ConfigReloader, availability: AvailabilityMonitor, pool: DeploymentPool) -> list[dict[str, Any]]:
    """Every card with its facts, what was measured of it, why it cannot be called, and its deployments."""
    active, unavailable, cooling = reloader.current, availability.unavailable, pool.cooling_down()
    return [
        {
            "id": card.id,
            "facts": _shown(to_plain(card)),
            "examples": len(card.examples),
            "graded": len(active.evidence.get(card.id, ())),
            "problem": unavailable.get(card.id) or cooling.get(card.id),
            "deployments": _deployments(card, pool),
        }
        for card in active.router.catalog
    ]


def _shown(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts without what calls need, of the card's servers, too."""
    shown = {name: value for name, value in facts.items() if name not in _NOT_SHOWN}
    if "deployments" in shown:
        shown["deployments"] = [_shown(server) for server in shown["deployments"]]
    return shown


def _deployments(card: Card, pool: DeploymentPool) -> list[dict[str, Any]]:
    found = []
    for deployment in pool.deployments_of(card):
        health = pool.health_of(deployment)
        found.append({"name": deployment.name, "running": health.running, "works": health.works("")})
    return found
