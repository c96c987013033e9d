"""Which candidates may be drawn for a request, how probably, and which one is."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from router.cards.catalog import Catalog
from router.decide.exploration.rule import Draw, ExplorationRule
from router.decide.flags import Flags
from router.decide.goals import loss_weight
from router.decide.guard import confidence_of, uncertainty_of
from router.propensities import Exploration
from router.types import CanaryChoice, Doubles, Features, Forecast, Indices

MOST_DRAWN = 8
"""How many candidates may be drawn for one request: spread over more, none is tried often enough to learn of it."""

_DECIMALS = 9
_FOLLOWS_UP, _NAMED = "the conversation goes on", "the client named a plan"
_TOOLS, _STATE = "the request has tools", "only one call can answer the request"
_RELAXED, _CANARY = "no candidate meets every limit", "a canary stands for the choice"
_SURE, _ALONE = "no other candidate may be better", "no other card is a candidate"

# Needs of tools whose names do not say so.
_BUILT_IN_TOOLS = frozenset(
    {"code_interpreter", "computer_use", "file_search", "image_generation", "mcp", "memory", "shell", "text_editor"}
    | {"web_fetch", "web_search"}
)


class Asked(NamedTuple):
    """The request, as far as exploration depends on it: `kept` is the card of its conversation, `named_plan` the plan
    that the client named, `relaxed` what could not be met, `canary` the trial that the choice takes part in.
    """

    draw: Draw | None
    features: Features
    kept: str | None
    named_plan: str | None
    relaxed: Sequence[str]
    canary: CanaryChoice | None


class Scored(NamedTuple):
    """The candidates: `order` are positions, of which the first is the choice; those of plans follow those of the
    cards. `score` (lower is better) and `forecast` have one entry for each, `flags` are those by which they are scored.
    """

    order: Indices
    catalog: Catalog
    ids: Sequence[str]
    score: Doubles
    forecast: Forecast
    flags: Flags


def explore(rule: ExplorationRule | None, asked: Asked, scored: Scored) -> tuple[Indices, Exploration | None]:
    """The order of the candidates, which begins with the drawn one where one is drawn, and what was explored; None
    where the policy does not explore, or nobody draws.

    A candidate is drawn with the probability `share`, and each in proportion to the probability that its score is truly
    better than the choice's.
    """
    order, ids, draw = scored.order, scored.ids, asked.draw
    if rule is None or draw is None:
        return order, None
    choice = ids[int(order[0])]
    reason = draw.prevented or _prevented(asked)
    alternatives = {} if reason else _alternatives(draw, scored)
    if not alternatives:
        none = reason or (_SURE if len(order) > 1 else _ALONE)
        return order, Exploration(choice, {choice: 1.0}, draw.number, prevented=none, no_dearer=draw.no_dearer)
    total = sum(alternatives.values())
    drawn = {card: round(rule.share * weight / total, _DECIMALS) for card, weight in alternatives.items()}
    ends = list(itertools.accumulate(drawn.values()))
    propensities = {choice: round(1.0 - ends[-1], _DECIMALS)} | {ids[card]: share for card, share in drawn.items()}
    place = len(ends) if draw.number is None else bisect.bisect_right(ends, draw.number)
    result = Exploration(choice, propensities, draw.number, no_dearer=draw.no_dearer)
    if place == len(ends):
        return order, result
    if draw.refused:
        return order, msgspec.structs.replace(result, refused=True)
    card = list(drawn)[place]
    order = np.concatenate([np.array([card], dtype=order.dtype), order[order != card]])
    return order, msgspec.structs.replace(result, explored=ids[card])


def _prevented(asked: Asked) -> str:
    """Why no candidate may be drawn for this request; empty where one may."""
    reasons = {
        _FOLLOWS_UP: asked.kept is not None,
        _NAMED: asked.named_plan is not None,
        _TOOLS: any("tool" in need or need in _BUILT_IN_TOOLS for need in asked.features.needs),
        _STATE: bool(asked.features.indivisible),
        _RELAXED: bool(asked.relaxed),
        _CANARY: asked.canary is not None,
    }
    return next((reason for reason, applies in reasons.items() if applies), "")


def _alternatives(draw: Draw, scored: Scored) -> Mapping[int, float]:
    """The cards that may be drawn, most probable first, each with the probability that it is better than the choice."""
    score, cost_usd, catalog = scored.score, scored.forecast.cost_usd, scored.catalog
    std = loss_weight(scored.flags.goals) * uncertainty_of(scored.forecast.independent_std)
    choice, others = int(scored.order[0]), scored.order[1:]
    others = others[(others < len(catalog)) & ~np.isnan(cost_usd[others])]
    if draw.no_dearer:
        others = others[cost_usd[others] <= cost_usd[choice]]
    others = others[score[others] - std[others] < score[choice]]
    found = {
        card: confidence_of(float(score[choice] - score[card]), math.hypot(std[choice], std[card]))
        for card in others.tolist()
        if scored.ids[card] not in catalog.canaries
    }
    best = sorted(found.items(), key=lambda each: (-each[1], each[0]))[:MOST_DRAWN]
    return {card: confidence for card, confidence in best if confidence > 0}
