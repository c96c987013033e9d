"""Shadows: a share of the requests is sent to another card, too, after the client has its answer, and compared."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from router.analysis.replay import read_flags
from router.cards import Card
from router.compose.run.chat import as_chat
from router.compose.validators import schema_asked
from router.decide.engine import RequestContext
from router.decide.ranking import MEASURED, TRIED
from router.decide.trials.spec import Shadow
from router.dispatch import Call, Dispatcher, UpstreamResponse
from router.dispatch.connection.fetching import urls_in
from router.dispatch.costs import ASSUMED_OUTPUT_TOKENS, Expected, booked_usage, bounds_of, cost_of
from router.errors import BudgetError, BusyError, CallerError, FieldError, UpstreamError
from router.formats.json import json_or_none
from router.gateway.learning.answer_copy import AnswerCopy, document_of
from router.gateway.offpath.work import Job, OffPath
from router.gateway.routing.composed import rejected_for_parts
from router.gateway.routing.selection import GatewayRequest, Selection
from router.gateway.routing.trials.canaries import place_of
from router.learn.online.pairs import is_same, side_of
from router.perceive.forecaster import TAIL_95
from router.pipeline import Routed
from router.store.records.record import Record, ShadowRecord, Side
from router.store.state.dollars import DailyDollars
from router.store.state.protocol import StateError
from router.types import Attempt, Outcome, Rejection, Usage, known
from router.wire.reading.extras import extras_in
from router.wire.reading.provider_ids import ids_used
from router.wire.reading.whole_answers import read_whole_answer

SURFACE = "shadow"
"""The surface of the records of shadows."""
BUDGET = "shadow/"
"""Before the id of a policy, the name under which the state counts its dollars. No key has such an id."""

_HARMLESS_NEEDS = frozenset({"json_object", "json_schema", "reasoning"})
_HARMLESS_FIELDS = frozenset({"seed"})
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


class Shadows:
    """Sends requests to shadows through `off_path`, within their dollars a day. `write` records an answer, and `count`
    the result for each policy: `compared`, or why there is nothing to compare.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        off_path: OffPath,
        dollars: DailyDollars,
        write: Callable[[Record], Any],
        count: Callable[[str, str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._dispatcher, self._off_path, self._dollars = dispatcher, off_path, dollars
        self._write, self._count, self._clock = write, count, clock

    def wants(self, request: GatewayRequest, selection: Selection, record_id: str) -> bool:
        """Whether the answer to this request is to be compared, once its client has it."""
        shadow, routed = selection.policy.shadow, selection.routed
        if shadow is None or routed is None or place_of(selection.policy.id, record_id, "") >= shadow.share:
            return False
        if reason := unfit(request, selection, routed, shadow):
            self._count(selection.policy.id, reason)
            return False
        return True

    def offer(self, request: GatewayRequest | None, selection: Selection | None, copy: AnswerCopy) -> None:
        """Take a request whose client has its whole answer, if it is one to compare."""
        record = copy.record
        if request is None or selection is None or record is None or not (copy.is_wanted and copy.pieces):
            return
        shadow, routed, outcome = selection.policy.shadow, selection.routed, record.outcome
        if shadow is None or routed is None or outcome.status != 200 or outcome.error is not None:
            return
        record = msgspec.structs.replace(record, prompt=None, decision=None)
        answered = Answered(request, selection, routed, shadow, record, copy)
        policy = selection.policy.id
        self._off_path.offer(Job(lambda: self._answer(answered), lambda: self._count(policy, "dropped")))

    async def _answer(self, answered: Answered) -> None:
        """Answer the request once more, and record the comparison."""
        policy = answered.selection.policy.id
        try:
            result = await self._result(answered)
        except asyncio.CancelledError:
            self._count(policy, "ended")
            raise
        self._count(policy, result)

    async def _result(self, answered: Answered) -> str:
        card = await asyncio.to_thread(card_of, answered)
        if isinstance(card, str):
            return card
        if not self._dispatcher.pool.has_ready((card,), (), ""):
            return "busy"
        try:
            call = call_of(answered)
        except CallerError:
            return "unfit"
        policy = answered.selection.policy.id
        try:
            reserved = self._dollars.reserved(
                f"{BUDGET}{policy}", answered.shadow.dollars_per_day, _worst_usd(answered, card, call)
            )
            async with reserved as charge:
                began_s, attempts = time.monotonic(), list[Attempt]()
                response: UpstreamResponse | None = None
                try:
                    response = await self._dispatcher.send_first_healthy((card,), call, attempts)
                except (UpstreamError, BusyError, FieldError) as error:
                    # An answer that came too late, or broke off, is charged by its upstream.
                    is_lost = isinstance(error, UpstreamError) and (error.fault == "late" or error.delivered_tokens)
                    charge.cost_usd = charge.cost_usd if is_lost else 0.0
                else:
                    usage = booked_usage(response, "chat", call.body)
                    cost_usd = None if usage is None else cost_of(response.card, usage)
                    charge.cost_usd = cost_usd or 0.0
                total_ms = round((time.monotonic() - began_s) * 1000, 3)
        except (BudgetError, StateError):
            return "budget"
        record = await asyncio.to_thread(self._record_of, answered, card, response, attempts, call, total_ms)
        if record is None:
            return "unfit"
        await self._write(record)
        return "compared" if record.outcome.error is None else "failed"

    def _record_of(
        self,
        answered: Answered,
        card: Card,
        response: UpstreamResponse | None,
        attempts: list[Attempt],
        call: Call,
        total_ms: float,
    ) -> Record | None:
        """The record of a second answer, beside the first one; None where the first one cannot be read."""
        document = document_of(answered.record, answered.copy)
        if document is None:
            return None
        answer = read_whole_answer(answered.copy.api, document)
        record, routed, policy = answered.record, answered.routed, answered.selection.policy
        first = record.outcome
        prompt = routed.request.human_turns[-1] if routed.request.human_turns else ""
        schema, graders = schema_asked(routed.request.body), policy.graders
        of_client = side_of(
            first.card or "",
            answer,
            graders,
            prompt,
            schema,
            total_ms=first.total_ms,
            output_tokens=None if first.usage is None else first.usage.output_tokens,
            cost_usd=first.cost_usd,
        )
        usage: Usage | None = None
        cost_usd: float | None = None
        second: Side | None = None
        same: bool | None = None
        if response is not None:
            usage = booked_usage(response, "chat", call.body)
            cost_usd = None if usage is None else cost_of(response.card, usage)
            body = response.body if isinstance(response.body, bytes) else b""
            document = response.decoded if isinstance(response.decoded, Mapping) else json_or_none(body)
            if response.status < 400 and isinstance(document, Mapping):
                again = read_whole_answer("chat", document)
                second = side_of(
                    response.card.id,
                    again,
                    graders,
                    prompt,
                    schema,
                    total_ms=total_ms,
                    output_tokens=None if usage is None else usage.output_tokens,
                    cost_usd=cost_usd,
                )
                same = is_same(answer, again)
        status = 502 if response is None else response.status
        return Record(
            id=f"shadow_{secrets.token_hex(12)}",
            at=self._clock(),
            surface=SURFACE,
            asked=answered.shadow.target,
            stream=False,
            outcome=Outcome(
                status=status,
                total_ms=total_ms,
                card=card.id,
                attempts=tuple(attempts),
                usage=usage,
                cost_usd=cost_usd,
                error=None if second is not None else "upstream_error",
            ),
            shadow=ShadowRecord(record.id, policy.id, of_client, second, same),
        )


def unfit(request: GatewayRequest, selection: Selection, routed: Routed, shadow: Shadow) -> str:
    """Why a request must not be sent twice, in one word; empty where it may.

    `tools`: a tool may act. `stored`: it refers to, or makes, what a server stores. `media`: a URL would be fetched
    again. `large`: its body is too large to keep. `unfit`: no chat model can answer it alone.
    """
    chat, body = routed.request, request.body
    chat_body = chat.chat_body
    if request.is_large:
        return "large"
    if chat_body is None or request.surface.api == "embeddings":
        return "unfit"
    if chat.needs - _HARMLESS_NEEDS or body.get("tools") or body.get("functions") or any(extras_in(body)):
        return "tools" if "tools" in chat.needs or any(extras_in(body)) else "unfit"
    if routed.features.indivisible - _HARMLESS_FIELDS:
        return "tools" if "tool_turns" in routed.features.indivisible else "stored"
    identity = selection.identity
    if ids_used(body) or (identity is not None and identity.stored.names):
        return "stored"
    is_remote = any(url.startswith(("http://", "https://")) for _, url in urls_in(chat_body.get("messages")))
    return "media" if is_remote and not shadow.urls else ""


def card_of(answered: Answered) -> Card | str:
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
            card = _chosen(answered, dict(rejected_for_parts(rejections)))
        except CallerError:
            return "limits"
    return "same_card" if card.id == answered.record.outcome.card else card


def _only_unproven(why: Rejection) -> bool:
    """Whether nothing but its not having been tried speaks against a card: trying it is what a shadow is for."""
    return why.limit in _UNPROVEN and not why.also


def _chosen(answered: Answered, rejected: Mapping[str, str]) -> Card:
    """What the other policy chooses among the cards that meet the limits of this one. Raises CallerError."""
    router, routed = answered.request.active.router, answered.routed
    named = router.policies.named(answered.shadow.policy or "")
    policy = msgspec.structs.replace(named.with_plans(), prompt_flags=False, on_empty="error", relax=())
    context: RequestContext = routed.request_context
    flags = msgspec.structs.replace(read_flags(routed.decision.flags), goals={})
    again = router.route(
        routed.request,
        flags=flags if "limits" in policy.overrides else "",
        policy=policy,
        unavailable={**context.unavailable, **rejected},
        today=context.today,
        hidden=context.hidden,
    )
    return answered.selection.catalog.named(again.decision.card)


def call_of(answered: Answered) -> Call:
    """The request as a call in chat that is not streamed. Raises CallerError."""
    timeouts = answered.request.active.config.timeouts
    chat_body = answered.routed.request.chat_body or {}
    body = {name: value for name, value in chat_body.items() if name not in _LEFT_OUT}
    # Failures count against no client's key.
    return as_chat(Call("chat", body, key_id=SURFACE, ends_s=time.monotonic() + timeouts.total_s))


def _worst_usd(answered: Answered, card: Card, call: Call) -> float:
    """What the call costs at most."""
    routed, position = answered.routed, answered.selection.catalog.position(card.id)
    written = None if position is None else known(routed.forecast.written_tokens[position])
    usual = ASSUMED_OUTPUT_TOKENS if written is None else written
    return bounds_of(card, "chat", call.body, Expected(routed.features.input_tokens, usual, usual * TAIL_95)).worst_usd
