"""How requests were routed: domains, novelty, the guard, plans, and how right the forecasts were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from router.analysis.savings import Savings, savings
from router.gateway.config.reload import ActiveConfig
from router.gateway.dashboard.sample import SIZE, Sample, spread
from router.perceive.predictor import Predictor
from router.store.records.feedback import Feedback
from router.store.records.protocol import Filter, RecordStore
from router.store.records.record import Record
from router.store.records.snapshots import CatalogSnapshot, read_unavailable
from router.types import Floats

if TYPE_CHECKING:
    from router.analysis.experiments.shadows import ShadowReport
    from router.analysis.marginal_value import ValueOfCards
    from router.analysis.what_if import Reweighed

_BINS = 5
_SPANS = 24
_UNUSUAL = 0.99
_RE_DECIDED = 60


class GuardCount(Struct, frozen=True):
    """How often the guard of a policy was in a state (`router.types.Guard`)."""

    policy: str
    guard: str
    requests: int


class RoleUse(Struct, frozen=True):
    """The calls that plans made in one role (`router.types.CallOutcome`), by the verdict on their answers."""

    plan: str
    role: str
    calls: int
    verdicts: dict[str, int]
    cost_usd: float


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


class DomainCell(Struct, frozen=True):
    """The requests of one domain, a family of tasks, that one card was chosen for: their cost, the mean forecast of the
    choice, and of `judged` judgements of these answers the mean, None without any.
    """

    domain: str
    card: str
    requests: int
    cost_usd: float
    forecast: float
    judged: int
    feedback: float | None


class NoveltySpan(Struct, frozen=True):
    """The prompts from `since` to `until`, in seconds since 1970: their mean novelty, and the share that are more
    novel than 99 % of the prompts of the training.
    """

    since: float
    until: float
    requests: int
    novelty: float
    unusual: float


class Routing(Struct, frozen=True):
    """What a sample of `requests` out of `of` routed requests shows. `judged` is the number of answers with feedback.

    `domains` is empty where the predictor reads none, and `domains_problem` says why. `shadows` are the newest answers
    for nobody beside those of clients.
    """

    requests: int
    of: int
    guards: list[GuardCount]
    plans: list[PlanUse]
    roles: list[RoleUse]
    judged: int
    calibration: list[CalibrationBin]
    domains: list[DomainCell]
    domains_problem: str | None
    novelty: list[NoveltySpan]
    shadows: list[ShadowReport]


def routing(records: RecordStore, since_s: float, until_s: float, active: ActiveConfig) -> Routing:
    """How the requests of this time were routed."""
    predictor = active.router.predictor
    from router.analysis.experiments.shadows import shadows_in

    sample = spread(records, since_s, until_s)
    judged = records.judged(SIZE, since_s)
    read, vectors = _vectors(sample.records, predictor)
    cells, problem = _domains(read, vectors, judged, predictor)
    return Routing(
        len(sample.records),
        sample.of,
        _guards(sample.records),
        _plans(sample.records),
        _roles(sample.records),
        len(judged),
        _calibration(judged),
        cells,
        problem,
        _novelty(read, vectors, predictor),
        shadows_in(records.tail(SIZE, Filter(shadows=True, since=since_s), prompts=False)),
    )


class SampledSavings(Struct, frozen=True):
    """The savings of a sample of routed requests, out of `of`."""

    of: int
    savings: Savings


def saved(records: RecordStore, since_s: float, until_s: float, active: ActiveConfig) -> SampledSavings:
    """The routed requests of this time, compared with one card for all of them."""
    router, sample = active.router, spread(records, since_s, until_s)
    cards = CatalogSnapshot(router.catalog, router.evidence)
    return SampledSavings(sample.of, savings(sample.records, cards, router.predictor, _Unavailable(records)))


def values(records: RecordStore, since_s: float, until_s: float, active: ActiveConfig) -> ValueOfCards:
    """What each card adds to the others, on the routed requests of this time."""
    from router.analysis.marginal_value import values_of

    router, sample = active.router, spread(records, since_s, until_s)
    cards = CatalogSnapshot(router.catalog, router.evidence)
    return values_of(sample.records, cards, router.predictor, _Unavailable(records))


def reweighed(records: RecordStore, since_s: float, until_s: float, active: ActiveConfig, factor: float) -> Reweighed:
    """The routed requests of this time, decided again with cost weighing `factor` times as much."""
    from router.analysis.what_if import reweigh_cost

    sample: Sample = spread(records, since_s, until_s, _RE_DECIDED)
    return reweigh_cost(sample.records, records, active.router, factor)


class _Unavailable:
    """From the fingerprint in a record to the cards that could not be called; each is read once."""

    def __init__(self, records: RecordStore) -> None:
        self._records, self._known = records, dict[str, Mapping[str, str]]()

    def __call__(self, fingerprint: str) -> Mapping[str, str]:
        if fingerprint not in self._known:
            content = self._records.snapshot(fingerprint)
            self._known[fingerprint] = {} if content is None else read_unavailable(content)
        return self._known[fingerprint]


def _vectors(records: Iterable[Record], predictor: Predictor) -> tuple[list[Record], Floats]:
    """The records whose features this predictor can read, and their vectors `(records, width)`."""
    reader = "" if predictor.reader is None else predictor.reader.id
    read = [
        each
        for each in records
        if each.decision is not None
        and len(each.decision.vector) == 4 * predictor.width
        and each.decision.reader == reader
    ]
    raw = b"".join(each.decision.vector for each in read if each.decision is not None)
    return read, np.frombuffer(raw, dtype="<f4").astype(np.float32).reshape(len(read), predictor.width)


def _domains(
    read: Sequence[Record], vectors: Floats, judged: Sequence[tuple[Feedback, Record]], predictor: Predictor
) -> tuple[list[DomainCell], str | None]:
    from router.perceive.explanation import families_of

    families = families_of(predictor, vectors)
    if families is None:
        return [], "the artifact has no reader, so it does not tell domains apart"
    judged_values: dict[tuple[str, str], list[float]] = {}
    judged_records, judged_vectors = _vectors([record for _, record in judged], predictor)
    domain_of = dict(
        zip((each.id for each in judged_records), families_of(predictor, judged_vectors) or (), strict=True)
    )
    for feedback, record in judged:
        if record.id in domain_of and _answered_as_chosen(record):
            judged_values.setdefault((domain_of[record.id], record.outcome.card or ""), []).append(feedback.value)
    cells: dict[tuple[str, str], list[Record]] = {}
    for domain, record in zip(families, read, strict=True):
        if record.decision is not None:
            cells.setdefault((domain, record.decision.card), []).append(record)
    return [
        DomainCell(
            domain,
            card,
            len(those),
            sum(each.outcome.cost_usd or 0.0 for each in those),
            sum(each.decision.quality for each in those if each.decision is not None) / len(those),
            len(given := judged_values.get((domain, card), [])),
            sum(given) / len(given) if given else None,
        )
        for (domain, card), those in sorted(cells.items())
    ], None


def _novelty(read: Sequence[Record], vectors: Floats, predictor: Predictor) -> list[NoveltySpan]:
    """Spans of equal length from the first to the last record, without those that have none."""
    if not read:
        return []
    novelty = predictor.profile(vectors).novelty
    first, last = read[0].at, read[-1].at
    length = max((last - first) / _SPANS, 1.0)
    spans: dict[int, list[float]] = {}
    for record, value in zip(read, novelty.tolist(), strict=True):
        spans.setdefault(min(int((record.at - first) / length), _SPANS - 1), []).append(value)
    return [
        NoveltySpan(
            first + place * length,
            first + (place + 1) * length,
            len(some),
            sum(some) / len(some),
            sum(value > _UNUSUAL for value in some) / len(some),
        )
        for place, some in sorted(spans.items())
    ]


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


def _roles(records: Iterable[Record]) -> list[RoleUse]:
    verdicts: dict[tuple[str, str], Counter[str]] = {}
    costs_usd: Counter[tuple[str, str]] = Counter()
    for record in records:
        for call in record.outcome.calls:
            place = record.outcome.plan or "", call.role
            verdicts.setdefault(place, Counter())[call.verdict] += 1
            costs_usd[place] += call.cost_usd or 0.0  # type: ignore[assignment]
    return [
        RoleUse(plan, role, counts.total(), dict(counts.most_common()), float(costs_usd[plan, role]))
        for (plan, role), counts in sorted(verdicts.items())
    ]


def _calibration(judged: Sequence[tuple[Feedback, Record]]) -> list[CalibrationBin]:
    """Bins of equal width that have answers. Of several judgements of one answer, each counts."""
    bins: dict[int, list[tuple[float, float]]] = {}
    for feedback, record in judged:
        if record.decision is not None and _answered_as_chosen(record):
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


def _answered_as_chosen(record: Record) -> bool:
    """Whether the card that the forecast is about is the one that answered."""
    return record.decision is not None and record.decision.card == record.outcome.card
