"""The task that turns outcomes into votes, off the path of requests."""

from __future__ import annotations

import asyncio
import collections
import logging
import time
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from router.analysis.replay import features_of
from router.errors import FileError
from router.gateway.config.reload import ActiveConfig
from router.gateway.learning.answer_copy import UNREADABLE, AnswerCopy, Reading, read
from router.gateway.learning.memories import Memories
from router.learn.online.outcomes import JudgedAnswer, Kind, Lesson, lesson_of, may_teach, readable
from router.learn.online.signals import Signals
from router.store.records.feedback import OPERATOR, Feedback, Stored, is_of_judge
from router.store.records.protocol import RecordStore
from router.store.records.record import Record
from router.store.state.protocol import StateError

_LOG = logging.getLogger(__name__)
_WATCH_EVERY_S, _NEXT_S, _TAKEN = 5.0, 0.1, 50
_MAX_WAITING, _MAX_ANSWERS, _MAX_RECENT = 10_000, 500, 1_000


class _Judged(NamedTuple):
    """A judgement whose record is known, or has to be read by the feedback's id. `is_stored`: it waited in the store,
    where the operator has put it.
    """

    judged: JudgedAnswer
    record: Record | None = None
    feedback: Feedback | None = None
    is_stored: bool = False


class _Unread(NamedTuple):
    """An answer that has to be read."""

    record: Record
    copy: AnswerCopy

    @property
    def kind(self) -> Kind:
        """Who judges it at most."""
        return "grader" if self.copy.graders else "implicit"


class Learner:
    """Teaches `memories`. `read_records` opens the records, None without any. `count` gets the result of every
    judgement: its kind, and `learned` or why it was not. `watch` gets what was learned. `take_waiting` returns feedback
    that waits in the store, so many at most, and never again.
    """

    def __init__(
        self,
        memories: Memories,
        active: Callable[[], ActiveConfig],
        read_records: Callable[[], RecordStore | None] | None,
        count: Callable[[str, str], None],
        clock: Callable[[], float] = time.time,
        watch: Callable[[Lesson], None] = lambda _: None,
        take_waiting: Callable[[int], list[Feedback]] | None = None,
    ) -> None:
        self._take_waiting = take_waiting
        self._memories, self._active, self._read_records = memories, active, read_records
        self._count, self._clock, self._watch = count, clock, watch
        self._waiting: collections.deque[_Judged | _Unread] = collections.deque()
        self._has_work, self._is_idle = asyncio.Event(), asyncio.Event()
        self._is_idle.set()
        self._is_ending = False
        self._signals = Signals()
        self._recent: collections.OrderedDict[str, Record] = collections.OrderedDict()

    @property
    def waiting(self) -> int:
        """How many judgements wait."""
        return len(self._waiting)

    def feedback(self, stored: Stored) -> None:
        """Take feedback that is new in the store."""
        self._add_feedback(stored.feedback, is_stored=False)

    def _add_feedback(self, given: Feedback, *, is_stored: bool) -> None:
        kind: Kind = "operator" if given.source == OPERATOR else "client"
        judged = JudgedAnswer(given.value, given.source, kind)
        self._add(_Judged(judged, feedback=given, is_stored=is_stored))

    def judged(self, record: Record, judged: JudgedAnswer) -> None:
        """Take a judgement of the answer to a request."""
        self._add(_Judged(judged, record))

    def read(self, record: Record, copy: AnswerCopy) -> bool:
        """Take an answer to be read for graders and for what it shows; False where judgements of it teach nothing."""
        decision = record.decision
        if decision is None or not may_teach(record, self._active().router.policies.get(decision.policy)):
            return False
        if record.outcome.status != 200 or record.outcome.error is not None:
            return False
        # Prompts may be large.
        self._add(_Unread(msgspec.structs.replace(record, prompt=None), copy))
        return True

    def sink(self, record: Record) -> None:
        """Remember the record of a request, and look for implicit signals in it."""
        if record.prompt is not None:
            # Prompts may be large.
            record = msgspec.structs.replace(record, prompt=None)
        self._recent[record.id] = record
        if len(self._recent) > _MAX_RECENT:
            self._recent.popitem(last=False)
        decision = record.decision
        if decision is None or not may_teach(record, self._active().router.policies.get(decision.policy)):
            return
        for about, judged in self._signals.read(record):
            if judged.weight > 0:
                self._add(_Judged(judged, about))

    async def run(self) -> None:
        """Learn what comes, until cancelled."""
        while True:
            await self._has_work.wait()
            self._has_work.clear()
            while self._waiting:
                each = self._waiting.popleft()
                if isinstance(each, _Judged):
                    self._count(each.judged.kind, await self._learn(each))
                    continue
                reading = await self._reading(each)
                shown = self._signals.of_answer(each.record, reading.signal, has_schema=reading.has_schema)
                signals = [shown] if shown is not None and shown.weight > 0 else []
                for judged in (*reading.judged, *signals):
                    self._count(judged.kind, await self._learn(_Judged(judged, each.record)))
            self._is_idle.set()

    async def finish(self) -> None:
        """Wait until everything is learned that has been taken, and take nothing more from the store."""
        self._is_ending = True
        await self._is_idle.wait()

    async def watch(self) -> None:
        """Take the feedback that commands have stored, every few seconds, until cancelled.

        What is taken counts once, whichever gateway takes it. It is taken a little at a time, since it is lost where
        this process is killed before it has learned it.
        """
        while self._take_waiting is not None and not self._is_ending:
            taken: list[Feedback] = []
            if len(self._waiting) < _TAKEN:
                try:
                    taken = await asyncio.to_thread(self._take_waiting, _TAKEN)
                except FileError as error:
                    _LOG.warning("stored feedback cannot be read: %s", error)
            for given in taken:
                self._add_feedback(given, is_stored=True)
            await asyncio.sleep(_NEXT_S if taken else _WATCH_EVERY_S)

    def _add(self, waiting: _Judged | _Unread) -> None:
        # Answers take more room than judgements.
        if len(self._waiting) >= (_MAX_WAITING if isinstance(waiting, _Judged) else _MAX_ANSWERS):
            self._count(waiting.judged.kind if isinstance(waiting, _Judged) else waiting.kind, "dropped")
            return
        self._waiting.append(waiting)
        self._is_idle.clear()
        self._has_work.set()

    async def _reading(self, each: _Unread) -> Reading:
        """What the answer says; nothing where it is none, as from a server that sends nonsense."""
        try:
            return await asyncio.to_thread(read, each.record, each.copy)
        except UNREADABLE as error:
            _LOG.error("an answer could not be read: %s", error)
            self._count(each.kind, "failed")
            return Reading([])

    async def _learn(self, each: _Judged) -> str:
        """`learned`, or why not. No judgement ends the task, whatever it contains."""
        try:
            lesson = await asyncio.to_thread(self._lesson, each)
            if isinstance(lesson, str):
                return lesson
            result = await self._memories.learn(lesson, self._clock())
            if result == "learned":
                self._watch(lesson)
            return result
        except StateError:
            return "unavailable"
        except UNREADABLE as error:
            _LOG.error("an outcome could not be learned from: %s", error)
            return "failed"

    def _lesson(self, each: _Judged) -> Lesson | str:
        record = each.record if each.feedback is None else self._record_of(each.feedback)
        if record is None or record.decision is None:
            return "unrouted"
        router = self._active().router
        if not may_teach(record, router.policies.get(record.decision.policy)):
            return "off"
        if not readable(record.decision, router.predictor):
            return "changed"
        if each.feedback is not None and self._is_doubled(each.feedback):
            return "doubled"
        features = features_of(record.decision, router.predictor)
        lesson = lesson_of(each.judged, record, features, router, self._clock())
        # The allowance an hour is that of clients.
        is_limited = not isinstance(lesson, str) and lesson.is_limited and not each.is_stored
        return lesson if isinstance(lesson, str) else msgspec.structs.replace(lesson, is_limited=is_limited)

    def _record_of(self, feedback: Feedback) -> Record | None:
        """The record of the answer: most judgements are of one that this worker has just made."""
        recent = self._recent.get(feedback.record)
        if recent is not None or self._read_records is None:
            return recent
        records = self._read_records()
        if records is None:
            return None
        with records:
            return records.find(feedback.record)

    def _is_doubled(self, feedback: Feedback) -> bool:
        """Whether the key has judged the answer before, by another source."""
        records = None if self._read_records is None or feedback.source == OPERATOR else self._read_records()
        if records is None:
            return False
        with records:
            of_record = records.feedback_of(feedback.record)
        clients = (each for each in of_record if each.source != OPERATOR and not is_of_judge(each.source))
        of_key = [each for each in clients if each.key == feedback.key]
        return bool(of_key) and of_key[0].source != feedback.source
