"""Who answers a request a second time, for nobody, and what that costs at most."""

from __future__ import annotations

import time

import msgspec
from msgspec import Struct

from router.analysis.replay import read_flags
from router.cards import Card
from router.compose.run import Brief
from router.compose.run.brief import limits_of, unfit_reason
from router.compose.run.chat import as_chat
from router.decide.engine import RequestContext
from router.decide.policy import Policy
from router.decide.ranking import MEASURED, TRIED
from router.decide.trials.spec import Shadow
from router.dispatch import Call
from router.errors import CallerError
from router.gateway.http.surfaces import CHAT
from router.gateway.learning.answer_copy import AnswerCopy
from router.gateway.routing.composed import (
    PlannedCall,
    bounds_of_call,
    bounds_of_plan,
    brief_of,
    calls_of_plan,
    rejected_for_parts,
)
from router.gateway.routing.selection import GatewayRequest, Selection
from router.pipeline import Routed
from router.store.records.record import Record
from router.types import ComposedPlan, Rejection, SinglePlan

SURFACE = "shadow"
"""The surface of the records of shadows."""

# What is not for the model: how the answer is sent, and whose it is.
_LEFT_OUT = frozenset(
    {"stream", "stream_options", "store", "metadata", "service_tier", "user", "safety_identifier", "prompt_cache_key"}
)
_UNPROVEN = frozenset({TRIED.text, MEASURED.text})


class Answered(Struct, frozen=True, eq=False):
    """A request whose client has its whole answer: the record, and a copy of the answer."""

    request: GatewayRequest
    selection: Selection
    routed: Routed
    shadow: Shadow
    record: Record
    copy: AnswerCopy


class Second(Struct, frozen=True, eq=False):
    """The card or the plan of `selection` that answers `call`, at `worst_usd` at most; a plan has a `brief`."""

    call: Call
    selection: Selection
    worst_usd: float
    brief: Brief | None = None


def second_of(answered: Answered) -> Second | str:
    """Who answers in the shadow; else why nobody does, in one word."""
    try:
        call = _call_of(answered)
    except CallerError:
        return "unfit"
    features, forecast = answered.routed.features, answered.routed.forecast
    if answered.shadow.plan is not None:
        return _planned(answered, call, answered.shadow.plan)
    card = _card_of(answered)
    if isinstance(card, str):
        return card
    selection = msgspec.structs.replace(answered.selection, plan=SinglePlan(card.id), body=call.body, spec=None)
    bounds = bounds_of_call(PlannedCall(card.id), "chat", selection, (features, forecast))
    return Second(call, selection, bounds.worst_usd)


def _planned(answered: Answered, call: Call, name: str) -> Second | str:
    """The plan with this name, where it can answer within the limits."""
    router = answered.request.active.router
    try:
        routed = _routed(answered, answered.selection.policy, plan=name)
    except CallerError:
        return "limits"
    plan, spec = routed.decision.plan, router.plans.named(name)
    if not isinstance(plan, ComposedPlan) or unfit_reason(spec, call):
        return "unfit"
    selection = msgspec.structs.replace(
        answered.selection, plan=plan, body=call.body, chat_body=call.body, routed=routed, spec=spec
    )
    request = msgspec.structs.replace(answered.request, surface=CHAT, body=call.body, stream=False)
    brief = brief_of(request, selection, answered.record.id)
    forecast = routed.features, routed.forecast
    bounds = bounds_of_plan(
        plan,
        spec,
        limits_of(spec, request.active.config.plans),
        calls_of_plan(plan, spec, call.body),
        lambda each: bounds_of_call(each, "chat", selection, forecast),
    )
    return Second(call, selection, bounds.worst_usd, brief)


def _card_of(answered: Answered) -> Card | str:
    """The card that answers in the shadow; else why none does, in one word.

    It has to meet every limit of the policy, the client and the key, except that it has been tried before.
    """
    shadow, routed, selection = answered.shadow, answered.routed, answered.selection
    rejections = routed.decision.rejections
    if shadow.card is not None:
        card = selection.catalog.named(shadow.card)
        why = rejections.get(card.id)
        if why is not None and not _only_unproven(why):
            return "limits"
    else:
        try:
            card = _chosen(answered)
        except CallerError:
            return "limits"
    return "same_card" if card.id == answered.record.outcome.card else card


def _only_unproven(why: Rejection) -> bool:
    """Whether nothing but its not having been tried speaks against a card: trying it is what a shadow is for."""
    return why.limit in _UNPROVEN and not why.also


def _chosen(answered: Answered) -> Card:
    """What the other policy chooses among the cards that meet the limits of this one. Raises CallerError."""
    named = answered.request.active.router.policies.named(answered.shadow.policy or "")
    return answered.selection.catalog.named(_routed(answered, named.with_plans()).decision.card)


def _routed(answered: Answered, policy: Policy, plan: str | None = None) -> Routed:
    """The request decided by another policy, or for a plan, among the cards that met its limits. Raises CallerError."""
    routed = answered.routed
    policy = msgspec.structs.replace(policy, prompt_flags=False, on_empty="error", relax=())
    context: RequestContext = routed.request_context
    flags = msgspec.structs.replace(read_flags(routed.decision.flags), goals={})
    return answered.request.active.router.route(
        routed.request,
        flags=flags if "limits" in policy.overrides else "",
        policy=policy,
        unavailable={**context.unavailable, **dict(rejected_for_parts(routed.decision.rejections))},
        today=context.today,
        plan=plan,
        hidden=context.hidden,
    )


def _call_of(answered: Answered) -> Call:
    """The request as a call in chat that is not streamed. Raises CallerError."""
    timeouts = answered.request.active.config.timeouts
    chat_body = answered.routed.request.chat_body or {}
    body = {name: value for name, value in chat_body.items() if name not in _LEFT_OUT}
    # Failures count against no client's key.
    return as_chat(Call("chat", body, key_id=SURFACE, ends_s=time.monotonic() + timeouts.total_s))
