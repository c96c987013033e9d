"""The calls of one plan: each within its caps, collected before anyone sees it or relayed as it comes."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from router.cards.catalog import Catalog
from router.compose.answers import asks_for_answer, read_answer
from router.compose.gate import Asked, Gate
from router.compose.run.brief import Brief
from router.compose.run.draft import Draft
from router.compose.run.held import HeldAnswers
from router.compose.run.ledger import Called, Ledger
from router.compose.run.streams import ShownStream
from router.compose.signals import signals_of
from router.compose.validators import failure_of, schema_asked
from router.decide.plans.spec import Chain, Validators
from router.dispatch import Call, Dispatcher, UpstreamResponse
from router.dispatch.bounds.admission import Running
from router.dispatch.bounds.body_memory import Reserved
from router.dispatch.converted_response import converted
from router.dispatch.costs import ASSUMED_OUTPUT_TOKENS, Expected, bounds_of, price_of
from router.dispatch.failover.failover import MAX_DOUBTS
from router.dispatch.providers import server_of
from router.dispatch.response import fault_in
from router.errors import BusyError, FieldError, UpstreamError
from router.formats.json import json_bytes, json_or_none
from router.types import ComposedPlan
from router.wire import CONVERSIONS
from router.wire.reading.whole_answers import read_whole_answer
from router.wire.streams.collected import collected
from router.wire.texts import newest_human_texts
from router.wire.usage import prompt_tokens
from router.wire.usage.added import with_added

ALWAYS = Validators(json_schema="request")
"""What every answer must meet that is judged: not empty, not cut off, no refusal, and the schema of the request."""

_MOST_COLLECTED_BYTES = 16 * 2**20
# What is left of the time for the answer itself where a plan has used the rest.
_DELIVERY_S = 0.2
_NO_HEADERS: Mapping[str, str] = {}
PARTIAL = frozenset({"segment", "stage"})
"""The roles of calls whose answers are only a part of what the client gets, or no part of it."""

_WRITTEN_BY_PLANS = PARTIAL | {"writer"}

Failure = UpstreamError | BusyError | FieldError | UpstreamResponse


class Members:
    """The cards that one plan calls, for one request."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        catalog: Catalog,
        plan: ComposedPlan,
        call: Call,
        brief: Brief,
        ledger: Ledger,
        gate: Gate,
        on_attempts: Callable[[], object],
        on_attempt: Callable[[], Mapping[str, str]] | None,
        memory: Reserved | None = None,
        running: Running | None = None,
    ) -> None:
        """`memory` is that of the request, in which its drafts are counted; calls count at their cards in `running`."""
        self._running = running
        self._held = HeldAnswers(memory)
        self.plan, self.brief, self.ledger, self.gate = plan, brief, ledger, gate
        self.limits, self.forecasts = brief.limits, brief.forecasts
        now_s = time.monotonic()
        seconds = self.limits.seconds
        self.ends_s = min(call.ends_s - _DELIVERY_S, now_s + seconds) if seconds else call.ends_s - _DELIVERY_S
        self.call = msgspec.structs.replace(call, ends_s=max(self.ends_s, now_s))
        self.prompt = "\n".join(newest_human_texts(call.body))
        self.drafts: list[Draft] = []
        self.failures: list[Failure] = []
        self._refusals: list[UpstreamResponse] = []
        self._doubted: list[UpstreamResponse] = []
        self._catalog, self._dispatcher, self._on_attempt = catalog, dispatcher, on_attempt
        self._on_attempts = on_attempts
        self._schema, self._asks_for_answer = schema_asked(call.body), asks_for_answer(self.prompt)
        self._slots = asyncio.Semaphore(self.limits.parallel)
        self._reserved_usd: dict[int, float] = {}

    def share_server(self, one: str, other: str) -> bool:
        """Whether two cards are called at the same server of one's own."""
        first, second = self._catalog.named(one), self._catalog.named(other)
        has_one = first.base_url is not None and not first.deployments
        return has_one and server_of(first) == server_of(second)

    def may_ask(self, more: int = 1) -> bool:
        """Whether the cap of calls allows this many more, and no answer has refused the request as invalid."""
        return not self._refusals and len(self.ledger.calls) + more <= self.limits.calls

    def prior(self, card: str) -> float:
        """The quality that is forecast of a card."""
        return self.forecasts.quality.get(card, self.forecasts.usual_quality)

    async def draft(
        self, card: str, role: str, call: Call | None = None, *, stream: bool | None = None, checks: Validators = ALWAYS
    ) -> Draft | None:
        """A member's whole answer; None where it has none, which is noted. Where it is cancelled, its call is closed.

        `stream`: whether it is streamed to the gateway, by default as the client asks; what is streamed can be counted
        where it is given up.
        """
        call = self.call if call is None else call
        called = self._begun(card, role, call, call.stream if stream is None else stream)
        if called is None:
            return None
        draft = None
        with self._noted(called):
            async with self._slots:
                response, pieces = await self._collected(called, streaming(call, called.stream))
            if response is not None:
                draft = self._read(called, call, response, pieces, checks)
        if draft is None:
            return None
        called.end("rejected" if draft.failed else "used", draft.failed)
        self.drafts.append(draft)
        return draft

    async def begun(self, card: str, role: str, call: Call) -> tuple[Called, UpstreamResponse] | None:
        """A member's response as it begins, for the client; None where there is none, which is noted."""
        called = self._begun(card, role, call, call.stream)
        if called is None:
            return None
        response = None
        with self._noted(called):
            response = await self._sent(called, call)
        if response is None:
            return None
        if response.status >= 400:
            self._fail(called, response)
            return None
        called.verdict = "shown"
        return called, response

    async def live(self, card: str, role: str, call: Call | None = None) -> UpstreamResponse | None:
        """A member's answer for the client, relayed as it comes; None where there is none, which is noted.

        A call in chat for a client of another protocol is converted; it needs `decode`.
        """
        call = self.call if call is None else call
        begun = await self.begun(card, role, call)
        if begun is None:
            return None
        called, response = begun
        if call.api != self.call.api:
            response = converted(response, CONVERSIONS[self.call.api], self.call.body)
        if isinstance(response.body, bytes):
            return self._with_total(called, response, response.body)
        shown = ShownStream(response.body, self.call.api, lambda: self.ledger.usage(without=called))
        return msgspec.structs.replace(response, body=shown)

    def shown(self, draft: Draft, degraded: str = "") -> UpstreamResponse:
        """A draft as the answer for the client, in the form that it asks for."""
        draft.called.end("shown")
        if degraded:
            self.ledger.degrade(degraded)
        response, call = draft.response, self.call
        if call.stream and not isinstance(response.body, bytes):
            others = self.ledger.usage(without=draft.called)
            replayed = ShownStream(response.body, call.api, lambda: others, draft.pieces)
            return msgspec.structs.replace(response, body=replayed)
        body = json_bytes(draft.document) if draft.pieces else response.body
        assert isinstance(body, bytes)
        return self._with_total(draft.called, response, body)

    def asked(self, drafts: Sequence[Draft]) -> list[Asked]:
        """The drafts as the gate reads them."""
        return [
            Asked(
                draft.card.id,
                self.prior(draft.card.id),
                draft.answer,
                signals_of(draft.text, draft.answer, draft.whole.logprobs),
                draft.failed,
                # A call of a tool is no final answer, and need not be one.
                self._asks_for_answer and not draft.whole.has_calls,
            )
            for draft in drafts
        ]

    def rights(self, drafts: Sequence[Draft], gate: Gate | None = None) -> list[float]:
        """P(right) of every draft, given all of them, which is noted."""
        if not drafts:
            return []
        rights = (gate or self.gate).rights(self.asked(drafts), self.forecasts.usual_quality)
        for draft, right in zip(drafts, rights, strict=True):
            draft.called.right = float(right)
        return [float(right) for right in rights]

    def best(self, drafts: Sequence[Draft], gate: Gate | None = None) -> Draft | None:
        """The draft that is most probably right; of those that failed, the first that says anything."""
        if not drafts:
            return None
        rights = self.rights(drafts, gate)

        def rank(number: int) -> tuple[bool, bool, float, int]:
            draft = drafts[number]
            return not draft.failed, bool(draft.text.strip()), rights[number], -number

        return drafts[max(range(len(drafts)), key=rank)]

    def failure(self) -> UpstreamResponse:
        """The error for the client where no member answered: the answer of a server before a broken connection. Raises
        it where it is no response.
        """
        responses = [*self._refusals, *(each for each in self.failures if isinstance(each, UpstreamResponse))]
        if responses:
            return responses[0]
        errors = [each for each in self.failures if not isinstance(each, UpstreamResponse)]
        upstream = [each for each in errors if isinstance(each, UpstreamError)]
        raise (upstream or errors or [UpstreamError(f"no call of {self.plan.id} was allowed", 502, "cap")])[0]

    @contextlib.contextmanager
    def _noted(self, called: Called) -> Iterator[None]:
        """Note how a call fails, which ends the block, or that it was given up, and its attempts in any case."""
        try:
            yield
        except (UpstreamError, BusyError, FieldError) as error:
            self._fail(called, error)
        except BaseException:
            called.end("cancelled")
            self.ledger.close_attempts(called)
            raise
        finally:
            self._on_attempts()

    def _begun(self, card: str, role: str, call: Call, stream: bool) -> Called | None:
        """The call of a card, within the caps; None where they allow none."""
        member = self._catalog.named(card)
        if not self.may_ask():
            if not self._refusals:
                self.ledger.degrade("calls")
            return None
        expected = self.forecasts.written_tokens.get(card, 0.0)
        if self.limits.usd is not None:
            written = expected or ASSUMED_OUTPUT_TOKENS
            bounds = bounds_of(member, call.api, call.body, Expected(prompt_tokens(call.body), written, written))
            # What a call without a price costs cannot be kept within the cap.
            reserved_usd = math.inf if price_of(member) is None else bounds.reserved_usd
            if self.ledger.calls and not self._spent_usd() + reserved_usd <= self.limits.usd:
                self.ledger.degrade("usd")
                return None
        called = Called(member, role, call.api, call.body, expected, stream=stream)
        if self.limits.usd is not None:
            self._reserved_usd[id(called)] = bounds.reserved_usd
        self.ledger.add(called)
        return called

    def _spent_usd(self) -> float:
        """What the calls have cost, and may cost that have not ended."""
        return sum(
            self._reserved_usd.get(id(each), 0.0) if each.is_open else each.outcome(0.0).cost_usd or 0.0
            for each in self.ledger.calls
        )

    async def _sent(self, called: Called, call: Call) -> UpstreamResponse:
        def begin() -> Mapping[str, str]:
            self.ledger.begin_attempt(called)
            return _NO_HEADERS if self._on_attempt is None else self._on_attempt()

        first_by_s = self._half_time_s() if self._others_may_follow(called.card.id) else call.first_by_s
        number = self.ledger.calls.index(called) + 1
        call = msgspec.structs.replace(call, first_by_s=first_by_s, repeats=bool(self.failures), number=number)
        end = None if self._running is None else self._running.begin_call(called.card.id_without_effort)
        try:
            response = await self._dispatcher.send_first_healthy((called.card,), call, called.attempts, begin)
        except BaseException:
            if end is not None:
                end()
            raise
        called.response = response
        if end is not None:
            if isinstance(response.body, bytes):
                end()
            else:
                response.body.on_close(end)
        return response

    def _others_may_follow(self, card: str) -> bool:
        """Whether a card that has not been asked could answer where this one hangs."""
        asked = {called.card.id for called in self.ledger.calls}
        return any(other not in asked for other in (*self.plan.members, *self.plan.fallbacks) if other != card)

    def _half_time_s(self) -> float:
        """When half of the time that is left will be over."""
        now_s = time.monotonic()
        return now_s + (self.ends_s - now_s) / 2

    async def _collected(self, called: Called, call: Call) -> tuple[UpstreamResponse | None, tuple[bytes, ...]]:
        """The whole response, and the pieces of a stream; None for an error, which is noted."""
        response = await self._sent(called, call)
        if isinstance(response.body, bytes):
            if response.status >= 400:
                self._fail(called, response)
                return None, ()
            self._held.add(len(response.body))
            return response, ()
        pieces, size = list[bytes](), 0
        try:
            async for piece in response.body:
                self._held.add(len(piece))
                pieces.append(piece)
                size += len(piece)
                if size > _MOST_COLLECTED_BYTES:
                    raise UpstreamError(f'the answer of the card "{called.card.id}" is too large', 502, "garbage")
        except BaseException:
            self._held.give_back(size)
            raise
        finally:
            await response.body.aclose()
        return response, tuple(pieces)

    def _read(
        self, called: Called, call: Call, response: UpstreamResponse, pieces: tuple[bytes, ...], checks: Validators
    ) -> Draft:
        document: Any
        if pieces:
            document = collected(call.api, pieces)
        else:
            assert isinstance(response.body, bytes)
            # Of a converted answer, what was decoded is the upstream's.
            document = json_or_none(response.body)
        if not isinstance(document, Mapping):
            raise UpstreamError(f'the response of the card "{called.card.id}" is not a JSON object', 502, "garbage")
        whole = read_whole_answer(call.api, document)
        failed = failure_of(checks, whole, self._schema, self.prompt)
        return Draft(called, response, pieces, document, whole, read_answer(whole.text), failed)

    def _with_total(self, called: Called, response: UpstreamResponse, body: bytes) -> UpstreamResponse:
        """A whole answer whose usage is what all calls used; unchanged where there was only one."""
        others, total = self.ledger.usage(without=called), self.ledger.usage()
        called.end(called.verdict)
        document = json_or_none(body)
        if others is not None and total is not None and isinstance(document, Mapping):
            body = json_bytes(with_added(self.call.api, document, others, total))
        return msgspec.structs.replace(response, body=body)

    def _fail(self, called: Called, failure: Failure) -> None:
        reason = fault_in(failure).name if isinstance(failure, UpstreamResponse) else _reason(failure)
        called.end("failed", reason)
        self.failures.append(failure)
        if isinstance(failure, UpstreamResponse) and self._is_refusal(called, failure):
            self._refusals.append(failure)

    def _is_refusal(self, called: Called, answer: UpstreamResponse) -> bool:
        """Whether every other card would refuse the client's request, too: where the error says so, or where it says
        no more than that and a second card has the same.
        """
        if called.role in _WRITTEN_BY_PLANS or isinstance(self.brief.spec, Chain):
            return False
        then = fault_in(answer).meaning.then
        if then == "one_more":
            self._doubted.append(answer)
        return then == "end" or (then == "one_more" and len(self._doubted) >= MAX_DOUBTS)


def streaming(call: Call, stream: bool) -> Call:
    """The call with its answer streamed, or whole."""
    if call.stream == stream and bool(call.body.get("stream")) == stream:
        return call
    chat_body = None if call.chat_body is None or call.api != "chat" else {**call.chat_body, "stream": stream}
    return msgspec.structs.replace(call, stream=stream, body={**call.body, "stream": stream}, chat_body=chat_body)


def _reason(error: UpstreamError | BusyError | FieldError) -> str:
    return error.fault if isinstance(error, UpstreamError) else "busy" if isinstance(error, BusyError) else "field"
