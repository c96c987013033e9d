"""The task that turns outcomes into votes, off the path of requests."""

from __future__ import annotations

import asyncio
import collections
import logging
import time
from collections.abc import Callable
from typing import NamedTuple

from router.analysis.replay import features_of
from router.errors import PulvinarError
from router.gateway.config.reload import ActiveConfig
from router.gateway.learning.memories import Memories
from router.learn.online.outcomes import JudgedAnswer, Kind, Lesson, lesson_of, may_teach, readable
from router.learn.online.signals import Signals
from router.store.records.feedback import OPERATOR, Feedback, Stored
from router.store.records.protocol import RecordStore
from router.store.records.record import Record
from router.store.state.protocol import StateError

_LOG = logging.getLogger(__name__)
_MAX_WAITING = 10_000


class _Judged(NamedTuple):
    """A judgement whose record is known, or has to be read by the feedback's id."""

    judged: JudgedAnswer
    record: Record | None = None
    feedback: Feedback | None = None


class Learner:
    """Teaches `memories`. `read_records` opens the records, None without any. `count` gets the result of every
    judgement: its kind, and `learned` or why it was not.
    """

    def __init__(
        self,
        memories: Memories,
        active: Callable[[], ActiveConfig],
        read_records: Callable[[], RecordStore | None] | None,
        count: Callable[[str, str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._memories, self._active, self._read_records = memories, active, read_records
        self._count, self._clock = count, clock
        self._waiting: collections.deque[_Judged] = collections.deque()
        self._has_work = asyncio.Event()
        self._signals = Signals()

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

    def sink(self, record: Record) -> None:
        """Look for implicit signals in the record of a request."""
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
                self._count(each.judged.kind, await self._learn(each))

    def _add(self, judged: _Judged) -> None:
        if len(self._waiting) >= _MAX_WAITING:
            self._count(judged.judged.kind, "dropped")
            return
        self._waiting.append(judged)
        self._has_work.set()

    async def _learn(self, each: _Judged) -> str:
        """`learned`, or why not. No judgement ends the task, whatever it contains."""
        try:
            lesson = await asyncio.to_thread(self._lesson, each)
            return lesson if isinstance(lesson, str) else await self._memories.learn(lesson, self._clock())
        except StateError:
            return "unavailable"
        except (PulvinarError, OSError, ValueError, TypeError, LookupError) as error:
            _LOG.error("an outcome could not be learned from: %s", error)
            return "failed"

    def _lesson(self, each: _Judged) -> Lesson | str:
        record = each.record if each.feedback is None else self._record_of(each.feedback)
        if record is None:
            return "doubled"
        router = self._active().router
        is_readable = record.decision is not None and readable(record.decision, router.predictor)
        features = features_of(record.decision, router.predictor) if record.decision and is_readable else None
        if record.decision is not None and features is None:
            return "changed"
        return lesson_of(each.judged, record, features, router, self._clock())

    def _record_of(self, feedback: Feedback) -> Record | None:
        """The record of the answer; None where the key has judged it before, by another source."""
        records = None if self._read_records is None else self._read_records()
        if records is None:
            return None
        with records:
            if feedback.source != OPERATOR:
                of_key = [each for each in records.feedback_of(feedback.record) if each.key == feedback.key]
                of_clients = [each for each in of_key if each.source != OPERATOR]
                if of_clients and of_clients[0].source != feedback.source:
                    return None
            return records.find(feedback.record)
