"""What a composed plan needs of the gateway: the forecasts, the operator's caps, and the scores of each part."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from router.cards import Card
from router.compose.run import Brief, Forecasts
from router.compose.run.brief import mark_of
from router.compose.run.kinds.chain import marked_reading, prompt_of
from router.compose.run.kinds.panel import writers_task
from router.decide.flags import Flags, parse_flags
from router.decide.plans.spec import BestOf, Caps, Cascade, Chain, Committee, PlanSpec, Reroute, Samples, Segments
from router.dispatch.costs import ASSUMED_OUTPUT_TOKENS, Bounds, Expected, bounds_of, length_of_answer
from router.errors import PulvinarError
from router.gateway.routing.selection import GatewayRequest, Selection
from router.perceive.forecaster import TAIL_95
from router.types import Api, Candidate, ComposedPlan, Features, Forecast, Rejection, known
from router.wire import read_request
from router.wire.texts import newest_human_texts
from router.wire.usage import prompt_tokens, tokens_of, without_output_limit

_ELSEWHERE = "not a member of the plan"
_OF_PLANS = ("plan", "calls")
# Where only a forecast could say more, and there is none.
_USUAL = Expected(0, ASSUMED_OUTPUT_TOKENS, ASSUMED_OUTPUT_TOKENS * TAIL_95)
# As long as that of a request.
_MARK = mark_of("", ())


def brief_of(request: GatewayRequest, selection: Selection, request_id: str) -> Brief | None:
    """What running the plan of `selection` needs to know; None where one card answers alone."""
    if selection.spec is None:
        return None
    routed = selection.routed
    forecasts = Forecasts() if routed is None else Forecasts.of(selection.catalog, routed.forecast)
    candidates = _candidates(request, selection)
    return Brief(
        selection.spec,
        forecasts,
        request.active.config.plans,
        request_id,
        scores=lambda body: {each.card: each.score for each in candidates(body)},
        qualities=lambda body: {each.card: each.quality for each in candidates(body)},
    )


class PlannedCall(NamedTuple):
    """A call that a plan may make. Its prompt contains the answers of the calls that it `reads` and what the plan has
    `added` of its own; the client's limit of the answer does not hold for a `stage`.
    """

    card: str
    reads: tuple[PlannedCall, ...] = ()
    is_stage: bool = False
    added: str = ""


def bounds_of_plan(
    plan: ComposedPlan,
    spec: PlanSpec,
    caps: Caps,
    calls: tuple[PlannedCall, ...],
    of_call: Callable[[PlannedCall], Bounds],
) -> Bounds:
    """What the calls of a plan may cost together, where every one is made and none has a usable answer: then the
    dearest fallback answers.

    The likely cost is that of the calls that are made in any case.
    """
    bounds = [of_call(call) for call in calls]
    unasked: list[Bounds] = []
    if isinstance(spec, Reroute):
        # Of the other members the dearest are asked at worst. One that was not asked may be the fallback.
        others = sorted(bounds[1:], key=lambda each: each.reserved_usd, reverse=True)
        bounds, unasked = [*bounds[:1], *others[: spec.handovers]], others[spec.handovers :]
    others = [*unasked, *(of_call(PlannedCall(card)) for card in plan.fallbacks)] if len(bounds) < caps.calls else []
    sure = (
        bounds[:1]
        if isinstance(spec, Cascade | Committee | Reroute) or (isinstance(spec, BestOf) and not spec.parallel)
        else bounds
    )
    return Bounds(
        sum(each.likely_usd for each in sure),
        sum(each.reserved_usd for each in bounds) + max((each.reserved_usd for each in others), default=0.0),
        sum(each.worst_usd for each in bounds) + max((each.worst_usd for each in others), default=0.0),
    )


def bounds_of_call(
    call: PlannedCall, api: Api, selection: Selection, forecast: tuple[Features, Forecast] | None
) -> Bounds:
    """What one call of a plan may cost, with the answers that its prompt contains as long as they may be."""

    def asked(each: PlannedCall) -> tuple[Card, Mapping[str, Any], Expected]:
        card = selection.catalog.named(each.card)
        body = without_output_limit(api, selection.body) if each.is_stage else selection.body
        return card, body, expected_of(selection, card, forecast)

    card, body, expected = asked(call)
    if not (call.reads or call.added):
        return bounds_of(card, api, body, expected)
    read = [length_of_answer(card, api, body, expected) for card, body, expected in map(asked, call.reads)]
    prompt = max(expected.input, prompt_tokens(body)) + tokens_of(len(call.added.encode()))
    usual = bounds_of(card, api, body, expected._replace(input=prompt + sum(each.tail for each in read)))
    worst = bounds_of(card, api, body, expected._replace(input=prompt + sum(each.most for each in read)))
    return usual._replace(worst_usd=worst.worst_usd)


def expected_of(selection: Selection, card: Card, forecast: tuple[Features, Forecast] | None) -> Expected:
    """How long the prompt and the answer of a card are forecast to be."""
    position = selection.catalog.position(card.id)
    if forecast is None or position is None:
        return _USUAL
    features, of_cards = forecast
    written = known(of_cards.written_tokens[position])
    if written is None:
        return _USUAL._replace(input=features.input_tokens)
    return Expected(features.input_tokens, written, written * TAIL_95)


def calls_of_plan(plan: ComposedPlan, spec: PlanSpec, body: Mapping[str, Any]) -> tuple[PlannedCall, ...]:
    """All calls that the members of a plan may make."""
    cards = plan.members or (plan.card,)
    members = tuple(PlannedCall(card) for card in cards)
    match spec:
        case Samples():
            return members[:1] * spec.n
        case Chain():
            return _stages(spec, cards)
        case Segments():
            # Imported here because it compiles long patterns, which few policies have a use for.
            from router.compose.split import split

            parts = split("\n".join(newest_human_texts(body))).segments
            # Which card answers which part is decided later; those that may are asked in turn.
            asked = [members[number % len(members)] for number in range(max(len(parts), len(members)))]
            # A part that points back is sent with the answer before it.
            pointing = [number for number, part in enumerate(parts) if part.depends and number]
            for number in pointing:
                asked[number] = asked[number]._replace(reads=(members[(number - 1) % len(members)],))
            return tuple(asked)
        case _ if plan.writer is not None:
            added = writers_task([""] * len(members), _MARK)
            return (*members, PlannedCall(plan.writer, members, added=added))
        case _:
            return members


def _stages(spec: Chain, cards: Sequence[str]) -> tuple[PlannedCall, ...]:
    """The calls of a chain: each may read what all stages before it wrote, and the title of each."""
    calls, titles = list[PlannedCall](), ""
    for stage, card in zip(spec.stages[:-1], cards, strict=False):
        calls.append(PlannedCall(card, tuple(calls), is_stage=True, added=titles + prompt_of(stage)))
        titles += marked_reading(stage, "", _MARK)
    return (*calls, PlannedCall(cards[-1], tuple(calls), added=titles))


def rejected_for_parts(rejections: Mapping[str, Rejection]) -> Iterator[tuple[str, str]]:
    """The rejected cards, and why, without those that only a limit on plans rejects: a single card is none."""
    for card, why in rejections.items():
        if not why.limit.startswith(_OF_PLANS):
            yield card, why.reason
        elif why.also:
            yield card, why.also[0]


def _candidates(request: GatewayRequest, selection: Selection) -> Callable[[Mapping[str, Any]], Sequence[Candidate]]:
    """The candidates for another chat body, by the policy, the limits and the goals of the request.

    A card that the decision about the whole prompt rejected is none. Flags in the body are text: those of the client
    are read, and what a card wrote has none.
    """
    members, routed = selection.plan, selection.routed
    rejected = {} if routed is None else dict(rejected_for_parts(routed.decision.rejections))
    if isinstance(members, ComposedPlan) and members.members:
        rejected |= {card: _ELSEWHERE for card in selection.catalog.ids if card not in members.members}
    asked = Flags() if routed is None else parse_flags(routed.decision.flags)
    flags = Flags(tuple(limit for limit in asked.limits if limit.field not in _OF_PLANS), asked.goals)
    policy = msgspec.structs.replace(selection.policy.with_plans(), prompt_flags=False)

    def candidates(body: Mapping[str, Any]) -> Sequence[Candidate]:
        try:
            part = request.active.router.route(
                read_request("chat", body),
                flags=flags,
                policy=policy,
                unavailable=rejected,
                today=datetime.datetime.now(datetime.UTC).date(),
            )
        except PulvinarError:
            return ()
        return part.decision.candidates

    return candidates
