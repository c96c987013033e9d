"""Cards that judge answers: asked off the path of requests, within a budget that all gateways of one state share."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import datetime
import logging
import secrets
import time
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import Struct

from router.cards.schema import Card
from router.decide.flags import parse_flags
from router.decide.limits import meets_facts
from router.decide.policy import JudgeGrader
from router.dispatch import Call, Dispatcher, UpstreamResponse
from router.dispatch.costs import Expected, booked_usage, bounds_of, cost_of, price_of
from router.errors import BudgetError, BusyError, ConflictError, FileError, PulvinarError, UnknownIdError
from router.formats.json import json_bytes, json_or_none
from router.gateway.config.reload import ActiveConfig
from router.gateway.learning.answer_copy import UNREADABLE, AnswerCopy, answer_in
from router.learn.online.judging import body_for, could_be_judged, is_sampled, verdict_in
from router.learn.online.outcomes import JudgedAnswer, may_teach
from router.pipeline import Routed
from router.store.records.feedback import Feedback, FeedbackStore, judges_source
from router.store.records.record import Record
from router.store.state.dollars import Charge, DailyDollars
from router.store.state.protocol import Blob, StateError, StateStore, blob_named
from router.wire.reading.whole_answers import read_whole_answer

_LOG = logging.getLogger(__name__)
JUDGES = "judges/"
"""The prefix of the blobs in which `Tally` are shared."""
_MAX_WAITING, _AT_ONCE, _TRIES = 100, 2, 8
_LOOKS, _PAUSE_S = 10, 0.5
# An operator may raise a budget that is spent.
_LOOK_AGAIN_S = 60.0
# Names and roles around the texts: more than any protocol adds.
_FRAME_TOKENS = 64

Result = Literal[
    "judged", "unreadable", "failed", "budget", "unavailable", "unpriced", "not allowed", "unsuitable", "dropped"
]


class Tally(Struct, frozen=True, array_like=True):
    """The results of the answers that one judge was to judge, since the beginning, and their cost."""

    judged: int = 0
    unreadable: int = 0
    failed: int = 0
    cost_usd: float = 0.0


class _Waiting(NamedTuple):
    record: Record
    copy: AnswerCopy
    grader: JudgeGrader
    routed: Routed


class _Question(NamedTuple):
    card: Card
    body: dict[str, Any]
    code: str


class Judges:
    """Asks the judges of policies. `teach` gets every verdict, and `open_store`, None without records, stores it.
    `count` gets the judge's card, the result of an answer that was drawn, and the cost in US dollars.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        state: StateStore,
        active: Callable[[], ActiveConfig],
        teach: Callable[[Record, JudgedAnswer], None],
        open_store: Callable[[], FeedbackStore] | None,
        count: Callable[[str, str, float], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._dispatcher, self._state, self._active = dispatcher, state, active
        self._dollars = DailyDollars(state, clock)
        self._teach, self._open_store, self._count, self._clock = teach, open_store, count, clock
        self._waiting: collections.deque[_Waiting] = collections.deque()
        self._has_work, self._is_idle = asyncio.Event(), asyncio.Event()
        self._is_idle.set()
        self._asking = 0
        self._spent_until_s: dict[str, float] = {}

    @property
    def waiting(self) -> int:
        """How many answers wait for a judge."""
        return len(self._waiting)

    def offer(self, record: Record, copy: AnswerCopy) -> None:
        """Take an answer, which its client has, where a judge of the policy is to judge it."""
        routed, decision = copy.routed, record.decision
        if decision is None or record.outcome.plan is not None:
            return
        for grader in copy.graders:
            if not isinstance(grader, JudgeGrader) or not is_sampled(record.id, decision.policy, grader):
                continue
            # What waits keeps its request, whose memory is nobody's any more.
            if not could_be_judged(routed.request, routed.features.input_tokens):
                self._count(grader.card, "unsuitable", 0.0)
                continue
            if len(self._waiting) >= _MAX_WAITING:
                self._count(grader.card, "dropped", 0.0)
                continue
            self._waiting.append(_Waiting(record, copy, grader, routed))
            self._has_work.set()

    async def run(self) -> None:
        """Judge what comes, a few answers at once, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(_AT_ONCE):
                tasks.create_task(self._work())

    async def finish(self) -> None:
        """Wait for the verdicts that judges are writing, and ask for no more."""
        for each in self._waiting:
            self._count(each.grader.card, "dropped", 0.0)
        self._waiting.clear()
        await self._is_idle.wait()

    async def _work(self) -> None:
        while True:
            while self._waiting:
                each = self._waiting.popleft()
                self._asking += 1
                self._is_idle.clear()
                try:
                    await self._take(each)
                finally:
                    self._asking -= 1
                    if not self._asking:
                        self._is_idle.set()
            self._has_work.clear()
            await self._has_work.wait()

    async def _take(self, each: _Waiting) -> None:
        card, cost_usd = each.grader.card, 0.0
        try:
            result, cost_usd = await self._judge(each)
        except StateError:
            result = "unavailable"
        except UNREADABLE as error:
            _LOG.warning("the judge %s failed: %s", card, error)
            result = "failed"
        self._count(card, result, cost_usd)
        with contextlib.suppress(StateError):
            await self._note(name_of(each.record, each.grader), result, cost_usd)

    async def _judge(self, each: _Waiting) -> tuple[Result, float]:
        """The result of one answer, and its cost in US dollars."""
        grader = each.grader
        question = await self._question(each)
        if isinstance(question, str):
            return question, 0.0
        name = name_of(each.record, grader)
        if self._clock() < self._spent_until_s.get(name, 0.0):
            return "budget", 0.0
        worst_usd = _worst_usd(question.card, question.body)
        try:
            async with self._dollars.reserved(name, grader.dollars_per_day, worst_usd) as charge:
                response = await self._asked(question, grader.seconds, charge)
        except BudgetError as error:
            if error.is_spent:
                self._spent_until_s[name] = self._clock() + min(error.retry_after_s, _LOOK_AGAIN_S)
            return "budget", 0.0
        cost_usd = charge.cost_usd
        if response is None or response.status >= 400:
            return "failed", cost_usd
        value = _verdict_of(response, question.code)
        if value is None:
            return "unreadable", cost_usd
        judged = JudgedAnswer(value, f"judge.{grader.card}", "judge", propensity=grader.share)
        self._teach(each.record, judged)
        await self._store(each.record, judged, question.card.id)
        return "judged", cost_usd

    async def _question(self, each: _Waiting) -> _Question | Result:
        """What the judge is asked; where it is not asked, why."""
        card = judge_of(each.record, each.routed, each.grader, self._active(), self._clock())
        if card is None:
            return "not allowed"
        if price_of(card) is None:
            return "unpriced"
        answer = await asyncio.to_thread(answer_in, each.record, each.copy)
        if answer is None or answer.has_calls or not answer.text.strip():
            return "unsuitable"
        code = secrets.token_hex(8)
        body = body_for(each.grader, card.id, each.routed.request, answer.text, code)
        return "unsuitable" if body is None else _Question(card, body, code)

    async def _store(self, record: Record, judged: JudgedAnswer, card: str) -> None:
        """Store the verdict beside the record, with the propensity, for whoever estimates from it later."""
        if self._open_store is None or not self._active().config.records.enabled:
            return
        source = judges_source(card)
        given = Feedback(record.id, judged.value, self._clock(), source, propensity=judged.propensity)
        for _ in range(_LOOKS):
            try:
                await asyncio.to_thread(_added, self._open_store, given)
                return
            except UnknownIdError:
                # A record is in the database a moment after its answer.
                await asyncio.sleep(_PAUSE_S)
            except (FileError, ConflictError) as error:
                _LOG.warning("the verdict of the judge %s cannot be stored: %s", card, error)
                return

    async def _asked(self, question: _Question, seconds: float, charge: Charge) -> UpstreamResponse | None:
        """The judge's response; None where there is none. Where a call has begun whose cost is not known, the charge
        stays the worst case.
        """
        card, body = question.card, question.body
        begun = 0

        def begin() -> dict[str, str]:
            nonlocal begun
            begun += 1
            if begun > 1:
                # The budget has room for one call.
                raise BusyError(f"the judge {card.id} did not answer", 0.0)
            return {}

        call = Call("chat", body, ends_s=time.monotonic() + seconds, is_batch=True)
        try:
            response = await self._dispatcher.send_first_healthy((card,), call, None, begin)
        except PulvinarError as error:
            _LOG.warning("the judge %s failed: %s", card.id, error)
            return None
        finally:
            # Also where this gateway ends meanwhile.
            if not begun:
                charge.cost_usd = 0.0
        usage = booked_usage(response, "chat", body)
        cost_usd = None if usage is None else cost_of(card, usage)
        if cost_usd is not None:
            charge.cost_usd = cost_usd
        elif response.status >= 400:
            charge.cost_usd = 0.0
        return response

    async def _note(self, name: str, result: Result, cost_usd: float) -> None:
        """Add to the tally that all workers share."""
        if result not in Tally.__struct_fields__:
            return
        for _ in range(_TRIES):
            blob = await blob_named(self._state, JUDGES + name) or Blob(JUDGES + name, 0, b"")
            tally = tally_in(blob.content)
            counted = {result: getattr(tally, result) + 1, "cost_usd": tally.cost_usd + cost_usd}
            content = msgspec.json.encode(msgspec.structs.replace(tally, **counted))
            if await self._state.swap_blob(Blob(blob.name, blob.version, content), self._clock()):
                return


def judge_of(record: Record, routed: Routed, grader: JudgeGrader, active: ActiveConfig, now_s: float) -> Card | None:
    """The card of a judge, if it may read the request: None where the policy is another one by now, where it is the
    model that answered, where it does not meet the limits of policy and client, or the client's key does not allow it.
    """
    router = active.router
    decision = record.decision
    policy = None if decision is None else router.policies.get(decision.policy)
    if decision is None or policy is None or grader not in policy.graders or not may_teach(record, policy):
        return None
    position = router.catalog.position(grader.card)
    answered = router.catalog.position(record.outcome.card or "")
    if position is None or answered is None:
        return None
    card, judged = router.catalog[position], router.catalog[answered]
    # A model praises itself, also under another name.
    is_same = card.id == judged.id or (card.provider, card.model) == (judged.provider, judged.model)
    if is_same or card.withheld is not None or card.id in routed.request_context.hidden:
        return None
    today = datetime.datetime.fromtimestamp(now_s, datetime.UTC).date()
    limits = (*policy.flags.limits, *parse_flags(decision.flags).limits)
    if not meets_facts(limits, router.catalog, position, today, unknown_passes=policy.unknown == "allow"):
        return None
    if not active.keys:
        return card
    key = next((each for each in active.keys if each.id == record.key), None)
    return card if key is not None and active.keys.allows(key, card.id) else None


def name_of(record: Record, grader: JudgeGrader) -> str:
    """The name of the budget of one judge of one policy; no key's id has a colon."""
    policy = "" if record.decision is None else record.decision.policy
    return f"judge:{policy}:{grader.card}"


def tally_in(content: bytes) -> Tally:
    """The tally in a blob; an empty one where it is damaged."""
    try:
        return msgspec.json.decode(content, type=Tally)
    except msgspec.DecodeError:
        return Tally()


def _added(open_store: Callable[[], FeedbackStore], given: Feedback) -> None:
    with open_store() as store:
        store.add(given, of_any_key=True)


def _worst_usd(card: Card, body: dict[str, Any]) -> float:
    """The most that one call may cost: no tokenizer makes more tokens than there are bytes."""
    most_input = len(json_bytes(body)) + _FRAME_TOKENS
    return bounds_of(card, "chat", body, Expected(most_input, 0.0, 0.0)).worst_usd


def _verdict_of(response: UpstreamResponse, code: str) -> float | None:
    document = json_or_none(response.body) if isinstance(response.body, bytes) else None
    answer = read_whole_answer("chat", document) if isinstance(document, dict) else None
    return None if answer is None else verdict_in(answer.text, code)
