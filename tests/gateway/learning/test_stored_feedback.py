"""A running gateway learns from feedback that commands have stored, once."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from router.gateway.learning.learner import Learner
from router.gateway.learning.memories import Memories
from router.perceive.predictor import Predictor
from router.store.backend import FolderBackend
from router.store.records.feedback import Feedback
from router.store.records.record import Record
from router.store.records.snapshots import Snapshots
from router.store.state.sqlite import SqliteState
from router.types import Outcome
from router.wire.chat.request import ChatRequest
from tests.gateway.learning.conftest import active_with

_NOW_S = 1_790_000_000.0


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> FolderBackend:
    url = request.getfixturevalue("emptied_postgres_url") if request.param == "postgresql" else None
    return FolderBackend(tmp_path, records_url=url)


def test_two_gateways_learn_stored_feedback_once_also_after_a_restart(
    backend: FolderBackend, predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.gateway.learning.learner._TAKEN", 2)
    active = active_with(predictor, learning="observe")
    routed = active.router.route(ChatRequest.from_prompt("What is the capital of France?"))
    decision = Snapshots(active.catalogue, lambda _: True).decision_record(routed)
    outcome = Outcome(200, 10.0, card=routed.decision.card)
    names = [f"r{number}" for number in range(6)]
    with backend.archive() as archive:
        archive.add([Record(n, _NOW_S, "chat", "auto", False, outcome, key="ann", decision=decision) for n in names], 0)
    with backend.feedback() as store:
        for number, name in enumerate(names):
            source = "operator" if number == 0 else "langfuse"
            store.add(Feedback(name, 0.0, _NOW_S + number, source), of_any_key=True, waits=True)
        # What came by HTTP has been learned by the gateway that stored it.
        store.add(Feedback("r1", 1.0, _NOW_S, "app", key="ann"))
    state = SqliteState(tmp_path / "state.sqlite")
    counted: list[tuple[str, str]] = []

    def take(limit: int) -> list[Feedback]:
        with backend.feedback() as opened:
            return opened.take_waiting(limit)

    async def run(gateways: int, until: int) -> None:
        tasks = []
        for _ in range(gateways):
            memories = Memories(state, lambda: active, lambda: _NOW_S)
            learner = Learner(
                *(memories, lambda: active, backend.read_records, lambda *each: counted.append(each), lambda: _NOW_S),
                take_waiting=take,
            )
            tasks += [asyncio.create_task(learner.run()), asyncio.create_task(learner.watch())]
        ends_s = time.monotonic() + 20.0
        while len(counted) < until and time.monotonic() < ends_s:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(run(2, 6))
    asyncio.run(run(1, 6))
    assert sorted(counted) == [("client", "learned")] * 5 + [("operator", "learned")]
    memories = Memories(state, lambda: active, lambda: _NOW_S)
    asyncio.run(memories.refresh())
    state.close()
    (memory,) = memories.known().values()
    assert (memory.votes, memory.tenants) == (6, ("ann",))
