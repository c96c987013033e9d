"""The work that each record causes and that no client needs to wait for: once in each pass of the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from router.store.records.record import Record


class RecordBatch:
    """Collects the records of one pass of the event loop, and gives them to `work` together, in their order.

    That is at the beginning of the next pass: the answers have been sent by then, and nothing that has arrived
    meanwhile is read before.
    """

    def __init__(self, work: Callable[[Sequence[Record]], None]) -> None:
        self._work = work
        self._waiting: list[Record] = []

    def add(self, record: Record) -> None:
        """Take a record, on the event loop."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self.flush)
        self._waiting.append(record)

    def flush(self) -> None:
        """Do the work for the records that wait, such as before the process ends."""
        if self._waiting:
            records, self._waiting = self._waiting, []
            self._work(records)
