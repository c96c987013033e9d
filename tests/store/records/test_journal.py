from __future__ import annotations

import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from router.errors import FileError
from router.store.database import DatabaseError, ForeignDatabaseError
from router.store.records.journal import FOLDER_NAME, Journal, open_records
from router.store.records.record import Entry, Record, Snapshot, write_entry
from router.store.records.segment import Segment, segment_files
from router.store.records.sqlite import FILE_NAME, MIGRATIONS, SqliteRecords
from router.types import Outcome, Usage
from tests.store.records.examples import DAY_S, decision_record, record, writing_forever

WRITER = writing_forever("""
from router.store.records.journal import Journal
journal = Journal.open(Path(sys.argv[1]), interval_s=0.02)
""")


def writer(folder: Path, name: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(folder), name]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3])


def killed_after(process: subprocess.Popen[str], acknowledged: int) -> list[str]:
    """Kill the writer after this many acknowledgements. Returns every id that it acknowledged."""
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    lines = [process.stdout.readline() for _ in range(acknowledged)]
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read().split("\n")
    process.stdout.close()
    process.wait()
    # The last line may be truncated, and then acknowledges nothing.
    return [line.strip() for line in lines] + rest[:-1]


def stored_in(folder: Path) -> dict[str, Record]:
    with SqliteRecords.open(folder) as store:
        return {record.id: record for record in store.scan()}


def waiting_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in segment_files(folder / FOLDER_NAME))


def is_intact(folder: Path) -> bool:
    database = sqlite3.connect(folder / FILE_NAME)
    try:
        return database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    finally:
        database.close()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal.open(tmp_path)
    yield opened
    opened.close()


def test_the_size_of_what_waits_is_known_while_the_disk_hangs(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, is_writing, may_write = Segment.append, threading.Event(), threading.Event()

    def hang(segment: Segment, line: bytes) -> None:
        is_writing.set()
        assert may_write.wait(10)
        append(segment, line)

    monkeypatch.setattr(Segment, "append", hang)
    with ThreadPoolExecutor() as threads:
        threads.submit(journal.append, record("one"))
        assert is_writing.wait(10)
        try:
            assert threads.submit(lambda: journal.waiting_bytes).result(2) == 0
        finally:
            may_write.set()


def test_flush_moves_appended_records_to_the_database(journal: Journal) -> None:
    first, second = record("one"), record("two", decision=decision_record(), prompt=b"\x00prompt")
    journal.append(first)
    journal.append(second)
    journal.flush()
    assert stored_in(journal.folder) == {"one": first, "two": msgspec.structs.replace(second, prompt=None)}
    with SqliteRecords.open(journal.folder) as store:
        assert store.find("two") == second
    assert (journal.written, journal.dropped, waiting_bytes(journal.folder)) == (2, 0, 0)


def test_records_are_moved_to_the_database_in_the_background(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, interval_s=0.01)
    journal.append(record("one"))
    while waiting_bytes(tmp_path):
        time.sleep(0.01)
    assert set(stored_in(tmp_path)) == {"one"}
    journal.close()


def test_close_moves_waiting_records_and_leaves_no_files(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, interval_s=60)
    journal.append(record("one"))
    journal.close()
    assert set(stored_in(tmp_path)) == {"one"}
    assert segment_files(tmp_path / FOLDER_NAME) == []


def test_records_appended_after_close_are_dropped_and_counted(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    journal.close()
    journal.append(record())
    assert (journal.written, journal.dropped) == (0, 1)


def test_a_record_appended_twice_is_stored_once(journal: Journal) -> None:
    for _ in range(2):
        journal.append(record("one"))
        journal.flush()
    assert len(stored_in(journal.folder)) == 1


@pytest.mark.slow
def test_no_acknowledged_record_is_lost_when_writers_are_killed(tmp_path: Path) -> None:
    acknowledged: list[str] = []
    for round_, count in enumerate((1, 700, 1900)):
        # Two at once, like workers; each round recovers the segments of the round before.
        both = [writer(tmp_path, f"{round_}-{number}") for number in range(2)]
        for process in both:
            acknowledged += killed_after(process, count)
    opened = open_records(tmp_path)
    assert opened is not None
    opened.close()
    stored = stored_in(tmp_path)
    assert len(acknowledged) >= 2 * (1 + 700 + 1900)
    assert [name for name in acknowledged if name not in stored] == []
    assert is_intact(tmp_path)
    assert segment_files(tmp_path / FOLDER_NAME) == []


def test_the_next_process_recovers_the_records_of_a_killed_one(tmp_path: Path) -> None:
    acknowledged = killed_after(writer(tmp_path, "dead"), 20)
    journal = Journal.open(tmp_path, interval_s=0.01)
    while not set(acknowledged) <= set(stored_in(tmp_path)):
        time.sleep(0.01)
    journal.close()


def test_reading_recovers_the_records_of_a_killed_process(tmp_path: Path) -> None:
    left_behind(tmp_path, write_entry(Entry(record=record("one"))))
    opened = open_records(tmp_path)
    assert opened is not None
    assert opened.find("one").id == "one"
    opened.close()


def left_behind(folder: Path, content: bytes) -> Path:
    """Write a segment whose process has exited."""
    file = folder / FOLDER_NAME / "1-dead.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def test_a_truncated_last_line_is_skipped_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = write_entry(Entry(record=record("one")))
    for length in range(1, len(whole) - 1, 50):
        left_behind(tmp_path, whole + write_entry(Entry(record=record("truncated")))[:length])
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            opened = open_records(tmp_path)
        assert opened is not None
        opened.close()
        assert set(stored_in(tmp_path)) == {"one"}
        assert "skipped 1 unreadable lines" in caplog.text


def test_a_damaged_line_costs_no_other(tmp_path: Path) -> None:
    lines = [write_entry(Entry(record=record(name))) for name in ("one", "two")]
    left_behind(tmp_path, lines[0] + b'\xff{"record": 3}\n\n{}\n' + lines[1])
    opened = open_records(tmp_path)
    assert opened is not None
    opened.close()
    assert set(stored_in(tmp_path)) == {"one", "two"}


def test_the_segment_of_a_running_process_is_not_touched(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, interval_s=60)
    journal.append(record("one"))
    opened = open_records(tmp_path)
    assert opened is not None
    assert list(opened.scan()) == []
    opened.close()
    journal.append(record("two"))
    journal.close()
    assert set(stored_in(tmp_path)) == {"one", "two"}


def test_two_journals_can_share_a_folder(tmp_path: Path) -> None:
    both = [Journal.open(tmp_path, interval_s=0.01) for _ in range(2)]
    for number in range(200):
        both[number % 2].append(record(f"r{number}"))
    for journal in both:
        journal.close()
    assert len(stored_in(tmp_path)) == 200


def test_a_full_journal_drops_and_counts_records_and_logs_it_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    line = len(write_entry(Entry(record=record("r0"))))
    journal = Journal.open(tmp_path, limit_bytes=3 * line, interval_s=60)
    with caplog.at_level(logging.WARNING):
        for number in range(5):
            journal.append(record(f"r{number}"))
    assert (journal.written, journal.dropped) == (3, 2)
    message = f"{tmp_path}: records are being dropped: 0 MiB queued; the database is not accepting writes"
    assert caplog.messages == [message]
    journal.flush()
    journal.append(record("later"))
    journal.close()
    assert set(stored_in(tmp_path)) == {"r0", "r1", "r2", "later"}


def test_a_database_locked_by_another_process_delays_no_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.store.database.BUSY_TIMEOUT_S", 0.01)
    journal = Journal.open(tmp_path, interval_s=0.01)
    other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    journal.append(record("one"))
    with pytest.raises(DatabaseError, match="cannot be used: database is locked"):
        journal.flush()
    journal.append(record("two"))
    other.execute("ROLLBACK")
    other.close()
    journal.close()
    assert set(stored_in(tmp_path)) == {"one", "two"}


def test_a_read_only_folder_fails_no_request(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("no folder")
    with caplog.at_level(logging.ERROR):
        journal = Journal.open(tmp_path / "file" / "store", interval_s=0.01)
        for _ in range(3):
            journal.append(record())
        journal.close()
    assert journal.dropped == 3
    assert caplog.text.count("records are being dropped: the journal is not open") == 1
    assert caplog.text.count("records cannot be written to the database") == 1


def test_a_folder_that_becomes_writable_is_used_again(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("no folder")
    journal = Journal.open(tmp_path / "store", interval_s=0.01)
    journal.append(record("lost"))
    (tmp_path / "store").unlink()
    journal.flush()
    journal.append(record("stored"))
    journal.close()
    assert set(stored_in(tmp_path / "store")) == {"stored"}


FULL_DISK = """
import resource, sys
from pathlib import Path
from router.store.records.journal import Journal
from tests.store.records.examples import record
journal = Journal.open(Path(sys.argv[1]), interval_s=60)
# From here on no file can grow beyond this size, and the line that reaches it is cut there.
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
for number in range(60):
    journal.append(record(f"r{number}"))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
journal.append(record("later"))
print(journal.written, journal.dropped)
journal.close()
"""


def test_a_full_disk_leaves_no_truncated_line(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3], check=True)
    written, dropped = map(int, ended.stdout.split())
    assert written + dropped == 61
    assert dropped > 0
    stored = stored_in(tmp_path)
    assert set(stored) == {*(f"r{number}" for number in range(written - 1)), "later"}
    assert "unreadable" not in ended.stderr
    assert ended.stderr.count("records are being dropped") == 1


CANNOT_TRUNCATE = """
import os
def ftruncate(descriptor, size):
    raise OSError(5, "Input/output error")
os.ftruncate = ftruncate
"""


def test_a_part_of_a_line_that_cannot_be_removed_spoils_no_other_line(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CANNOT_TRUNCATE + FULL_DISK, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3], check=True)
    written, dropped = map(int, ended.stdout.split())
    assert written + dropped == 61
    assert "later" in stored_in(tmp_path)
    assert len(stored_in(tmp_path)) == written
    assert "skipped 1 unreadable lines" in ended.stderr


def test_a_database_that_was_moved_away_is_created_again(journal: Journal) -> None:
    journal.append(record("one"))
    journal.flush()
    for file in journal.folder.glob(f"{FILE_NAME}*"):
        file.rename(journal.folder / f"old-{file.name}")
    journal.append(record("two"))
    journal.flush()
    assert set(stored_in(journal.folder)) == {"two"}


def test_deleting_the_journal_in_use_loses_no_record(journal: Journal) -> None:
    journal.append(record("one"))
    for file in (journal.folder / FOLDER_NAME).iterdir():
        file.unlink()
    journal.flush()
    assert set(stored_in(journal.folder)) == {"one"}


def test_a_damaged_database_is_a_clear_error_at_startup(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"this is not a database" * 500)
    with pytest.raises(ForeignDatabaseError, match=r"records\.sqlite: is damaged or not a database .* move it away"):
        Journal.open(tmp_path)
    assert segment_files(tmp_path / FOLDER_NAME) == []


def test_the_database_of_a_newer_release_is_a_clear_error_at_startup(tmp_path: Path) -> None:
    SqliteRecords.open(tmp_path).close()
    database = sqlite3.connect(tmp_path / FILE_NAME)
    database.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    database.close()
    with pytest.raises(ForeignDatabaseError, match="a newer release wrote it"):
        Journal.open(tmp_path)


def test_records_stay_in_the_journal_while_the_database_is_damaged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal.open(tmp_path, interval_s=60)
    journal.append(record("one"))
    journal.flush()
    for file in tmp_path.glob(f"{FILE_NAME}*"):
        file.unlink()
    (tmp_path / FILE_NAME).write_bytes(b"garbage" * 4000)
    journal.append(record("two"))
    with pytest.raises(FileError, match="is damaged or not a database"):
        journal.flush()
    (tmp_path / FILE_NAME).unlink()
    journal.close()
    assert set(stored_in(tmp_path)) == {"two"}


def test_old_records_are_deleted_in_batches_and_new_ones_are_not(tmp_path: Path) -> None:
    now = time.time()
    journal = Journal.open(tmp_path, interval_s=0.01)
    for number in range(1200):
        journal.append(record(f"old{number}", at=now - 8 * DAY_S))
    journal.append(record("new", at=now - 6 * DAY_S))
    journal.flush()
    assert len(stored_in(tmp_path)) == 1201
    journal.keep_days = 7
    while len(stored_in(tmp_path)) > 1:
        time.sleep(0.02)
    journal.close()
    assert set(stored_in(tmp_path)) == {"new"}


def test_without_a_retention_time_nothing_is_deleted(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, interval_s=0.01)
    journal.append(record("ancient", at=0.0))
    journal.flush()
    time.sleep(0.05)
    journal.close()
    assert set(stored_in(tmp_path)) == {"ancient"}


def test_half_a_surrogate_pair_loses_no_record(journal: Journal) -> None:
    journal.append(record("one", asked="gpt\ud83d", prompt=b"p", decision=decision_record()))
    journal.flush()
    with SqliteRecords.open(journal.folder) as store:
        stored = store.find("one")
    assert (stored.asked, stored.prompt, stored.decision) == ("gpt?", b"p", decision_record())


def test_a_count_above_64_bits_loses_no_record(journal: Journal) -> None:
    journal.append(record("one", outcome=Outcome(200, 1.0, "poet", usage=Usage(2**70, 2**64))))
    journal.flush()
    assert stored_in(journal.folder)["one"].outcome.usage == Usage(2**70, 2**64)


def test_a_prompt_over_the_limit_is_not_recorded(journal: Journal) -> None:
    journal.append(record("one", prompt=bytes(3 * 2**20)))
    journal.flush()
    with SqliteRecords.open(journal.folder) as store:
        assert store.find("one").prompt is None


def test_a_snapshot_is_stored_under_its_fingerprint(journal: Journal) -> None:
    assert journal.keep(Snapshot("abc", b"content"))
    journal.flush()
    with SqliteRecords.open(journal.folder) as store:
        assert store.snapshot("abc") == b"content"
        assert store.snapshot("abd") is None


def test_other_users_cannot_read_the_store(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "deep" / "store")
    journal.append(record())
    files = [tmp_path / "deep" / "store", *(tmp_path / "deep" / "store").rglob("*")]
    assert len(files) >= 4
    assert [file.name for file in files if file.stat().st_mode & 0o077] == []
    journal.close()


def test_a_segment_claimed_by_another_process_before_it_is_locked_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open
    claimed: list[Segment] = []

    def open_and_lose_lock(file: Path, flags: int, mode: int = 0o777) -> int:
        descriptor = opened(file, flags, mode)
        if flags & os.O_CREAT and not claimed:
            other = Segment.claim(file)
            assert other is not None
            claimed.append(other)
            other.delete()
        return descriptor

    monkeypatch.setattr(os, "open", open_and_lose_lock)
    segment = Segment.create(tmp_path)
    assert segment.file != claimed[0].file
    assert segment.file.exists()
    segment.release()
