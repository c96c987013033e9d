"""Decisions about the prompts of a set by policies that explore, made by the engine itself."""

from __future__ import annotations

import msgspec
import numpy as np
from msgspec import Struct

from bench.learn.streams import Outcomes
from router.cards import Card, Catalog
from router.decide.engine import RequestContext, decide
from router.decide.exploration.rule import Draw, ExplorationRule
from router.decide.flags import Flags, parse_flags
from router.decide.policy import Policy
from router.types import Doubles, Features, Forecast, Indices

_TOKENS = 400.0


class Logging(Struct, frozen=True, eq=False):
    """A policy that explores: for each prompt the choice `(prompts,)` and the propensities `(prompts, cards)`."""

    choice: Indices
    propensities: Doubles


def catalog_of(outcomes: Outcomes) -> Catalog:
    """A card for each column; ids keep their order."""
    return Catalog([Card(id=f"c{n:02}", provider="openai", model=name) for n, name in enumerate(outcomes.cards)])


def forecast_of(outcomes: Outcomes, row: int, cost_usd: Doubles) -> Forecast:
    """The forecast of all cards on a prompt, whose costs are `(cards,)`."""
    none = np.full(len(outcomes.cards), np.nan)
    return Forecast(
        quality=outcomes.expected[row],
        quality_std=outcomes.std[row],
        independent_std=outcomes.std[row],
        mean_quality=outcomes.expected.mean(axis=0),
        output_tokens=np.full(len(none), _TOKENS),
        written_tokens=np.full(len(none), _TOKENS),
        cost_usd=cost_usd,
        ttft_ms=none,
        latency_ms=none,
        compared=outcomes.compared[row],
    )


def costs_of(outcomes: Outcomes) -> Doubles:
    """Made-up costs of a request `(cards,)`, in dollars: a better card is dearer, since some sets state none."""
    level = outcomes.scores.mean(axis=0)
    costs: Doubles = 1e-4 * np.exp(6.0 * (level - level.min()) / np.ptp(level))
    return costs


def logging_policy(outcomes: Outcomes, policy: Policy, share: float) -> Logging:
    """What `policy` does with each prompt where it explores `share` of the requests."""
    explores = msgspec.structs.replace(policy, explore=ExplorationRule(share=share))
    catalog, costs, size = catalog_of(outcomes), costs_of(outcomes), len(outcomes.scores)
    choice, propensities = np.zeros(size, dtype=np.intp), np.zeros((size, len(catalog)))
    for row in range(size):
        context = RequestContext(draw=Draw())
        decision = decide(catalog, _FEATURES, forecast_of(outcomes, row, costs), explores, Flags(), "", context)
        assert decision.exploration is not None
        choice[row] = catalog.ids.index(decision.exploration.choice)
        for name, probability in decision.exploration.propensities.items():
            propensities[row, catalog.ids.index(name)] = probability
    return Logging(choice, propensities)


def actions_of(outcomes: Outcomes, policy: Policy, flags: str = "") -> Indices:
    """The card that `policy` chooses for each prompt, `(prompts,)`."""
    catalog, costs, parsed = catalog_of(outcomes), costs_of(outcomes), parse_flags(flags)
    chosen = [
        decide(catalog, _FEATURES, forecast_of(outcomes, row, costs), policy, parsed, "").card
        for row in range(len(outcomes.scores))
    ]
    return np.array([catalog.ids.index(name) for name in chosen])


_FEATURES = Features(np.zeros(1, dtype=np.float32), 200, frozenset({"text"}), frozenset())
