"""The task that learns."""

from __future__ import annotations

import asyncio

from router.decide.policy import RegexGrader
from router.gateway.learning.answer_copy import AnswerCopy
from router.gateway.learning.learner import Learner
from router.gateway.learning.memories import Memories
from router.perceive.predictor import Predictor
from router.store.records.feedback import Feedback, Stored
from router.store.records.record import Record, Snapshot
from router.store.records.snapshots import Snapshots
from router.store.state.sqlite import SqliteState
from router.types import Outcome
from router.wire.chat.request import ChatRequest
from tests.gateway.learning.conftest import active_with

_NOW_S = 1_790_000_000.0


def test_an_answer_that_cannot_be_read_does_not_end_the_task(predictor: Predictor) -> None:
    active = active_with(predictor, graders=(RegexGrader("Paris"),))
    routed = active.router.route(ChatRequest.from_prompt("What is the capital of France?"))

    def kept(_: Snapshot) -> bool:
        return True

    decision = Snapshots(active.catalogue, kept).decision_record(routed)
    outcome = Outcome(200, 10.0, card=routed.decision.card)
    record = Record("r", _NOW_S, "chat", "auto", True, outcome, key="ann", decision=decision)
    # There are no streams of embeddings.
    unreadable, readable = AnswerCopy("embeddings", routed), AnswerCopy("chat", routed)
    for copy in (unreadable, readable):
        copy.add(b'data: {"choices": [{"delta": {"content": "Paris"}}]}\n\n')
    counted: list[tuple[str, str]] = []

    async def run() -> None:
        memories = Memories(SqliteState(), lambda: active, lambda: _NOW_S)
        learner = Learner(memories, lambda: active, None, lambda *each: counted.append(each), lambda: _NOW_S)
        learner.read(record, unreadable)
        learner.read(record, readable)
        task = asyncio.create_task(learner.run())
        while len(counted) < 2 and not task.done():
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    assert counted == [("grader", "failed"), ("grader", "learned")]


def test_at_the_end_everything_that_waits_is_learned_and_nothing_more_is_taken(predictor: Predictor) -> None:
    active = active_with(predictor)
    counted: list[tuple[str, str]] = []
    taken: list[int] = []

    def take(limit: int) -> list[Feedback]:
        taken.append(limit)
        return []

    async def run() -> None:
        memories = Memories(SqliteState(), lambda: active, lambda: _NOW_S)
        learner = Learner(
            memories, lambda: active, None, lambda *each: counted.append(each), lambda: _NOW_S, take_waiting=take
        )
        for number in range(20):
            learner.feedback(Stored(Feedback(f"r{number}", 1.0, _NOW_S), "card", is_new=True))
        task = asyncio.create_task(learner.run())
        await learner.finish()
        await learner.watch()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    assert (len(counted), taken) == (20, [])
