"""The work for the records of one pass of the event loop is done together, after it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from router.gateway.telemetry.batch import RecordBatch
from router.store.records.record import Record
from tests.gateway.telemetry.records import a_record


def test_records_of_one_pass_are_taken_together_and_before_what_arrives_next() -> None:
    seen: list[object] = []

    def work(records: Sequence[Record]) -> None:
        seen.append([record.id for record in records])

    async def main() -> None:
        batch = RecordBatch(work)
        loop = asyncio.get_running_loop()
        for id_ in ("a", "b"):
            batch.add(a_record(id=id_))
        seen.append("the answers are sent")
        loop.call_soon(seen.append, "the next request")
        await asyncio.sleep(0)
        batch.add(a_record(id="c"))
        batch.flush()
        await asyncio.sleep(0)

    asyncio.run(main())
    assert seen == ["the answers are sent", ["a", "b"], "the next request", ["c"]]
