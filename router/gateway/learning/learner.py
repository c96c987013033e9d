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
from router.gateway.config.reload import ActiveConfig
from router.gateway.learning.heard import UNREADABLE, Heard, graded
from router.gateway.learning.memories import Memories
from router.learn.online.outcomes import JudgedAnswer, Kind, Lesson, lesson_of, may_teach, readable
from router.learn.online.signals import Signals
from router.store.records.feedback import OPERATOR, Feedback, Stored
from router.store.records.protocol import RecordStore
from router.store.records.record import Record
from router.store.state.protocol import StateError

_LOG = logging.getLogger(__name__)
_MAX_WAITING, _MAX_ANSWERS, _MAX_RECENT = 10_000, 500, 1_000


class _Judged(NamedTuple):
    """A judgement whose record is known, or has to be read by the feedback's id."""

    judged: JudgedAnswer
    record: Record | None = None
    feedback: Feedback | None = None


class _Heard(NamedTuple):
    """An answer that has to be graded."""

    record: Record
    heard: Heard


class Learner:
    """Teaches `memories`. `read_records` opens the records, None without any. `count` gets the result of every
    judgement: its kind, and `learned` or why it was not. `watch` gets what was learned.
    """

    def __init__(
        self,
        memories: Memories,
        active: Callable[[], ActiveConfig],
        read_records: Callable[[], RecordStore | None] | None,
        count: Callable[[str, str], None],
        clock: Callable[[], float] = time.time,
        watch: Callable[[Lesson], None] = lambda _: None,
    ) -> None:
        self._memories, self._active, self._read_records = memories, active, read_records
        self._count, self._clock, self._watch = count, clock, watch
        self._waiting: collections.deque[_Judged | _Heard] = collections.deque()
        self._has_work = asyncio.Event()
        self._signals = Signals()
        self._recent: collections.OrderedDict[str, Record] = collections.OrderedDict()

    @property
    def waiting(self) -> int:
        """How many judgements wait."""
        return len(self._waiting)

    def feedback(self, stored: Stored) -> None:
        """Take feedback that is new in the store."""
        given = stored.feedback
        kind: Kind = "operator" if given.source == OPERATOR else "client"
        self._add(_Judged(JudgedAnswer(given.value, given.source, kind), feedback=given))

    def judged(self, record: Record, judged: JudgedAnswer) -> None:
        """Take a judgement of the answer to a request."""
        self._add(_Judged(judged, record))

    def grade(self, record: Record, heard: Heard) -> bool:
        """Take an answer that the policy's graders judge; False where judgements of it teach nothing."""
        decision = record.decision
        if decision is None or not may_teach(record, self._active().router.policies.get(decision.policy)):
            return False
        if record.outcome.status != 200 or record.outcome.error is not None:
            return False
        # Prompts may be large.
        self._add(_Heard(msgspec.structs.replace(record, prompt=None), heard))
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
                for judged in await self._graded(each):
                    self._count(judged.kind, await self._learn(_Judged(judged, each.record)))

    def _add(self, waiting: _Judged | _Heard) -> None:
        # Answers take more room than judgements.
        if len(self._waiting) >= (_MAX_WAITING if isinstance(waiting, _Judged) else _MAX_ANSWERS):
            self._count(waiting.judged.kind if isinstance(waiting, _Judged) else "grader", "dropped")
            return
        self._waiting.append(waiting)
        self._has_work.set()

    async def _graded(self, each: _Heard) -> list[JudgedAnswer]:
        """What the graders say; nothing where the answer is none, as from a server that sends nonsense."""
        try:
            return await asyncio.to_thread(graded, each.record, each.heard)
        except UNREADABLE as error:
            _LOG.error("an answer could not be graded: %s", error)
            self._count("grader", "failed")
            return []

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
        return lesson_of(each.judged, record, features_of(record.decision, router.predictor), router, self._clock())

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
        of_key = [each for each in of_record if each.key == feedback.key and each.source != OPERATOR]
        return bool(of_key) and of_key[0].source != feedback.source
