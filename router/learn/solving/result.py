"""What the answers show: the plans that meet the limits, which of them are worth their price, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct

from router.decide.limits import COMPARE, Limit
from router.decide.plans.spec import BestOf, Cascade, Committee, FixedGate, PlanSpec
from router.learn.evaluation.bootstrap import resamples
from router.learn.solving.evaluate import Answers, Behaviour
from router.types import Doubles, Indices

SINGLE = "single"
_DRAWS = 2_000
_FOLDS = 10
_Z = 1.96
_DIGITS = 9

Interval = tuple[float, float]
"""The bounds of a 95 % interval."""


class PlanFigures(Struct, frozen=True):
    """One plan, or a card that answers alone (`kind` is `single`, `id` the card's), on the examples.

    `quality` is the share of right answers with Wilson's interval; cost and latency are means over examples with
    bootstrap intervals. `most_cost_usd` and `most_latency_ms` are the means if every call is made, which limits bound.
    `pareto`: `cost` where no plan is as good for less, `latency` where none is as good, as cheap and as fast.
    """

    id: str
    kind: str
    members: tuple[str, ...]
    gate: str
    quality: float
    quality_ci95: Interval
    cost_usd: float
    cost_ci95: Interval
    most_cost_usd: float
    latency_ms: float
    latency_ci95: Interval
    most_latency_ms: float
    ttft_ms: float
    calls: float
    pareto: Literal["", "cost", "latency"] = ""


class Advantage(Struct, frozen=True):
    """What choosing among all plans gains over choosing among single cards, on examples not used for the choice.

    `quality` is in shares of right answers, `cost_usd` a request; `value` joins them, in quality, at the price of a
    mistake. `quality_seen` is the difference on the examples by which the plan was chosen, which flatters it.
    """

    value: float
    value_ci95: Interval
    quality: float
    quality_ci95: Interval
    cost_usd: float
    cost_ci95: Interval
    quality_seen: float


class Comparison(Struct, frozen=True):
    """All plans that meet the limits, the one to use, and the best single card. Without plans both are empty."""

    plans: tuple[PlanFigures, ...]
    chosen: str
    best_single: str
    advantage: Advantage | None
    over_limits: int

    def named(self, name: str) -> PlanFigures | None:
        """The plan with this id."""
        return next((plan for plan in self.plans if plan.id == name), None)


class Solution(Struct, frozen=True):
    """The result of a run. `evaluated` is how many examples every card has answered, on which all figures are.

    `left_out` has the reason for each card that was not asked or did not answer; `findings` say in words how far the
    examples support the choice.
    """

    task: str
    examples: int
    evaluated: int
    cards: tuple[str, ...]
    left_out: Mapping[str, str]
    comparison: Comparison
    stopped: Literal["", "budget"]
    spent_usd: float
    spent_now_usd: float
    max_usd: float
    unanswered_calls: int
    mistake_usd: float
    gate: str
    answers: str
    findings: tuple[str, ...] = ()


class _Plan(NamedTuple):
    """A plan's figures, and by example its score and what it costs, `(examples,)`."""

    figures: PlanFigures
    score: Doubles
    cost_usd: Doubles


def compare(
    answers: Answers,
    plans: Sequence[PlanSpec],
    behaviours: Sequence[Behaviour],
    limits: Sequence[Limit],
    mistake_usd: float,
    kinds: Sequence[str],
) -> Comparison:
    """Compare single cards and plans on the answers. A plan that does the same as an earlier one of its kind, or as a
    single card, is left out.
    """
    weights = resamples(len(answers.given), _DRAWS, 0)
    known = set[tuple[str, bytes, bytes]]()
    every = list[_Plan]()
    for card in range(len(answers.cards)):
        alone = _alone(answers, card)
        known.add(_signature(SINGLE, alone))
        if SINGLE in kinds:
            every.append(_figures(answers, None, (card,), alone, weights))
    for plan, behaviour in zip(plans, behaviours, strict=True):
        same = {_signature(SINGLE, behaviour), _signature(plan.kind, behaviour)}
        if known & same:
            continue
        known.add(_signature(plan.kind, behaviour))
        assert isinstance(plan, Cascade | Committee | BestOf)
        members = tuple(answers.cards.index(str(member)) for member in plan.members)
        every.append(_figures(answers, plan, members, behaviour, weights))
    meeting = [each for each in every if all(_meets(each.figures, limit) for limit in limits)]
    over = len(every) - len(meeting)
    if not meeting:
        return Comparison((), "", "", None, over)
    chosen, single, advantage = _choice(meeting, mistake_usd, weights)
    figures = _with_fronts([each.figures for each in meeting])
    return Comparison(figures, chosen, single, advantage, over)


def _alone(answers: Answers, card: int) -> Behaviour:
    asked = np.zeros((len(answers.given), len(answers.cards)), dtype=np.bool_)
    asked[:, card] = True
    return Behaviour(np.full(len(answers.given), card, dtype=np.intp), asked)


def _signature(kind: str, behaviour: Behaviour) -> tuple[str, bytes, bytes]:
    return kind, behaviour.delivered.tobytes(), behaviour.asked.tobytes()


def _figures(
    answers: Answers, plan: PlanSpec | None, members: Sequence[int], behaviour: Behaviour, weights: Doubles
) -> _Plan:
    costs, latencies, ttfts = (answers.table(field) for field in ("cost_usd", "latency_ms", "ttft_ms"))
    score = answers.table("score")[np.arange(len(costs)), behaviour.delivered]
    cost_usd = (costs * behaviour.asked).sum(axis=1)
    latency_ms = (latencies * behaviour.asked).sum(axis=1)
    most_latency_ms = float(latencies[:, list(members)].sum(axis=1).mean())
    before_last = float(latencies[:, list(members[:-1])].sum(axis=1).mean())
    # Some plans judge every answer before one is shown; of others the last call is relayed as it comes.
    ttft_ms = (
        most_latency_ms if isinstance(plan, Committee | BestOf) else before_last + float(ttfts[:, members[-1]].mean())
    )
    cards = tuple(answers.cards[member] for member in members)
    figures = PlanFigures(
        id=cards[0] if plan is None else plan.id,
        kind=SINGLE if plan is None else plan.kind,
        members=cards,
        gate=_gate(plan),
        quality=round(float(score.mean()), _DIGITS),
        quality_ci95=wilson(float(score.sum()), len(score)),
        cost_usd=round(float(cost_usd.mean()), 12),
        cost_ci95=_interval(cost_usd, weights),
        most_cost_usd=round(float(costs[:, list(members)].sum(axis=1).mean()), 12),
        latency_ms=round(float(latency_ms.mean()), 3),
        latency_ci95=_interval(latency_ms, weights),
        most_latency_ms=round(most_latency_ms, 3),
        ttft_ms=round(ttft_ms, 3),
        calls=round(float(behaviour.asked.sum(axis=1).mean()), _DIGITS),
    )
    return _Plan(figures, score, cost_usd)


def _gate(plan: PlanSpec | None) -> str:
    if plan is None or isinstance(plan, BestOf):
        return ""
    assert isinstance(plan, Cascade | Committee)
    return f"{plan.gate.threshold:g}" if isinstance(plan.gate, FixedGate) else plan.gate


def wilson(right: float, count: int) -> Interval:
    """Wilson's 95 % interval of a share."""
    share, spread = right / count, _Z * _Z / count
    middle = share + spread / 2
    half = _Z * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    low, high = (middle - half) / (1 + spread), (middle + half) / (1 + spread)
    return round(max(low, 0.0), 4), round(min(high, 1.0), 4)


def _interval(values: Doubles, weights: Doubles) -> Interval:
    drawn = weights @ values / len(values)
    low, high = np.percentile(drawn, (2.5, 97.5))
    return round(float(low), 12), round(float(high), 12)


def _meets(figures: PlanFigures, limit: Limit) -> bool:
    """Whether a plan meets a limit on itself; those on cards were met before any was asked."""
    if limit.field == "plan":
        return (limit.value in (figures.kind, figures.id)) == (limit.op == "=")
    values = {
        "cost": figures.most_cost_usd,
        "latency": figures.most_latency_ms,
        "ttft": figures.ttft_ms,
        "quality": figures.quality,
        "calls": float(len(figures.members)),
    }
    return limit.field not in values or bool(COMPARE[limit.op](values[limit.field], limit.value))


def _choice(plans: Sequence[_Plan], mistake_usd: float, weights: Doubles) -> tuple[str, str, Advantage | None]:
    """The plan to use, the best single card, and the advantage of the former; the card where that is not sure."""
    score = np.array([plan.score for plan in plans])
    cost = np.array([plan.cost_usd for plan in plans])
    value = score - cost / mistake_usd
    # Cards first, so that of equal ones the simpler is taken.
    singles = [number for number, plan in enumerate(plans) if plan.figures.kind == SINGLE]
    if not singles:
        return plans[_first_best(value.mean(axis=1))].figures.id, "", None
    best, single = _first_best(value.mean(axis=1)), singles[_first_best(value[singles].mean(axis=1))]
    if best == single:
        return plans[best].figures.id, plans[single].figures.id, None
    examples = np.arange(score.shape[1])
    folds = examples % min(_FOLDS, len(examples))
    taken, alone = np.empty_like(examples), np.empty_like(examples)
    for fold in np.unique(folds):
        known = value[:, folds != fold].mean(axis=1)
        taken[folds == fold], alone[folds == fold] = _first_best(known), singles[_first_best(known[singles])]

    def gained(table: Doubles) -> Doubles:
        return np.asarray(table[taken, examples] - table[alone, examples])

    advantage = Advantage(
        value=round(float(gained(value).mean()), _DIGITS),
        value_ci95=_interval(gained(value), weights),
        quality=round(float(gained(score).mean()), _DIGITS),
        quality_ci95=_interval(gained(score), weights),
        cost_usd=round(float(gained(cost).mean()), 12),
        cost_ci95=_interval(gained(cost), weights),
        quality_seen=round(float((score[best] - score[single]).mean()), _DIGITS),
    )
    chosen = best if advantage.value_ci95[0] > 0 else single
    return plans[chosen].figures.id, plans[single].figures.id, advantage


def _first_best(values: Doubles) -> int:
    # Sums of the same numbers in another order differ in their last digits.
    return int(np.round(values, 10).argmax())


def _with_fronts(plans: Sequence[PlanFigures]) -> tuple[PlanFigures, ...]:
    costs = np.array([(-plan.quality, plan.cost_usd) for plan in plans])
    times = np.array([(-plan.quality, plan.cost_usd, plan.latency_ms) for plan in plans])
    on_cost, on_time = set(_front(costs)), set(_front(times))
    marked = [
        msgspec.structs.replace(plan, pareto="cost" if n in on_cost else "latency" if n in on_time else "")
        for n, plan in enumerate(plans)
    ]
    return tuple(sorted(marked, key=lambda plan: (plan.cost_usd, -plan.quality, plan.id)))


def _front(points: Doubles) -> Indices:
    """The points that no other is at least as small as everywhere; of equal points the first."""
    kept = []
    for number, point in enumerate(points):
        beating = (points <= point).all(axis=1) & (points < point).any(axis=1)
        equal_before = (points[:number] == point).all(axis=1).any()
        if not beating.any() and not equal_before:
            kept.append(number)
    return np.array(kept, dtype=np.intp)
