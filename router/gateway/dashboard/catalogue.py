"""What the page shows of the configuration: cards with their facts and state, policies, plans, goals."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from router import __version__
from router.cards.schema import Card, to_plain
from router.decide.goals import GOALS
from router.decide.policy import Policy
from router.dispatch.pool.pool import DeploymentPool
from router.gateway.config.reload import ConfigReloader
from router.gateway.routing.adapters import AdapterServers
from router.gateway.routing.availability import AvailabilityMonitor
from router.gateway.routing.trials.experiments import Experiments

# What a card is called with says nothing about the model, and a header may hold a secret.
_NOT_SHOWN = frozenset({"headers", "api_key_env", "proxy", "ca_bundle", "examples", "not_examples"})


def setup(
    reloader: ConfigReloader, availability: AvailabilityMonitor, experiments: Experiments, *, has_records: bool
) -> dict[str, Any]:
    """The policies, plans, goals and names of cards, the state of the gateway, and how its experiments stand."""
    active = reloader.current
    router = active.router
    return {
        "version": __version__,
        "artifact": router.predictor.id,
        "has_records": has_records,
        "has_keys": bool(active.keys),
        "configuration": {"number": active.number, "loaded_at": active.loaded_at, "problem": reloader.problem},
        "goals": sorted(GOALS),
        "plans": [
            {"id": plan.id, "kind": plan.kind, "description": plan.description} for plan in router.plans.values()
        ],
        "cards": [card.id for card in router.catalog],
        "callable": availability.callable_cards,
        "policies": [_plain(policy) for policy in router.policies.values()],
        "experiments": experiments.standings(),
    }


def cards(
    reloader: ConfigReloader, availability: AvailabilityMonitor, pool: DeploymentPool, servers: AdapterServers
) -> dict[str, Any]:
    """Every card with its facts, what was measured of it, why it cannot be called, and its deployments; and what the
    servers of adapters hold.
    """
    from router.perceive.explanation import describe_card

    active, unavailable, cooling = reloader.current, availability.unavailable, pool.cooling_down()
    router = active.router
    return {
        "cards": [
            {
                "id": card.id,
                "facts": _shown(to_plain(card)),
                "examples": len(card.examples),
                "graded": len(active.evidence.get(card.id, ())),
                "evidence": describe_card(router.predictor, router.catalog, position, router.evidence),
                "problem": unavailable.get(card.id) or cooling.get(card.id),
                "deployments": _deployments(card, pool),
            }
            for position, card in enumerate(router.catalog)
        ],
        "servers": list(servers.held()),
    }


def _plain(policy: Policy) -> dict[str, Any]:
    """The policy as its file states it: what is as by default is left out."""
    plain: dict[str, Any] = msgspec.to_builtins(policy)
    defaults = {
        field.name: msgspec.to_builtins(field.default)
        for field in msgspec.structs.fields(Policy)
        if field.default is not msgspec.NODEFAULT and field.default is not msgspec.UNSET
    }
    return {name: value for name, value in plain.items() if value != defaults.get(name, {})}


def _shown(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts without what calls need, of the card's servers, too."""
    shown = {name: value for name, value in facts.items() if name not in _NOT_SHOWN}
    if "deployments" in shown:
        shown["deployments"] = [_shown(server) for server in shown["deployments"]]
    return shown


def _deployments(card: Card, pool: DeploymentPool) -> list[dict[str, Any]]:
    """`state` is why a call of no particular key would not begin there now, and `wait_s` for how long; None where it
    would.
    """
    found, now_s = [], time.monotonic()
    for deployment in pool.deployments_of(card):
        health = pool.health_of(deployment)
        unready = health.unready(deployment.limits, now_s)
        found.append(
            {
                "name": deployment.name,
                "url": deployment.card.base_url,
                "running": health.running,
                "works": health.works(""),
                "state": None if unready is None else unready.kind,
                "wait_s": None if unready is None else round(unready.seconds, 1),
            }
        )
    return found
