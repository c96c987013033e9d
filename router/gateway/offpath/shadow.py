"""Shadows: after the client has its answer, another card or a plan answers a share of the requests, too."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from router.compose.run import Ledger
from router.compose.runner import PlanRunner
from router.compose.validators import schema_asked
from router.decide.trials.spec import Shadow
from router.dispatch import Call, Dispatcher, UpstreamResponse
from router.dispatch.connection.fetching import urls_in
from router.dispatch.costs import booked_usage, cost_of
from router.errors import BudgetError, BusyError, FieldError, UpstreamError
from router.formats.json import json_or_none
from router.formats.units import rounded_ms
from router.gateway.learning.answer_copy import AnswerCopy, document_of
from router.gateway.offpath.second import SURFACE, Answered, Second, second_of
from router.gateway.offpath.work import Job, OffPath
from router.gateway.routing.selection import GatewayRequest, Selection
from router.gateway.routing.trials.canaries import place_of
from router.learn.online.pairs import is_same, side_of
from router.pipeline import Routed
from router.store.records.record import Record, ShadowRecord, Side
from router.store.state.dollars import DailyDollars
from router.store.state.protocol import StateError
from router.types import Attempt, Outcome, Usage
from router.wire.reading.extras import extras_in
from router.wire.reading.provider_ids import ids_used
from router.wire.reading.whole_answers import read_whole_answer

BUDGET = "shadow/"
"""Before the id of a policy, the name under which the state counts its dollars. No key has such an id."""

_HARMLESS_NEEDS = frozenset({"json_object", "json_schema", "reasoning"})
_HARMLESS_FIELDS = frozenset({"seed"})


class Shadows:
    """Sends requests to shadows through `off_path`, within their dollars a day. `write` records an answer, and `count`
    the result for each policy: `compared`, or why there is nothing to compare.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        runner: PlanRunner,
        off_path: OffPath,
        dollars: DailyDollars,
        write: Callable[[Record], Any],
        count: Callable[[str, str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._dispatcher, self._runner, self._off_path, self._dollars = dispatcher, runner, off_path, dollars
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

    def offer(self, request: GatewayRequest | None, selection: Selection | None, copy: AnswerCopy | None) -> None:
        """Take a request whose client has its whole answer, if it is one to compare."""
        if request is None or selection is None or copy is None or not (copy.is_wanted and copy.pieces):
            return
        shadow, record = selection.policy.shadow, copy.record
        if shadow is None or record is None or record.outcome.status != 200 or record.outcome.error is not None:
            return
        record = msgspec.structs.replace(record, prompt=None, decision=None)
        answered = Answered(request, selection, copy.routed, shadow, record, copy)
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
        second = await asyncio.to_thread(second_of, answered)
        if isinstance(second, str):
            return second
        call, selection, ledger = second.call, second.selection, Ledger()
        if not self._dispatcher.pool.has_ready((selection.card,), (), ""):
            return "busy"
        policy = answered.selection.policy.id
        try:
            reserved = self._dollars.reserved(f"{BUDGET}{policy}", answered.shadow.dollars_per_day, second.worst_usd)
            async with reserved as charge:
                began_s, attempts = time.monotonic(), list[Attempt]()
                response: UpstreamResponse | None = None
                try:
                    response = await self._runner.run(
                        selection.plan, selection.catalog, call, attempts, brief=second.brief, ledger=ledger
                    )
                except (UpstreamError, BusyError, FieldError) as error:
                    # An answer that came too late, or broke off, is charged by its upstream.
                    is_lost = isinstance(error, UpstreamError) and (error.fault == "late" or error.delivered_tokens)
                    charge.cost_usd = charge.cost_usd if is_lost else ledger.cost_usd() or 0.0
                else:
                    charge.cost_usd = _spent(ledger, response, call)[1] or 0.0
                times_s = began_s, time.monotonic()
        except (BudgetError, StateError):
            return "budget"
        record = await asyncio.to_thread(self._record_of, answered, second, response, attempts, ledger, times_s)
        if record is None:
            return "unfit"
        await self._write(record)
        return "compared" if record.outcome.error is None else "failed"

    def _record_of(
        self,
        answered: Answered,
        second: Second,
        response: UpstreamResponse | None,
        attempts: list[Attempt],
        ledger: Ledger,
        times_s: tuple[float, float],
    ) -> Record | None:
        """The record of a second answer, from and until `times_s` (monotonic), beside the first one; None where the
        first one cannot be read.
        """
        began_s, ended_s = times_s
        total_ms = rounded_ms(ended_s - began_s)
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
        side: Side | None = None
        same: bool | None = None
        if response is not None:
            usage, cost_usd = _spent(ledger, response, second.call)
            body = response.body if isinstance(response.body, bytes) else b""
            document = response.decoded if isinstance(response.decoded, Mapping) else json_or_none(body)
            if response.status < 400 and isinstance(document, Mapping):
                again = read_whole_answer("chat", document)
                side = side_of(
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
                card=second.selection.card.id if response is None else response.card.id,
                attempts=tuple(ledger.attempts() if ledger.calls else attempts),
                usage=usage,
                cost_usd=cost_usd,
                plan=ledger.plan or None,
                calls=ledger.outcomes(began_s),
                degraded=ledger.degraded or None,
                error=None if side is not None else "upstream_error",
            ),
            shadow=ShadowRecord(record.id, policy.id, of_client, side, same),
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


def _spent(ledger: Ledger, response: UpstreamResponse, call: Call) -> tuple[Usage | None, float | None]:
    """The tokens of all calls together, and what they cost, as far as it is known."""
    if ledger.calls:
        return ledger.usage(), ledger.cost_usd()
    usage = booked_usage(response, "chat", call.body)
    return usage, None if usage is None else cost_of(response.card, usage)
