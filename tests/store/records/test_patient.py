from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable
from types import SimpleNamespace

import pytest

from router.store.records import patient
from router.store.records.patient import PatientSink
from router.store.records.record import Record, Snapshot
from tests.store.records.examples import record


class Disk:
    """A sink on a disk that may hang."""

    keep_days: float | None = None
    dropped = 0

    def __init__(self) -> None:
        self.written: list[Record | Snapshot] = []
        self.is_stalled = False
        self.works = threading.Event()
        self.works.set()

    def append(self, record: Record) -> Awaitable[None] | None:
        self.works.wait()
        self.written.append(record)
        return None

    def keep(self, snapshot: Snapshot) -> bool:
        self.works.wait()
        self.written.append(snapshot)
        return True

    def close(self) -> None:
        self.written.append(Snapshot("closed", b""))


def test_a_fast_disk_gets_records_at_once() -> None:
    disk = Disk()
    assert PatientSink(disk).append(record()) is None
    assert len(disk.written) == 1


def test_while_the_disk_hangs_the_event_loop_runs_and_answers_wait_for_their_records() -> None:
    async def main() -> tuple[bool, int]:
        disk = Disk()
        disk.is_stalled = True
        disk.works.clear()
        sink = PatientSink(disk)
        pending = sink.append(record())
        assert pending is not None
        waiting = asyncio.ensure_future(pending)
        await asyncio.sleep(0.05)
        was_waiting = not waiting.done()
        disk.works.set()
        await waiting
        return was_waiting, len(disk.written)

    assert asyncio.run(main()) == (True, 1)


def test_after_one_slow_write_records_are_soon_written_at_once_again_and_after_many_much_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = 100.0
    monkeypatch.setattr(patient, "time", SimpleNamespace(monotonic=lambda: now_s))
    disk = Disk()
    sink = PatientSink(disk)

    def slow_for_s() -> float:
        """How long a thread writes after the next write, which is slow."""
        nonlocal now_s

        def hang() -> bool:
            nonlocal now_s
            now_s += 2 * patient.SLOW_S
            return True

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(disk.works, "wait", hang)
            assert sink.append(record()) is None
        began_s = now_s
        while sink._is_slow():
            now_s += 0.125
        return now_s - began_s

    assert [slow_for_s() for _ in range(6)] == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0]
    now_s += 60.0
    assert slow_for_s() == 0.25


def test_records_that_wait_are_written_in_their_order_before_the_sink_is_closed() -> None:
    async def main() -> list[str]:
        disk = Disk()
        disk.is_stalled = True
        disk.works.clear()
        sink = PatientSink(disk)
        sink.keep(Snapshot("first", b""))
        pending = sink.append(record("second"))
        assert pending is not None
        task = asyncio.ensure_future(pending)
        await asyncio.sleep(0)
        disk.works.set()
        await asyncio.to_thread(sink.close)
        await task
        return [each.fingerprint if isinstance(each, Snapshot) else each.id for each in disk.written]

    assert asyncio.run(main()) == ["first", "second", "closed"]
