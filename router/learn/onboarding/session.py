"""Onboarding: a card is asked probes at its live endpoint, within a budget, and its answers are kept as evidence."""

from __future__ import annotations

import asyncio
import datetime
import statistics
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np
from msgspec import Struct

from router.cards import Catalog
from router.cards.schema import Card, Price
from router.dispatch import Dispatcher
from router.dispatch.costs import cost_usd, price_of
from router.dispatch.dispatcher import missing_configuration
from router.errors import CallerError, ConfigurationError, UpstreamError
from router.learn.onboarding.adaptive_test import AbilityPlacement, Placement
from router.learn.onboarding.budget import Budget
from router.learn.onboarding.endpoint import Endpoint, Reply
from router.learn.onboarding.evidence_log import EvidenceLog, Key, PendingProbe
from router.learn.onboarding.probes import Probe, ProbeSet
from router.perceive.evidence import ProbeOutcome
from router.perceive.features import feature_vectors
from router.perceive.predictor import Predictor
from router.types import Usage

_SHOWN_CHARACTERS = 400
_DECIMALS = 9
Wait = Callable[[float], Awaitable[None]]


class Terms(Struct, frozen=True):
    """How much to ask. `probes` and `max_usd` count what earlier runs of the same card and set have asked and spent."""

    probes: int = 32
    max_usd: float | None = None
    concurrency: int = 4
    max_tokens: int = 2048


class Progress(Struct, frozen=True):
    """How far a run is: probes answered of those wanted, the sum of their scores, the money they cost."""

    answered: int
    wanted: int
    score: float
    spent_usd: float | None


Stopped = Literal["done", "budget", "all asked"]
"""Why asking ended: as many probes as wanted, the next call might cost more than is left, the set has no more."""


class Change(Struct, frozen=True):
    """What the answers changed on some probes: expected quality and its doubt (a standard deviation), before and after.

    `score` is the mean of the `answered` ones, None where there are none.
    """

    domain: str
    answered: int
    score: float | None
    before: float
    before_doubt: float
    after: float
    after_doubt: float


class Onboarding(Struct, frozen=True):
    """What a run did and changed. `spent_usd` is that of all answers to this set, `spent_now_usd` of this run; None
    where the card states no price. Medians are over the answers that tell. `lost` counts the probes that were under way
    when an earlier run was killed.
    """

    card: str
    probe_set: str
    evidence: str
    answered: int
    answered_now: int
    stopped: Stopped
    spent_usd: float | None
    spent_now_usd: float | None
    latency_ms: float | None
    ttft_ms: float | None
    output_tokens: float | None
    cut_off: int
    lost: int
    overall: Change
    domains: tuple[Change, ...]


class Planned(Struct, frozen=True):
    """A probe that would be asked, and what that costs at most; None where the card states no price."""

    probe: str
    domain: str
    difficulty: int
    worst_usd: float | None


def place(predictor: Predictor, catalog: Catalog, card: Card, probes: Sequence[Probe]) -> Placement:
    """What `predictor` believes of `card` on `probes` before it was asked."""
    vectors = feature_vectors(predictor.encoder, [probe.turns for probe in probes])
    position = catalog.position(card.id)
    assert position is not None, card.id
    ability, _ = predictor.place(catalog, position, {})
    return AbilityPlacement(probes, ability, predictor.look(vectors).profiles, predictor.head.usual)


def check(card: Card, terms: Terms) -> Price | None:
    """The card's price. Raises where the card cannot be called, or the budget could not be kept."""
    if reason := missing_configuration(card):
        raise ConfigurationError(f'the card "{card.id}" cannot be called: {reason}')
    return affordable(card, terms)


def affordable(card: Card, terms: Terms) -> Price | None:
    """The card's price. Raises CallerError where the budget could not be kept."""
    price = price_of(card)
    if price is None and terms.max_usd is not None:
        raise CallerError(
            f'the card "{card.id}" states no price, so --max-usd cannot be kept: leave it out, or state what the card '
            "costs per million tokens, such as `price: {input: 0.15$, output: 0.6$}`"
        )
    return price


def _within(card: Card, terms: Terms) -> Terms:
    """The terms without what the card cannot take: more tokens or more calls at once."""
    calls = card.rate_limits.concurrency if card.rate_limits else None
    return msgspec.structs.replace(
        terms,
        max_tokens=min(terms.max_tokens, int(card.max_output_tokens or terms.max_tokens)),
        concurrency=min(terms.concurrency, calls or terms.concurrency),
    )


def plan(
    card: Card, probe_set: ProbeSet, placement: Placement, earlier: Mapping[Key, ProbeOutcome], terms: Terms
) -> tuple[Planned, ...]:
    """The probes that a run would ask, as far as can be told before the answers. Calls nothing."""
    price = affordable(card, terms)
    terms, probes = _within(card, terms), probe_set.probes
    seen = _seen(probes, earlier.values())
    placement, asked = placement.observe({row: earlier[_key(probes[row])].score for row in seen}), set(seen)
    purse = Budget(terms.max_usd, price, terms.max_tokens)
    purse.count(earlier[_key(probes[row])] for row in seen)
    planned = []
    while len(asked) < min(terms.probes, len(probes)):
        row = placement.choose_next(asked)
        if not purse.reserve(probes[row]):
            break
        asked.add(row)
        worst_usd = None if price is None else purse.worst_usd(probes[row])
        planned.append(Planned(probes[row].id, probes[row].domain, probes[row].difficulty, worst_usd))
    return tuple(planned)


async def onboard(
    card: Card,
    probe_set: ProbeSet,
    placement: Placement,
    log: EvidenceLog,
    dispatcher: Dispatcher,
    terms: Terms,
    tell: Callable[[Progress], None] = lambda _: None,
    wait: Wait = asyncio.sleep,
) -> Onboarding:
    """Ask `card` until it has answered as many probes as wanted, or the budget might be exceeded.

    The first call goes alone, then as many at once as allowed; after each such batch the belief is updated and the next
    is chosen. Raises UpstreamError where the endpoint fails; what it has answered is kept in `log` all the same.
    """
    price = check(card, terms)
    terms = _within(card, terms)
    run = _Run(card, probe_set, placement, log, terms, price, tell)
    return await run.through(Endpoint(card, dispatcher, terms.max_tokens, wait))


class _Run:
    """The state of one run: which rows were asked, and what they scored."""

    def __init__(
        self,
        card: Card,
        probe_set: ProbeSet,
        placement: Placement,
        log: EvidenceLog,
        terms: Terms,
        price: Price | None,
        tell: Callable[[Progress], None],
    ) -> None:
        self._card, self._set_name, self._log, self._terms = card, probe_set.name, log, terms
        self._price, self._tell, self._writing = price, tell, asyncio.Lock()
        self._probes = probes = probe_set.probes
        self._before = placement
        if stranger := next((each.model for each in log.outcomes if each.model != card.model), None):
            raise CallerError(
                f'{log.file} holds answers of the model "{stranger}", but the card "{card.id}" now names '
                f'"{card.model}"; start over with --reset'
            )
        self._outcomes = _seen(probes, log.outcomes)
        self._earlier = len(self._outcomes)
        # Their answers are gone and may have been paid for; they are asked again only when nothing else is left.
        self._lost = {row for row, probe in enumerate(probes) if _key(probe) in log.lost}
        self._update()
        self._purse = Budget(terms.max_usd, price, terms.max_tokens)
        self._purse.count(self._outcomes.values())
        self._purse.spent_usd += sum(each.worst_usd for each in log.lost.values())
        self._spent_before_usd = self._purse.spent_usd

    async def through(self, endpoint: Endpoint) -> Onboarding:
        """Ask until there is a reason to stop."""
        size = 1
        stopped: Stopped = "done"
        self._show()
        while len(self._outcomes) < self._terms.probes:
            batch = self._next_batch(min(size, self._terms.probes - len(self._outcomes)))
            if not batch:
                stopped = "all asked" if len(self._outcomes) == len(self._probes) else "budget"
                break
            await self._ask_all(batch, endpoint)
            size = self._terms.concurrency
        return self._report(stopped)

    def _next_batch(self, size: int) -> list[int]:
        """The rows to ask now, with money set aside for each; fewer than `size` where the set or the budget ends."""
        batch: list[int] = []
        for _ in range(size):
            taken = {*self._outcomes, *batch}
            asked = taken | self._lost
            if len(asked) == len(self._probes):
                asked = taken
            if len(asked) == len(self._probes):
                break
            row = self._after.choose_next(asked)
            if not self._purse.reserve(self._probes[row]):
                break
            batch.append(row)
        return batch

    async def _ask_all(self, batch: Sequence[int], endpoint: Endpoint) -> None:
        probes = [self._probes[row] for row in batch]
        self._log.begin(PendingProbe(*_key(probe), self._purse.worst_usd(probe)) for probe in probes)
        ended = await asyncio.gather(*(self._ask(row, endpoint) for row in batch), return_exceptions=True)
        self._log.finish()
        self._update()
        failures = [each for each in ended if isinstance(each, BaseException)]
        for failure in failures:
            if not isinstance(failure, UpstreamError):
                raise failure
        if failures:
            kept = f"{len(self._outcomes)} of {self._terms.probes} probes are answered and kept in {self._log.file}"
            first = failures[0]
            assert isinstance(first, UpstreamError)
            raise UpstreamError(f"{first}; {kept}; run the same command again to go on", first.status)

    async def _ask(self, row: int, endpoint: Endpoint) -> None:
        probe = self._probes[row]
        settled = False

        def may_repeat() -> bool:
            # The call that broke off may be billed in full.
            nonlocal settled
            self._purse.settle(probe, None)
            settled = not self._purse.reserve(probe)
            return not settled

        try:
            reply = await endpoint.ask(probe.asked(), may_repeat)
        except UpstreamError:
            if not settled:
                self._purse.settle(probe, 0.0)
            raise
        outcome = self._outcome(probe, reply)
        self._purse.settle(probe, outcome.cost_usd if self._price is not None else 0.0)
        async with self._writing:
            # Not here: a slow disk would make the other calls look slow.
            await asyncio.to_thread(self._log.append, outcome)
        self._outcomes[row] = outcome
        self._show()

    def _outcome(self, probe: Probe, reply: Reply) -> ProbeOutcome:
        graded = probe.grade(reply.text)
        cost: float | None = None
        if self._price is not None and reply.input_tokens is not None and reply.output_tokens is not None:
            cost = round(cost_usd(self._price, Usage(reply.input_tokens, reply.output_tokens)), _DECIMALS)
        elif self._price is not None and self._purse.worst_usd(probe) == 0:
            cost = 0.0
        return ProbeOutcome(
            probe=probe.id,
            domain=probe.domain,
            prompt=probe.prompt,
            grader=probe.grader,
            score=graded.score,
            answer=graded.read[:_SHOWN_CHARACTERS] or reply.text.strip()[-_SHOWN_CHARACTERS:],
            model=self._card.model,
            time=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            latency_ms=reply.latency_ms,
            ttft_ms=reply.ttft_ms,
            input_tokens=reply.input_tokens,
            output_tokens=reply.output_tokens,
            cost_usd=cost,
            cut_off=reply.cut_off,
        )

    def _update(self) -> None:
        # From the start and in one order, so that it does not matter in how many runs the outcomes came.
        self._after = self._before.observe({row: self._outcomes[row].score for row in sorted(self._outcomes)})

    def _show(self) -> None:
        score = sum(outcome.score for outcome in self._outcomes.values())
        spent = None if self._price is None else self._purse.spent_usd
        self._tell(Progress(len(self._outcomes), min(self._terms.probes, len(self._probes)), score, spent))

    def _report(self, stopped: Stopped) -> Onboarding:
        outcomes = self._outcomes.values()
        every = range(len(self._probes))
        domains = list(dict.fromkeys(probe.domain for probe in self._probes))
        rows_of = {name: [row for row in every if self._probes[row].domain == name] for name in domains}
        spent = None if self._price is None else self._purse.spent_usd
        return Onboarding(
            card=self._card.id,
            probe_set=self._set_name,
            evidence=str(self._log.file),
            answered=len(self._outcomes),
            answered_now=len(self._outcomes) - self._earlier,
            stopped=stopped,
            spent_usd=None if spent is None else round(spent, _DECIMALS),
            spent_now_usd=None if spent is None else round(spent - self._spent_before_usd, _DECIMALS),
            latency_ms=_median(outcome.latency_ms for outcome in outcomes),
            ttft_ms=_median(outcome.ttft_ms for outcome in outcomes),
            output_tokens=_median(outcome.output_tokens for outcome in outcomes),
            cut_off=sum(outcome.cut_off for outcome in outcomes),
            lost=len(self._log.lost),
            overall=self._change("all", list(every)),
            domains=tuple(self._change(name or "no domain", rows) for name, rows in rows_of.items()),
        )

    def _change(self, domain: str, rows: list[int]) -> Change:
        scores = [self._outcomes[row].score for row in rows if row in self._outcomes]
        index = np.array(rows, dtype=np.intp)
        before, after = self._before.average(index), self._after.average(index)
        return Change(
            domain=domain,
            answered=len(scores),
            score=statistics.fmean(scores) if scores else None,
            before=before.quality,
            before_doubt=before.doubt,
            after=after.quality,
            after_doubt=after.doubt,
        )


def _key(probe: Probe) -> Key:
    return probe.id, probe.prompt


def _seen(probes: Sequence[Probe], outcomes: Iterable[ProbeOutcome]) -> dict[int, ProbeOutcome]:
    """The outcomes of these probes, by row; a probe's latest counts."""
    latest = {outcome.key: outcome for outcome in outcomes}
    return {row: latest[_key(probe)] for row, probe in enumerate(probes) if _key(probe) in latest}


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
