"""What plans come to on recorded answers: the functions that run plans decide, and no call is made."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from router.cards.catalog import Catalog
from router.cards.schema import Card
from router.compose.answers import read_answer
from router.compose.gate import Asked, Gate
from router.compose.run import Brief, Forecasts, Ledger
from router.compose.run.draft import Draft
from router.compose.run.kinds.best_of import run_best_of
from router.compose.run.kinds.cascade import run_cascade
from router.compose.run.kinds.committee import run_committee
from router.compose.run.ledger import Called
from router.compose.run.member import ALWAYS, Members
from router.compose.validators import failure_of
from router.decide.engine import decide
from router.decide.flags import Flags
from router.decide.plans.catalog import Plans
from router.decide.plans.spec import BestOf, Cascade, Committee, PlanSpec, Validators
from router.dispatch import Call, Dispatcher, UpstreamResponse
from router.dispatch.costs import cost_usd, price_of
from router.errors import NoCandidateError
from router.learn.onboarding.probes import Probe
from router.learn.solving.answer_log import Answered
from router.pipeline import Routed, Router
from router.types import ComposedPlan, Doubles, Indices, Mask
from router.wire.reading.whole_answers import WholeAnswer
from router.wire.texts import newest_human_texts
from router.wire.usage import counted, tokens_of

_CODE = {Cascade: run_cascade, Committee: run_committee, BestOf: run_best_of}


class Given(Struct, frozen=True, eq=False):
    """One card's answer to one example: its grade, and what it cost in US dollars and milliseconds."""

    card: Card
    whole: WholeAnswer
    score: float
    cost_usd: float
    latency_ms: float
    ttft_ms: float


class Behaviour(Struct, frozen=True, eq=False):
    """What a plan does with the examples: whose answer is delivered, `(examples,)`, and which members are asked,
    `(examples, cards)`. Cards are numbered as in the answers.
    """

    delivered: Indices
    asked: Mask


class Answers(Struct, frozen=True, eq=False):
    """The answers of all cards to all examples, as tables `(examples, cards)`."""

    cards: tuple[str, ...]
    given: tuple[tuple[Given, ...], ...]

    def table(self, field: str) -> Doubles:
        """One field of every answer."""
        return np.array([[getattr(each, field) for each in row] for row in self.given], dtype=np.float64)


def given_of(card: Card, probe: Probe, answer: Answered) -> Given:
    """A recorded answer, graded. Where the endpoint reported no tokens they are counted from the texts."""
    usage = answer.usage or counted(None, {"messages": list(probe.messages)}, tokens_of(len(answer.text.encode())))
    price = price_of(card)
    return Given(
        card=card,
        whole=WholeAnswer(answer.text, "cut" if answer.cut_off else "whole"),
        score=probe.grade(answer.text).score,
        cost_usd=0.0 if price is None else cost_usd(price, usage),
        latency_ms=answer.latency_ms,
        ttft_ms=answer.latency_ms if answer.ttft_ms is None else answer.ttft_ms,
    )


def behaviours(
    plans: Sequence[PlanSpec],
    answers: Answers,
    router: Router,
    routed: Sequence[Routed],
    gate: Gate,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Behaviour]:
    """What every plan does with every example, `routed` being what is forecast of the examples.

    Equal to what the gateway does where a client asks for `plan/NAME`, does not stream, and gets the same answers.
    """
    delivered = np.zeros((len(plans), len(routed)), dtype=np.intp)
    asked = np.zeros((len(plans), len(routed), len(answers.cards)), dtype=np.bool_)
    learned = [plan for plan in plans if isinstance(plan, Cascade | Committee) and plan.gate == "learned"]
    # No call is sent, so it opens no connection.
    dispatcher = Dispatcher()
    for number, (row, example) in enumerate(zip(answers.given, routed, strict=True)):
        on_progress(number, len(routed))
        replay = _Example(router.catalog, row, example, gate, dispatcher)
        worth = worth_of(router, example, learned)
        for position, plan in enumerate(plans):
            calls, winner = replay.run(plan, worth.get(plan.name, 0.0))
            delivered[position, number] = winner
            asked[position, number, calls] = True
    return [Behaviour(delivered[position], asked[position]) for position in range(len(plans))]


def worth_of(router: Router, routed: Routed, plans: Sequence[PlanSpec]) -> Mapping[str, float]:
    """The price of money that the policy gives each plan on a request, in quality per dollar."""
    # Where it does not depend on what a plan costs, that of one plan is that of all.
    depends = routed.policy.flags.goals.get("cheapest", 0.0) > 0
    some = plans if depends else plans[:1]
    policy = routed.policy.with_plans(tuple(plan.id for plan in some))
    context = msgspec.structs.replace(routed.request_context, unavailable={})
    try:
        decision = decide(
            router.catalog,
            routed.features,
            routed.forecast,
            policy,
            Flags(),
            router.predictor.id,
            context,
            Plans(some, router.plans.columns),
        )
    except NoCandidateError:
        return {}
    worth = {name: outlook.quality_per_usd for name, outlook in decision.plans.items()}
    return worth if depends else dict.fromkeys((plan.name for plan in plans), next(iter(worth.values()), 0.0))


class _Example:
    """One example with its answers. What the gate says of the same answers is computed once."""

    def __init__(
        self, catalog: Catalog, row: Sequence[Given], routed: Routed, gate: Gate, dispatcher: Dispatcher
    ) -> None:
        self._catalog, self._gate, self._dispatcher = catalog, _Remembering(gate), dispatcher
        self._positions = {given.card.id: number for number, given in enumerate(row)}
        body = {"messages": list(routed.request.body["messages"])}
        self._call = Call("chat", body)
        self._forecasts = Forecasts.of(catalog, routed.forecast)
        self._answers = {given.card.id: _Read(given, "\n".join(newest_human_texts(body))) for given in row}

    def run(self, plan: PlanSpec, quality_per_usd: float) -> tuple[list[int], int]:
        """The members that are asked, in order, and the one whose answer is delivered."""
        assert isinstance(plan, Cascade | Committee | BestOf)
        names = tuple(str(member) for member in plan.members)
        composed = ComposedPlan(plan.name, plan.kind, names[0], names, quality_per_usd=quality_per_usd)
        brief = Brief(plan, self._forecasts)
        members = _Replayed(self._answers, self._dispatcher, self._catalog, composed, self._call, brief, self._gate)
        running = _CODE[type(plan)](members, plan)  # type: ignore[operator]
        # Answers are there at once, so nothing is ever waited for.
        with contextlib.suppress(StopIteration):
            running.send(None)
        assert members.delivered is not None, plan.id
        return [self._positions[call.card.id] for call in members.ledger.calls], self._positions[members.delivered]


class _Read:
    """A recorded answer as members read it."""

    def __init__(self, given: Given, prompt: str) -> None:
        self.given, self._prompt = given, prompt
        self.answer = read_answer(given.whole.text)
        self.response = UpstreamResponse(given.card, 200, {}, b"")
        self.shown: Asked | None = None
        self._failures: list[tuple[Validators, str]] = []

    def failed(self, checks: Validators) -> str:
        for known, failure in self._failures:
            if known is checks:
                return failure
        failure = failure_of(checks, self.given.whole, None, self._prompt)
        self._failures.append((checks, failure))
        return failure


class _Replayed(Members):
    """Members whose answers are recorded; a plan runs on them as on those of upstreams."""

    def __init__(
        self,
        answers: Mapping[str, _Read],
        dispatcher: Dispatcher,
        catalog: Catalog,
        plan: ComposedPlan,
        call: Call,
        brief: Brief,
        gate: Gate,
    ) -> None:
        super().__init__(dispatcher, catalog, plan, call, brief, Ledger(), gate, lambda: None, None)
        self._recorded = answers
        self.delivered: str | None = None

    async def draft(
        self, card: str, role: str, call: Call | None = None, *, stream: bool | None = None, checks: Validators = ALWAYS
    ) -> Draft | None:
        read = self._recorded[card]
        called = Called(read.given.card, role, "chat", self.call.body, 0.0, stream=False)
        self.ledger.add(called)
        failed = read.failed(checks)
        called.end("rejected" if failed else "used", failed)
        draft = Draft(called, read.response, (), {}, read.given.whole, read.answer, failed)
        self.drafts.append(draft)
        return draft

    def shown(self, draft: Draft, degraded: str = "") -> UpstreamResponse:
        self.delivered = draft.card.id
        return draft.response

    def asked(self, drafts: Sequence[Draft]) -> list[Asked]:
        return [self._asked(draft) for draft in drafts]

    def _asked(self, draft: Draft) -> Asked:
        read = self._recorded[draft.card.id]
        if read.shown is None:
            read.shown = super().asked([draft])[0]
        return read.shown._replace(failed=draft.failed)


class _Remembering:
    """A gate that computes the same answers once."""

    def __init__(self, gate: Gate) -> None:
        self.id, self._gate = gate.id, gate
        self._rights: dict[Any, Doubles] = {}
        self._gains: dict[Any, Sequence[float]] = {}
        self._of: dict[tuple[str, ...], Gate] = {}

    def rights(self, asked: Sequence[Asked], usual_prior: float) -> Doubles:
        """See `Gate.rights`."""
        key = tuple((each.card, each.failed) for each in asked)
        if key not in self._rights:
            self._rights[key] = self._gate.rights(asked, usual_prior)
        return self._rights[key]

    def gains(self, asked: Sequence[Asked], priors_of_later: Sequence[float], usual_prior: float) -> Sequence[float]:
        """See `Gate.gains`."""
        key = (*((each.card, each.failed) for each in asked), *priors_of_later)
        if key not in self._gains:
            self._gains[key] = self._gate.gains(asked, priors_of_later, usual_prior)
        return self._gains[key]

    def of(self, members: Sequence[str]) -> Gate:
        """See `Gate.of`."""
        key = tuple(members)
        if key not in self._of:
            gate = self._gate.of(key)
            self._of[key] = self if gate is self._gate else _Remembering(gate)
        return self._of[key]
