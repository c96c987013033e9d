"""The work for the records of a moment is done together, after it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from router.gateway.learning.learner import Learner
from router.gateway.telemetry.batch import DELAY_S, RecordBatch
from router.store.records.record import Record
from tests.gateway.servers import make_card, make_gateway, make_router
from tests.gateway.telemetry.records import a_record


def test_records_of_a_moment_are_taken_together_after_their_answers_or_when_somebody_wants_to_know() -> None:
    seen: list[object] = []

    def work(records: Sequence[Record]) -> None:
        seen.append([record.id for record in records])

    async def main() -> None:
        batch = RecordBatch(work)
        batch.add(a_record(id="a"))
        await asyncio.sleep(0)
        batch.add(a_record(id="b"))
        seen.append("the answers are sent")
        await asyncio.sleep(2 * DELAY_S)
        batch.add(a_record(id="c"))
        batch.flush()
        seen.append("somebody knows")
        await asyncio.sleep(2 * DELAY_S)

    asyncio.run(main())
    assert seen == ["the answers are sent", ["a", "b"], ["c"], "somebody knows"]


def test_records_of_the_last_moment_are_learned_from_before_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    async def learn_last(*_: object) -> None:
        seen.append("the learner ends")

    async def main() -> None:
        gateway = make_gateway(make_router(make_card("a", "http://127.0.0.1:9/v1")))
        async with gateway.running():
            gateway.batch.add(a_record(id="r"))

    monkeypatch.setattr("router.gateway.worker.learn_last", learn_last)
    monkeypatch.setattr(Learner, "sink", lambda _, record: seen.append(record.id))
    asyncio.run(main())
    assert seen == ["r", "the learner ends"]


def test_a_record_that_cannot_be_handled_costs_no_other_its_line_or_its_count(caplog: pytest.LogCaptureFixture) -> None:
    written: list[str] = []
    counted: list[str] = []
    learned: list[str] = []

    def write(records: Sequence[Record]) -> None:
        written.extend([checked(record).id for record in records])

    def checked(record: Record) -> Record:
        if record.id == "bad":
            raise ValueError("no such record")
        return record

    async def main() -> None:
        batch = RecordBatch(
            write, lambda record: counted.append(checked(record).id), lambda record: learned.append(record.id)
        )
        for id_ in ("a", "bad", "c"):
            batch.add(a_record(id=id_))
        batch.flush()

    asyncio.run(main())
    assert (written, counted, learned) == (["a", "c"], ["a", "c"], ["a", "bad", "c"])
    assert "no such record" in caplog.text
