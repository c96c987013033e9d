"""What each optional stage cost and brought, per kind of prompt, from records (S68).

A stage is recognised by what the record says. For a plan, the request is decided again without any plan: the card that
would have answered alone is the comparison. Its answer is usually not known, so

- `forecast`: the quality that was forecast for the plan, less that forecast for the single card;
- `judged`: the mean of (judgement - forecast for the single card) over judged answers of the plan, less the mean of
  (judgement - forecast) over judged single answers to prompts of the same kind, by which the forecasts are too high or
  too low there.

Money and time are what the plan took beyond the single card's: the card's own call where the plan made it, else what is
forecast for it. `net` is the gain, judged where there are enough judgements and forecast otherwise, less λ · extra cost
(`ComposedPlan.quality_per_usd`) of each request: plans cost less where a dollar is worth more, so the mean λ times the
mean cost would be another number. A request that was explored is compared in the same way with the card that had been
chosen. Shadows change no answer: they have what they cost, and how often both answers agree. Graders are counted by the
policies of the requests; only those of code cost nothing.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
from msgspec import Struct

from router.analysis.experiments.shadows import ShadowReport
from router.analysis.replay import Replayer, features_of
from router.decide.plans.spec import PREFIX
from router.decide.policy import ALL_KINDS, EXPLORE
from router.errors import CallerError, ConfigurationError
from router.perceive.predictor import Predictor
from router.pipeline import kind_of
from router.store.records.protocol import RecordStore
from router.store.records.record import DecisionRecord, Record
from router.types import CallOutcome, Candidate, Outcome

LEAST_JUDGED = 30
"""Judged answers of a stage, and of single cards, from which on judgements decide and not forecasts."""
LEAST_REQUESTS = 20
"""Requests below which there is no verdict."""
_Z95 = 1.96

Verdict = Literal["pays", "does not pay", "unclear", "too few"]
Interval = tuple[float, float]


class Gain(Struct, frozen=True):
    """A mean over `answers`, with its 95 % interval (normal approximation)."""

    answers: int
    mean: float
    ci95: Interval


class StageLine(Struct, frozen=True):
    """A stage for one kind of prompt, `all` for all together. `method` is the kind of plan.

    `calls`, `extra_usd` and `extra_ms` are means a request, None where nothing is known of it. `by` says what `net` is
    made of. It is None where the cost of no request is known; `unpriced` requests are left out of it for that reason.
    """

    stage: str
    method: str
    kind: str
    requests: int
    calls: float
    extra_usd: float | None
    extra_ms: float | None
    forecast: Gain
    judged: Gain | None
    net: Gain | None
    unpriced: int
    by: Literal["judged", "forecast"]
    verdict: Verdict


class GraderLine(Struct, frozen=True):
    """A grader: how many requests its policies answered. What it judged is learned, not recorded."""

    grader: str
    requests: int


class StageReport(Struct, frozen=True):
    """All stages; `lost` counts requests of a stage that could not be decided again."""

    requests: int
    lost: int
    stages: tuple[StageLine, ...]
    graders: tuple[GraderLine, ...]
    shadows: tuple[ShadowReport, ...] = ()

    def not_paying(self) -> dict[str, list[str]]:
        """The kinds of prompts for which each plan does not pay."""
        kinds = collections.Counter(line.stage for line in self.stages)
        found: dict[str, list[str]] = {}
        for line in self.stages:
            if line.stage == EXPLORE:
                # It pays by what is learned.
                continue
            # The line of all kinds is a summary, unless the predictor tells none apart.
            if line.verdict == "does not pay" and (line.kind != ALL_KINDS or kinds[line.stage] == 1):
                found.setdefault(line.stage.removeprefix(PREFIX), []).append(line.kind)
        return found


class Run(Struct, frozen=True):
    """One request of a stage, beside what a single card would have been. None is for what is not known."""

    calls: float
    extra_usd: float | None
    extra_ms: float | None
    forecast: float
    residual: float | None
    quality_per_usd: float

    @property
    def price(self) -> float | None:
        """λ · extra cost, in quality; 0 where a dollar is worth nothing, whatever the request costs."""
        if not self.quality_per_usd:
            return 0.0
        return None if self.extra_usd is None else self.quality_per_usd * self.extra_usd


def stage_report(
    records: RecordStore, scanned: Iterable[Record], judged: Mapping[str, float], predictor: Predictor
) -> StageReport:
    """What the stages of the requests `scanned` cost and brought; `judged` are judgements by the ids of records."""
    replayer = Replayer(records, predictor)
    runs: dict[tuple[str, str], list[Run]] = collections.defaultdict(list)
    methods: dict[str, str] = {}
    singles: dict[str, list[float]] = collections.defaultdict(list)
    graders: collections.Counter[str] = collections.Counter()
    policies: dict[str, tuple[str, ...]] = {}
    count = lost = 0
    for record in scanned:
        decision, outcome = record.decision, record.outcome
        if decision is None or outcome.card is None:
            continue
        count += 1
        graders.update(_graders_of(decision, replayer, policies))
        stage = outcome.plan or (EXPLORE if _is_explored(decision, outcome) else "")
        try:
            kind = kind_of(predictor, features_of(decision, predictor))
            if not stage:
                if record.id in judged and outcome.card == decision.card:
                    singles[kind].append(judged[record.id] - decision.quality)
                continue
            without = replayer.without_plans if outcome.plan else replayer.without_exploration
            alone, worth = without(decision).decision, _worth(decision, replayer)
        except (ConfigurationError, CallerError):
            lost += bool(stage)
            continue
        if alone is None or (outcome.plan and decision.plan is None):
            lost += 1
            continue
        methods[stage] = EXPLORE if decision.plan is None else decision.plan.method
        runs[stage, kind].append(_run(decision, outcome, alone.candidates[0], judged.get(record.id), worth))
    lines = []
    for stage in sorted(methods):
        kinds = sorted(kind for name, kind in runs if name == stage)
        of_all = [run for kind in kinds for run in runs[stage, kind]]
        everywhere = [residual for residuals in singles.values() for residual in residuals]
        lines.append(line_of(stage, methods[stage], ALL_KINDS, of_all, everywhere))
        if kinds != [ALL_KINDS]:
            lines += [line_of(stage, methods[stage], kind, runs[stage, kind], singles[kind]) for kind in kinds]
    found = tuple(GraderLine(name, number) for name, number in sorted(graders.items()))
    return StageReport(count, lost, tuple(lines), found)


def _is_explored(decision: DecisionRecord, outcome: Outcome) -> bool:
    explored = None if decision.exploration is None else decision.exploration.explored
    return explored is not None and explored == outcome.card


def _worth(decision: DecisionRecord, replayer: Replayer) -> float:
    """λ: how much quality a dollar is worth; 0 where neither the plan nor the policy says it."""
    if decision.plan is not None:
        return decision.plan.quality_per_usd
    mistake_usd = replayer.recorded_policy(decision).mistake_usd
    return 0.0 if mistake_usd is None else 1.0 / mistake_usd


def _graders_of(decision: DecisionRecord, replayer: Replayer, known: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The graders of the recorded policy."""
    if decision.policy_hash not in known:
        try:
            policy = replayer.recorded_policy(decision)
        except ConfigurationError:
            return ()
        names = {f"grader.{type(grader).__struct_config__.tag}" for grader in policy.graders}
        known[decision.policy_hash] = tuple(sorted(names))
    return known[decision.policy_hash]


def _run(decision: DecisionRecord, outcome: Outcome, alone: Candidate, judgement: float | None, worth: float) -> Run:
    quality = decision.quality if decision.plan is None else decision.plan.quality
    own = next((call for call in outcome.calls if call.card == alone.card and call.verdict != "failed"), None)
    return Run(
        calls=max(len(outcome.calls) - 1, 0),
        extra_usd=_beyond(outcome.cost_usd, own, alone.cost_usd, "cost_usd"),
        extra_ms=_beyond(outcome.total_ms, own, alone.latency_ms, "elapsed_ms"),
        forecast=quality - alone.quality,
        residual=None if judgement is None else judgement - alone.quality,
        quality_per_usd=worth,
    )


def _beyond(whole: float | None, own: CallOutcome | None, forecast: float | None, field: str) -> float | None:
    """What the plan took beyond the single card's call: as measured where the plan made it, else as forecast."""
    of_card = forecast if own is None else getattr(own, field)
    return None if whole is None or of_card is None else whole - of_card


def line_of(stage: str, method: str, kind: str, runs: Sequence[Run], singles: Sequence[float]) -> StageLine:
    """The line of a stage from its runs, of which there is one at least; `singles` are the residuals of judged single
    answers.
    """
    residuals = [run.residual for run in runs if run.residual is not None]
    forecast = _gain([run.forecast for run in runs])
    judged = _difference(residuals, singles) if residuals and singles else None
    costs = [run.extra_usd for run in runs if run.extra_usd is not None]
    priced = [(run, run.price) for run in runs if run.price is not None]
    own = [run.residual - price for run, price in priced if run.residual is not None]
    is_judged = min(len(own), len(singles)) >= LEAST_JUDGED
    net = None
    if is_judged:
        net = _difference(own, singles)
    elif priced:
        net = _gain([run.forecast - price for run, price in priced])
    return StageLine(
        stage=stage,
        method=method,
        kind=kind,
        requests=len(runs),
        calls=_mean([run.calls for run in runs]) or 0.0,
        extra_usd=_mean(costs),
        extra_ms=_mean([run.extra_ms for run in runs if run.extra_ms is not None]),
        forecast=forecast,
        judged=judged,
        net=net,
        unpriced=len(runs) - len(priced),
        by="judged" if is_judged else "forecast",
        verdict=_verdict(len(priced), net, is_judged=is_judged),
    )


def _verdict(requests: int, net: Gain | None, *, is_judged: bool) -> Verdict:
    if net is None or requests < LEAST_REQUESTS:
        return "too few"
    # A forecast chose the stage, so of course it says that the stage pays.
    if net.ci95[0] > 0:
        return "pays" if is_judged else "unclear"
    return "does not pay" if net.ci95[1] < 0 else "unclear"


def _gain(values: Sequence[float]) -> Gain:
    mean = float(np.mean(values))
    error = float(np.std(values)) / max(len(values) - 1, 1) ** 0.5
    return Gain(len(values), mean, (mean - _Z95 * error, mean + _Z95 * error))


def _difference(one: Sequence[float], two: Sequence[float]) -> Gain:
    mean = float(np.mean(one) - np.mean(two))
    variance = float(np.var(one)) / max(len(one) - 1, 1) + float(np.var(two)) / max(len(two) - 1, 1)
    half = _Z95 * variance**0.5
    return Gain(len(one), mean, (mean - half, mean + half))


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None
