"""The work that each record causes and that no client needs to wait for: a moment later, for several together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from router.store.records.record import Record

DELAY_S = 0.02
"""How long the first record of a batch waits."""

_LOG = logging.getLogger(__name__)
_Argument = TypeVar("_Argument")


class RecordBatch:
    """Collects records for `DELAY_S`, and gives them to `write` together, which does nothing where it raises an error,
    then each to every one of `sinks`, in their order. An error is logged, and costs no other record its part.

    Whoever reads what the sinks keep, and needs the newest, calls `flush` first. Records are handled one after another
    while their code and data are in the processor's caches, and all lines are written by one system call.
    """

    def __init__(self, write: Callable[[Sequence[Record]], None], *sinks: Callable[[Record], None]) -> None:
        self._write, self._sinks = write, sinks
        self._waiting: list[Record] = []

    def add(self, record: Record) -> None:
        """Take a record, on the event loop."""
        if not self._waiting:
            asyncio.get_running_loop().call_later(DELAY_S, self.flush)
        self._waiting.append(record)

    def flush(self) -> None:
        """Do the work for the records that wait now."""
        records, self._waiting = self._waiting, []
        if records and not _succeeds(self._write, records) and len(records) > 1:
            for record in records:
                _succeeds(self._write, [record])
        for record in records:
            for sink in self._sinks:
                _succeeds(sink, record)


def _succeeds(work: Callable[[_Argument], None], argument: _Argument) -> bool:
    try:
        work(argument)
    except Exception:  # noqa: BLE001 - the outermost edge of this work: no request waits for it
        _LOG.exception("a part of the account of a request failed")
        return False
    return True
