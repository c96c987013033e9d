"""One onboarding run: ask a card's live endpoint probes, within a budget, and store its answers as evidence."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Awaitable, Callable, Sequence

from router.cards import Catalog
from router.cards.price import Price
from router.cards.schema import Card
from router.dispatch import Dispatcher
from router.errors import CallerError, UpstreamError
from router.learn.onboarding.adaptive_test import AdaptiveTest
from router.learn.onboarding.budget import Budget
from router.learn.onboarding.endpoint import Endpoint, Reply
from router.learn.onboarding.evidence_log import EvidenceLog, PendingProbe
from router.learn.onboarding.plan import Terms, check_callable, limited_to_card, outcomes_by_row
from router.learn.onboarding.probes import Probe, ProbeSet
from router.learn.onboarding.result import OnboardingResult, Progress, StopReason, changes, median, warnings_of
from router.perceive.ability.evidence import ProbeOutcome
from router.perceive.predictor import Predictor

_MAX_ANSWER_CHARACTERS = 400
_DECIMALS = 9

Wait = Callable[[float], Awaitable[None]]
"""Waits for a number of seconds."""


def start_test(predictor: Predictor, catalog: Catalog, card: Card, probes: Sequence[Probe]) -> AdaptiveTest:
    """The adaptive test of `card` before its first answer: the prior that `predictor` gives it."""
    vectors = predictor.vectors([probe.turns for probe in probes])
    position = catalog.position(card.id)
    assert position is not None, card.id
    return AdaptiveTest(probes, predictor.belief(catalog, position, vectors))


async def onboard(
    card: Card,
    probe_set: ProbeSet,
    test: AdaptiveTest,
    log: EvidenceLog,
    dispatcher: Dispatcher,
    terms: Terms,
    on_progress: Callable[[Progress], None] = lambda _: None,
    wait: Wait = asyncio.sleep,
) -> OnboardingResult:
    """Ask `card` until it has answered as many probes as requested, or the budget might be exceeded.

    The first call is sent alone, then as many at once as allowed; after each such batch the posterior is updated and
    the next batch is chosen. Raises UpstreamError where the endpoint fails; the answers until then are stored in
    `log`.
    """
    price = check_callable(card, terms)
    terms = limited_to_card(card, terms)
    session = _Session(card, probe_set, test, log, terms, price, on_progress)
    return await session.run(Endpoint(card, dispatcher, terms.max_tokens, wait))


class _Session:
    """The state of one run: the outcomes so far, the posterior, the budget."""

    def __init__(
        self,
        card: Card,
        probe_set: ProbeSet,
        test: AdaptiveTest,
        log: EvidenceLog,
        terms: Terms,
        price: Price | None,
        on_progress: Callable[[Progress], None],
    ) -> None:
        _check_same_model(log, card)
        self._card, self._set_name, self._probes = card, probe_set.name, probe_set.probes
        self._log, self._log_lock, self._on_progress = log, asyncio.Lock(), on_progress
        self._terms, self._has_price = terms, price is not None
        self._outcomes = outcomes_by_row(self._probes, log.outcomes)
        self._answered_before = len(self._outcomes)
        # Their answers are lost and may have been charged; they are asked again only when no other probe is left.
        self._unconfirmed = {row for row, probe in enumerate(self._probes) if probe.key in log.unconfirmed}
        self._prior = test
        self._update_posterior()
        self._budget = Budget(terms.max_usd, price, terms.max_tokens)
        self._budget.count(self._outcomes.values())
        self._budget.spent_usd += sum(probe.max_cost_usd for probe in log.unconfirmed.values())
        self._spent_before_usd = self._budget.spent_usd

    async def run(self, endpoint: Endpoint) -> OnboardingResult:
        """Ask batch after batch until there is a reason to stop."""
        batch_size = 1
        stopped: StopReason = "done"
        self._report_progress()
        while len(self._outcomes) < self._terms.probes:
            batch = self._next_batch(min(batch_size, self._terms.probes - len(self._outcomes)))
            if not batch:
                stopped = "all asked" if len(self._outcomes) == len(self._probes) else "budget"
                break
            await self._ask_batch(batch, endpoint)
            batch_size = self._terms.concurrency
        return self._result(stopped)

    def _next_batch(self, size: int) -> list[int]:
        """The rows to ask now, with their cost reserved; fewer than `size` where the set or the budget is exhausted."""
        batch: list[int] = []
        for _ in range(size):
            taken = {*self._outcomes, *batch}
            if len(taken) == len(self._probes):
                break
            avoided = taken | self._unconfirmed
            row = self._posterior.choose_next(avoided if len(avoided) < len(self._probes) else taken)
            if not self._budget.reserve(self._probes[row]):
                break
            batch.append(row)
        return batch

    async def _ask_batch(self, batch: Sequence[int], endpoint: Endpoint) -> None:
        probes = [self._probes[row] for row in batch]
        self._log.begin(PendingProbe(*probe.key, self._budget.max_cost_usd(probe)) for probe in probes)
        results = await asyncio.gather(*(self._ask(row, endpoint) for row in batch), return_exceptions=True)
        self._log.finish()
        self._update_posterior()
        failures = [result for result in results if isinstance(result, BaseException)]
        for failure in failures:
            if not isinstance(failure, UpstreamError):
                raise failure
        if failures:
            first = failures[0]
            assert isinstance(first, UpstreamError)
            stored = f"{len(self._outcomes)} of {self._terms.probes} probes are answered and stored in {self._log.file}"
            raise UpstreamError(f"{first}; {stored}; run the same command again to continue", first.status)

    async def _ask(self, row: int, endpoint: Endpoint) -> None:
        probe = self._probes[row]
        reserved = True

        def may_retry() -> bool:
            # The interrupted call may be charged in full.
            nonlocal reserved
            self._budget.settle(probe, None)
            reserved = self._budget.reserve(probe)
            return reserved

        try:
            reply = await endpoint.ask(probe.request_messages(), may_retry)
        except UpstreamError:
            if reserved:
                self._budget.settle(probe, 0.0)
            raise
        cost_usd = self._budget.cost_usd(probe, reply)
        self._budget.settle(probe, cost_usd if self._has_price else 0.0)
        outcome = _graded(probe, reply, self._card.model, cost_usd)
        async with self._log_lock:
            # In a thread: a slow disk would delay the other calls and their measured latency.
            await asyncio.to_thread(self._log.append, outcome)
        self._outcomes[row] = outcome
        self._report_progress()

    def _update_posterior(self) -> None:
        # From the prior and in one order, so that the result does not depend on the number of runs.
        self._posterior = self._prior.observe({row: self._outcomes[row].score for row in sorted(self._outcomes)})

    def _report_progress(self) -> None:
        score = sum(outcome.score for outcome in self._outcomes.values())
        spent_usd = self._budget.spent_usd if self._has_price else None
        wanted = min(self._terms.probes, len(self._probes))
        self._on_progress(Progress(len(self._outcomes), wanted, score, spent_usd))

    def _result(self, stopped: StopReason) -> OnboardingResult:
        outcomes, spent_usd = self._outcomes.values(), self._budget.spent_usd
        overall, domains = changes(self._probes, self._outcomes, self._prior, self._posterior)
        return OnboardingResult(
            card=self._card.id,
            probe_set=self._set_name,
            evidence=str(self._log.file),
            answered=len(self._outcomes),
            answered_now=len(self._outcomes) - self._answered_before,
            stopped=stopped,
            spent_usd=round(spent_usd, _DECIMALS) if self._has_price else None,
            spent_now_usd=round(spent_usd - self._spent_before_usd, _DECIMALS) if self._has_price else None,
            latency_ms=median(outcome.latency_ms for outcome in outcomes),
            ttft_ms=median(outcome.ttft_ms for outcome in outcomes),
            output_tokens=median(outcome.output_tokens for outcome in outcomes),
            cut_off=sum(outcome.cut_off for outcome in outcomes),
            unconfirmed=len(self._log.unconfirmed),
            overall=overall,
            domains=domains,
            warnings=warnings_of(outcomes),
        )


def _check_same_model(log: EvidenceLog, card: Card) -> None:
    """Raise CallerError where the log has answers of another model than the one that the card names now."""
    other = next((outcome.model for outcome in log.outcomes if outcome.model != card.model), None)
    if other is not None:
        raise CallerError(
            f'{log.file} contains answers of the model "{other}", but the card "{card.id}" now names '
            f'"{card.model}"; start over with --reset'
        )


def _graded(probe: Probe, reply: Reply, model: str, cost_usd: float | None) -> ProbeOutcome:
    grade = probe.grade(reply.text)
    return ProbeOutcome(
        probe=probe.id,
        domain=probe.domain,
        prompt=probe.prompt,
        grader=probe.grader,
        score=grade.score,
        answer=grade.read[:_MAX_ANSWER_CHARACTERS] or reply.text.strip()[-_MAX_ANSWER_CHARACTERS:],
        model=model,
        time=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        latency_ms=reply.latency_ms,
        ttft_ms=reply.ttft_ms,
        input_tokens=reply.input_tokens,
        output_tokens=reply.output_tokens,
        cost_usd=cost_usd,
        cut_off=reply.cut_off,
    )
