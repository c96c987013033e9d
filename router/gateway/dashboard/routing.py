"""How requests were routed: the guard, plans, what other cards would have done, and how right the forecasts were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from router.analysis.savings import Savings, savings
from router.gateway.config.reload import ActiveConfig
from router.store.records.feedback import Feedback
from router.store.records.protocol import Filter, RecordStore
from router.store.records.record import Record
from router.store.records.snapshots import CatalogSnapshot, read_unavailable

# Of so many newest requests, since each has to be read and forecast again.
_NEWEST = 500
_BINS = 5


class GuardCount(Struct, frozen=True):
    """How often the guard of a policy was in a state (`router.types.Guard`)."""

    policy: str
    guard: str
    requests: int


class PlanUse(Struct, frozen=True):
    """The requests that a plan answered: how many, the calls and dollars of all, and how many got less than planned."""

    plan: str
    requests: int
    calls: int
    cost_usd: float
    degraded: int


class CalibrationBin(Struct, frozen=True):
    """Answers whose forecast quality was from `low` to `high`: their mean forecast, and the mean of the feedback."""

    low: float
    high: float
    answers: int
    forecast: float
    feedback: float


class Routing(Struct, frozen=True):
    """What `requests` newest routed requests show. `judged` is the number of answers with feedback."""

    requests: int
    guards: list[GuardCount]
    plans: list[PlanUse]
    judged: int
    calibration: list[CalibrationBin]


def routing(records: RecordStore, since_s: float) -> Routing:
    """How the newest requests since then were routed."""
    newest = records.tail(_NEWEST, Filter(routed=True, since=since_s), prompts=False)
    judged = records.judged(_NEWEST, since_s)
    return Routing(len(newest), _guards(newest), _plans(newest), len(judged), _calibration(judged))


def saved(records: RecordStore, since_s: float, active: ActiveConfig) -> Savings:
    """The newest routed requests since then, compared with one card for all of them."""
    router = active.router

    def unavailable(fingerprint: str) -> Mapping[str, str]:
        content = records.snapshot(fingerprint)
        return {} if content is None else read_unavailable(content)

    newest = records.tail(_NEWEST, Filter(routed=True, since=since_s), prompts=False)
    return savings(newest, CatalogSnapshot(router.catalog, router.evidence), router.predictor, unavailable)


def _guards(records: Iterable[Record]) -> list[GuardCount]:
    counts = Counter((each.decision.policy, each.decision.guard) for each in records if each.decision is not None)
    return [GuardCount(policy, guard, count) for (policy, guard), count in sorted(counts.items())]


def _plans(records: Iterable[Record]) -> list[PlanUse]:
    by_plan: dict[str, list[Record]] = {}
    for each in records:
        if each.outcome.plan is not None:
            by_plan.setdefault(each.outcome.plan, []).append(each)
    return [
        PlanUse(
            plan,
            len(those),
            sum(len(each.outcome.attempts) for each in those),
            sum(each.outcome.cost_usd or 0.0 for each in those),
            sum(bool(each.outcome.degraded) for each in those),
        )
        for plan, those in sorted(by_plan.items())
    ]


def _calibration(judged: Sequence[tuple[Feedback, Record]]) -> list[CalibrationBin]:
    """Bins of equal width that have answers. Of several judgements of one answer, each counts."""
    bins: dict[int, list[tuple[float, float]]] = {}
    for feedback, record in judged:
        if record.decision is not None and record.decision.card == record.outcome.card:
            forecast = record.decision.quality
            bins.setdefault(min(int(forecast * _BINS), _BINS - 1), []).append((forecast, feedback.value))
    return [
        CalibrationBin(
            place / _BINS,
            (place + 1) / _BINS,
            len(pairs),
            sum(forecast for forecast, _ in pairs) / len(pairs),
            sum(value for _, value in pairs) / len(pairs),
        )
        for place, pairs in sorted(bins.items())
    ]
