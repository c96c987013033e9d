"""Decisions that explore as much as possible, with random limits: none may break one."""

from __future__ import annotations

from typing import Literal

import numpy as np

from router import Router
from router.decide.engine import RequestContext, decide
from router.decide.exploration.rule import Draw, ExplorationRule, draw_again
from router.decide.fields import DecisionInputs
from router.decide.flags import Flags, parse_flags
from router.decide.limits import evaluate
from router.decide.policy import Policy
from router.errors import NoCandidateError
from router.types import Features, Forecast

_LIMITS = (
    *("size<10B", "size<80B", "context>=100k", "cost<=0.01$", "cost<=0.001$", "latency<20s", "price<5$", "price<1$"),
    *("quality>=0.5", "quality>=0.7", "released>2025", "!beta", "privacy!=public", "ttft<=2s", "size>=20B"),
)
_GOALS = ("cheapest*0.1", "fastest*0.1", "cheapest", "best*2")


def check_limits(decisions: int) -> None:
    """Decide this many times by the shipped catalogue, and print how many explored and how many broke a limit."""
    rng = np.random.default_rng(0)
    catalog = Router.default().catalog
    rule = ExplorationRule(share=0.5)
    explored = broken = differing = refused = 0
    for _ in range(decisions):
        forecast, features = _forecast(rng, len(catalog)), _features(rng)
        limits = rng.choice(_LIMITS, rng.integers(0, 3), replace=False).tolist()
        stated, asked = limits[:1], limits[1:]
        goals = rng.choice(_GOALS, rng.integers(0, 2)).tolist()
        guard: Literal["on", "off"] = "on" if rng.random() < 0.5 else "off"
        policy = Policy(id="p", description="d", limits=tuple(stated), explore=rule, guard=guard)
        flags = Flags(tuple(each for text in asked for each in parse_flags(text).limits), _goals(goals))
        away = dict.fromkeys(rng.choice(catalog.ids, rng.integers(0, 10), replace=False).tolist(), "away")
        number = float(rng.random())
        try:
            context = RequestContext(away, draw=Draw(number, no_dearer=bool(rng.integers(2))))
            decision = decide(catalog, features, forecast, policy, flags, "", context)
        except NoCandidateError:
            refused += 1
            continue
        found = decision.exploration
        assert found is not None
        if found.explored is None:
            continue
        explored += 1
        position = catalog.ids.index(found.explored)
        inputs = DecisionInputs(catalog, forecast, None, features.input_tokens, {})
        failed = [
            limit
            for limit in policy.flags.overridden_by(flags).limits
            if evaluate(limit, inputs, unknown_passes=False).fails[position]
        ]
        broken += bool(failed) or found.explored in away or not found.propensities[found.explored] > 0
        again = RequestContext(away, draw=draw_again(found))
        repeated = decide(catalog, features, forecast, policy, flags, "", again)
        differing += (repeated.plan, repeated.exploration) != (decision.plan, decision.exploration)
    print(
        f"{decisions:,} decisions, {refused:,} without a candidate, {explored:,} explored; {broken} broke a limit, "
        f"{differing} differ when repeated",
        flush=True,
    )


def _goals(texts: list[str]) -> dict[str, float]:
    return dict(parse_flags(",".join(texts)).goals)


def _forecast(rng: np.random.Generator, cards: int) -> Forecast:
    def some(values: np.ndarray) -> np.ndarray:
        return np.where(rng.random(cards) < 0.1, np.nan, values)

    quality = rng.uniform(0.3, 0.95, cards)
    return Forecast(
        quality=quality,
        quality_std=rng.uniform(0.01, 0.3, cards),
        independent_std=some(rng.uniform(0.01, 0.3, cards)),
        mean_quality=quality,
        output_tokens=rng.uniform(50, 900, cards),
        written_tokens=rng.uniform(50, 900, cards),
        cost_usd=some(10 ** rng.uniform(-5, -1, cards)),
        ttft_ms=some(rng.uniform(100, 4_000, cards)),
        latency_ms=some(rng.uniform(500, 60_000, cards)),
        novelty=float(rng.random()),
    )


def _features(rng: np.random.Generator) -> Features:
    return Features(np.zeros(1, dtype=np.float32), int(rng.integers(10, 20_000)), frozenset({"text"}), frozenset())
