"""The work for the records of a moment is done together, after it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from router.gateway.telemetry.batch import DELAY_S, RecordBatch
from router.store.records.record import Record
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
