"""Quality of single choice and of plans at equal mean cost, for every pool and budget of a set."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec
import numpy as np
from msgspec import Struct

from bench.compose.alternatives import TruthfulCommittees, fixed_rules, truthful_cascade
from router.errors import CallerError
from router.learn.data.answers import AnswerSet
from router.learn.data.vectors import vectors_of
from router.learn.evaluation.splits import duplicate_groups, fold_of_each, k_folds, leave_domain_out
from router.learn.plans.answer_gate import Gate, fit_gate
from router.learn.plans.committee import Committees, PlanOutcomes
from router.learn.plans.held_out import HeldOutCommittees, OwnCommittees
from router.learn.plans.out_of_fold import LinearOutOfFold
from router.learn.plans.pooled_gate import answered
from router.learn.plans.search import Means, choices, confirmed, find_plans, routing_forecast
from router.loading import load_encoder
from router.types import Doubles, Floats, Indices

BUDGETS = (0.2, 0.35, 0.5, 0.75, 1.0)
"""Mean cost of a request, in multiples of what the best single model costs."""
MORE_BUDGETS = (0.1, 0.15, *BUDGETS, 0.275, 0.425, 0.625, 0.875, 1.25, 1.5)
"""Those of a picture."""
FOLDS = 5
_FEWEST_PROMPTS = 2 * FOLDS
# The prices of money, as the quality that one call of the best model of a pool must gain, and the ratio of neighbours.
_LEAST_PRICE, _GREATEST_PRICE, _RATIO = 0.02, 3.0, 1.28
_STANDARD_ERRORS = 2.0
_SEED = 0
_DRAWS = 1000

Pools = dict[str, dict[str, dict[str, Any]]]


class Runner(Protocol):
    """What carries committees out over a set."""

    def run(self, members: tuple[int, ...]) -> PlanOutcomes:
        """The outcomes of asking `members` in this order."""


class Fitted(Struct, frozen=True, eq=False):
    """A set with everything that is fitted out of fold: `vectors` `(prompts, width)`, `folds` `(prompts,)`."""

    data: AnswerSet
    vectors: Floats
    folds: Indices
    gate: Gate


def fitted(data: AnswerSet, by: str = "prompt", control: str = "none") -> Fitted:
    """Fit the gate by folds of prompts or of whole domains. `shuffled`: answers and signals of other prompts.

    Without pools, all models are one, named `all`. Raises CallerError where there are too few prompts or domains.
    """
    different = len(np.unique(duplicate_groups(data.outcomes)))
    if different < _FEWEST_PROMPTS:
        raise CallerError(
            f"{data.name} has {different} different prompts with a score of every model in its pools; "
            f"at least {_FEWEST_PROMPTS} are needed"
        )
    if not data.pools:
        data = msgspec.structs.replace(data, pools={"all": tuple(range(len(data.models)))})
    vectors = vectors_of(data.prompts, load_encoder("static"))
    splits = leave_domain_out(data.outcomes) if by == "domain" else k_folds(data.outcomes, FOLDS, _SEED)
    # Several whole domains share a fold, so that there are as many fits as by prompts.
    folds = fold_of_each(splits, len(data.prompts)) % FOLDS
    if control == "shuffled":
        order = np.random.default_rng(_SEED).permutation(len(data.prompts))
        # Those of other prompts: a text, and who agrees with whom, says nothing about this one.
        data = msgspec.structs.replace(data, answers=data.answers[order], signals=data.signals[order])
    return Fitted(data, vectors, folds, fit_gate(data, vectors, folds))


def prices_of_money(data: AnswerSet) -> Doubles:
    """The prices of money λ, quality per USD, ascending: they follow from what the best model of each pool costs."""
    usual = [usd for pool in data.pools.values() if (usd := _usual_usd(data, pool)) > 0]
    least, greatest = _LEAST_PRICE / max(usual, default=1.0), _GREATEST_PRICE / min(usual, default=1.0)
    return np.geomspace(least, greatest, 1 + math.ceil(math.log(greatest / least, _RATIO)))


def _usual_usd(data: AnswerSet, pool: Sequence[int]) -> float:
    """The mean cost of a call of the best model of a pool."""
    best = max(pool, key=lambda model: float(data.scores[:, model].mean()))
    return float(data.cost_usd[:, best].mean())


def measure(given: Fitted, control: str = "none", shipped: bool = True, budgets: Sequence[float] = BUDGETS) -> Pools:
    """For every pool and budget: mean quality of single choice and with plans, the gain, and what else is compared.

    A budget below the cost of every model is exceeded by the cheapest one: single choice and plans are both this model.
    """
    data, folds, prices = given.data, given.folds, prices_of_money(given.data)
    kind = TruthfulCommittees if control == "oracle" else Committees
    committees = kind(data, given.gate, folds, prices)
    held_out = own = None
    if shipped:
        seen = answered(data, given.gate.prior)
        held_out = HeldOutCommittees(seen, data.cost_usd, folds, prices)
        own = OwnCommittees(held_out)
    forecast, rng = routing_forecast(given.vectors, folds), np.random.default_rng(_SEED)
    halves = rng.integers(0, 2, len(data.prompts))
    result: Pools = {}
    for name, pool in data.pools.items():
        usual_usd = _usual_usd(data, pool)
        budgets_usd = {str(budget): budget * usual_usd for budget in budgets}
        rows: dict[str, list[Doubles]] = {}
        for half in (0, 1):
            chosen_on, scored_on = np.flatnonzero(halves == half), np.flatnonzero(halves != half)
            for budget, columns in _half(given, pool, (committees, held_out, own), forecast, budgets_usd, chosen_on):
                rows.setdefault(budget, []).append(columns[:, scored_on])
        result[name] = {
            budget: _figures(np.concatenate(found, axis=1), usual_usd or 1.0, rng) for budget, found in rows.items()
        }
        hindsight = round(float(data.scores[:, list(pool)].max(axis=1).mean()), 4)
        for figures in result[name].values():
            figures["hindsight"] = hindsight
            if not shipped:
                for key in [key for key in figures if key.startswith(("shipped", "own"))]:
                    del figures[key]
    return result


def _half(
    given: Fitted,
    pool: Sequence[int],
    runners: tuple[Committees, HeldOutCommittees | None, OwnCommittees | None],
    forecast: LinearOutOfFold,
    budgets_usd: Mapping[str, float],
    rows: Indices,
) -> Iterator[tuple[str, Doubles]]:
    """What is chosen on `rows` at each budget, of all prompts: `(figures, prompts)`; see `_figures`."""
    data, (committees, held_out, own) = given.data, runners
    prices = committees.quality_per_usd
    members = find_plans(committees, data, pool, rows)

    def among(runner: Runner | None) -> Means:
        plans = [] if runner is None else [runner.run(each) for each in members]
        return Means.on(rows, choices(data, forecast, given.folds, pool, prices, plans))

    single, composed, shipped, trained = among(None), among(committees), among(held_out), among(own)
    cascades = [truthful_cascade(data, each) for each in members] if type(committees) is not Committees else []
    rules = Means.on(rows, cascades or fixed_rules(data, pool))
    for name, budget_usd in budgets_usd.items():
        alone = single.best_within(budget_usd) or single.cheapest()
        plans = composed.best_within(budget_usd) or alone
        kept = confirmed(alone, plans, rows, _STANDARD_ERRORS)
        ours = shipped.best_within(budget_usd) or alone
        ours = confirmed(alone, ours, rows, _STANDARD_ERRORS)
        theirs = trained.best_within(budget_usd) or alone
        theirs = confirmed(alone, theirs, rows, _STANDARD_ERRORS)
        rule = rules.best_within(budget_usd) or alone
        # At what the rule costs, without asking whether single choice would do.
        equal, equal_own = (
            among_them.best_within(float(rule.cost_usd[rows].mean())) or alone for among_them in (composed, trained)
        )
        yield (
            name,
            np.stack(
                [
                    *(alone.quality, alone.cost_usd, kept.quality, kept.cost_usd, kept.is_plan),
                    *(ours.quality, ours.cost_usd, ours.is_plan, rule.quality, rule.cost_usd, equal.quality),
                    *(theirs.quality, theirs.cost_usd, theirs.is_plan, equal_own.quality),
                ]
            ),
        )


def _figures(rows: Doubles, usual_usd: float, rng: np.random.Generator) -> dict[str, Any]:
    single, single_usd, plans, plans_usd, chosen, ours, ours_usd, ours_chosen, rule, rule_usd, equal = rows[:11]
    own, own_usd, own_chosen, own_equal = rows[11:]
    draws = rng.integers(0, len(single), (_DRAWS, len(single)))

    def interval(difference: Doubles) -> list[float]:
        return [round(float(each), 4) for each in np.percentile(difference[draws].mean(axis=1), (2.5, 97.5))]

    def mean(values: Doubles) -> float:
        return round(float(values.mean()), 4)

    return {
        "single": mean(single),
        "plans": mean(plans),
        "gain": mean(plans - single),
        "gain_ci95": interval(plans - single),
        "chosen": round(float(chosen.mean()), 3),
        "single_cost": round(float(single_usd.mean()) / usual_usd, 3),
        "plans_cost": round(float(plans_usd.mean()) / usual_usd, 3),
        "shipped": mean(ours),
        "shipped_gain": mean(ours - single),
        "shipped_gain_ci95": interval(ours - single),
        "shipped_chosen": round(float(ours_chosen.mean()), 3),
        "shipped_cost": round(float(ours_usd.mean()) / usual_usd, 3),
        "own": mean(own),
        "own_gain": mean(own - single),
        "own_gain_ci95": interval(own - single),
        "own_chosen": round(float(own_chosen.mean()), 3),
        "own_cost": round(float(own_usd.mean()) / usual_usd, 3),
        "own_at_rule_cost": mean(own_equal),
        "own_over_rule_ci95": interval(own_equal - rule),
        "rule": mean(rule),
        "rule_cost": round(float(rule_usd.mean()) / usual_usd, 3),
        "plans_at_rule_cost": mean(equal),
        "over_rule_ci95": interval(equal - rule),
    }
