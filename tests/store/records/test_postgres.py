"""Records in PostgreSQL: no acknowledged record is lost, whatever ends first, and days come and go."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.errors import ConfigurationError, FileError
from router.store import open_store
from router.store.backend import FolderBackend
from router.store.database import DatabaseError, ForeignDatabaseError
from router.store.records.feedback import Feedback
from router.store.records.journal import Journal
from router.store.records.postgres import schema
from router.store.records.postgres.address import read_address
from router.store.records.postgres.connection import Connection
from router.store.records.postgres.queue import destination
from router.store.records.postgres.records import PostgresRecords
from router.store.records.record import Snapshot
from router.store.records.segment import segment_files
from router.types import Outcome
from tests import postgres
from tests.postgres import PASSWORD, Server
from tests.store.records.examples import DAY_S, record, writing_forever

WRITER = writing_forever("""
from router.store.backend import FolderBackend
journal = FolderBackend(Path(sys.argv[1]), records_url=sys.argv[3]).record_sink()
""")


@pytest.fixture(scope="module")
def own_server() -> Iterator[Server]:
    """A server that tests kill and pause."""
    with postgres.running() as server:
        yield server


@pytest.fixture
def own_url(own_server: Server) -> Iterator[str]:
    with own_server.database() as url:
        yield url


def writer(folder: Path, name: str, url: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(folder), name, url]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3])


def acknowledged(process: subprocess.Popen[str], count: int) -> list[str]:
    """The next ids that the writer has acknowledged."""
    assert process.stdout is not None
    return [process.stdout.readline().strip() for _ in range(count)]


def killed(process: subprocess.Popen[str]) -> list[str]:
    """Kill -9 of the writer. Returns the rest of what it acknowledged."""
    assert process.stdout is not None
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read().split("\n")
    process.stdout.close()
    process.wait()
    # The last line may be truncated, and then acknowledges nothing.
    return rest[:-1]


def ids_in(url: str) -> list[str]:
    with PostgresRecords.open(read_address(url)) as records:
        return [record.id for record in records.scan()]


def wait_until(condition: object) -> None:
    assert callable(condition)
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen within a minute")


def test_no_acknowledged_record_is_lost_when_two_gateways_are_killed(tmp_path: Path, postgres_url: str) -> None:
    writers = [writer(tmp_path / name, name, postgres_url) for name in ("a", "b")]
    written: list[str] = []
    for process in writers:
        assert acknowledged(process, 1) == ["ready"]
    for process in writers:
        written += acknowledged(process, 1200)
    for process in writers:
        written += killed(process)
    for name in ("a", "b"):
        records = FolderBackend(tmp_path / name, records_url=postgres_url).read_records()
        assert records is not None
        records.close()
    stored = ids_in(postgres_url)
    assert set(written) - set(stored) == set()
    assert len(stored) == len(set(stored))
    # Of each writer, at most the record whose line was truncated is more.
    assert len(stored) <= len(written) + 2
    with PostgresRecords.open(read_address(postgres_url)) as records:
        assert sum(hour.requests for hour in records.totals(["hour"], 0, 1e10, ["chat"])) == len(stored)


def test_no_acknowledged_record_is_lost_when_postgresql_is_killed(
    tmp_path: Path, own_server: Server, own_url: str
) -> None:
    process = writer(tmp_path, "a", own_url)
    assert acknowledged(process, 1) == ["ready"]
    written = acknowledged(process, 500)
    own_server.kill()
    written += acknowledged(process, 500)
    own_server.start()
    written += acknowledged(process, 100)
    written += killed(process)
    records = FolderBackend(tmp_path, records_url=own_url).read_records()
    assert records is not None
    with records:
        stored = [record.id for record in records.scan()]
    assert set(written) - set(stored) == set()
    assert len(stored) == len(set(stored))


def test_records_wait_in_the_journal_while_postgresql_is_away(
    tmp_path: Path, own_server: Server, own_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    sink = Journal.open(tmp_path, destination(read_address(own_url)), interval_s=0.02)
    assert sink.problem is None
    own_server.kill()
    sink.append(record("one"))
    wait_until(lambda: sink.problem is not None)
    assert sink.waiting_bytes > 0
    assert PASSWORD not in str(sink.problem)
    own_server.start()
    wait_until(lambda: sink.problem is None and not sink.waiting_bytes)
    assert ids_in(own_url) == ["one"]
    sink.close()
    assert (sink.written, sink.dropped) == (1, 0)
    assert PASSWORD not in caplog.text
    assert "records are written to the database again" in caplog.text


def test_a_gateway_starts_while_postgresql_is_away_and_its_records_arrive_later(
    tmp_path: Path, own_server: Server, own_url: str
) -> None:
    own_server.kill()
    sink = Journal.open(tmp_path, destination(read_address(own_url)), interval_s=0.02)
    assert "cannot be reached" in str(sink.problem)
    sink.append(record("one"))
    own_server.start()
    wait_until(lambda: sink.problem is None and not sink.waiting_bytes)
    sink.close()
    assert ids_in(own_url) == ["one"]


def test_a_paused_server_delays_no_request_and_the_journal_is_bounded(
    tmp_path: Path, own_server: Server, own_url: str
) -> None:
    sink = Journal.open(tmp_path, destination(read_address(own_url)), interval_s=0.02, limit_bytes=20_000)
    with own_server.paused():
        for number in range(200):
            sink.append(record(f"r{number}"))
        assert sink.written + sink.dropped == 200
        assert sink.dropped > 0
    wait_until(lambda: not sink.waiting_bytes)
    sink.close()
    assert len(ids_in(own_url)) == sink.written


def test_a_batch_that_is_repeated_is_stored_and_counted_once(emptied_postgres_url: str) -> None:
    batch = [record(f"r{number}") for number in range(20)]
    with PostgresRecords.open(read_address(emptied_postgres_url)) as records:
        records.add(batch, 0.0)
        records.add([*batch, record("new")], 0.0)
        assert len(list(records.scan())) == 21
        assert [hour.requests for hour in records.totals(["hour"], 0, 1e10, ["chat"])] == [21]


def test_a_record_that_postgresql_rejects_blocks_no_other(emptied_postgres_url: str) -> None:
    endless = record("endless", at=float("inf"))
    too_large = record("large", outcome=Outcome(2**40, 1.0, "poet"))
    with PostgresRecords.open(read_address(emptied_postgres_url)) as records:
        assert records.add([record("one"), endless, too_large, Snapshot("s", b"1"), record("two")], 0.0) == 2
        assert [stored.id for stored in records.scan()] == ["one", "two"]
        assert records.snapshot("s") == b"1"


def test_prune_deletes_whole_days_with_their_feedback(emptied_postgres_url: str, tmp_path: Path) -> None:
    backend = FolderBackend(tmp_path, records_url=emptied_postgres_url)
    with PostgresRecords.open(read_address(emptied_postgres_url)) as records, backend.feedback() as judgements:
        records.add([record(f"r{day}", at=day * DAY_S + 7200) for day in (100, 101, 102)], 100 * DAY_S)
        for day in (100, 102):
            judgements.add(Feedback(f"r{day}", 1.0, day * DAY_S + 9000), of_any_key=True)
        days = records.connection.run(schema.partitions(records.connection.raw))
        assert {100, 101, 102} <= set(days)
        while records.prune(102 * DAY_S + 8000):
            pass
        assert [stored.id for stored in records.scan()] == ["r102"]
        assert [given.record for given in records.scan_feedback()] == ["r102"]
        assert min(records.connection.run(schema.partitions(records.connection.raw))) == 102
        # A day that was deleted is there again where a late record needs it.
        records.add([record("late", at=100 * DAY_S)], 100 * DAY_S)
        assert [stored.id for stored in records.scan()] == ["late", "r102"]


def test_a_day_that_another_gateway_deleted_is_created_again(emptied_postgres_url: str) -> None:
    address = read_address(emptied_postgres_url)
    with PostgresRecords.open(address) as first, PostgresRecords.open(address) as second:
        first.add([record("one", at=200 * DAY_S)], 200 * DAY_S)
        while second.prune(300 * DAY_S):
            pass
        first.add([record("two", at=200 * DAY_S)], 200 * DAY_S)
        assert [stored.id for stored in second.scan()] == ["two"]


def test_a_day_that_is_deleted_again_and_again_is_an_error_that_the_journal_survives(
    emptied_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def deleted_at_once(*_: object) -> None:
        pass

    with PostgresRecords.open(read_address(emptied_postgres_url)) as records:
        monkeypatch.setattr(schema, "create_partitions", deleted_at_once)
        with pytest.raises(DatabaseError, match="they are tried again"):
            records.add([record("one", at=701 * DAY_S)], 701 * DAY_S)


def test_the_day_to_come_has_a_partition_already(emptied_postgres_url: str) -> None:
    with PostgresRecords.open(read_address(emptied_postgres_url)) as records:
        records.add([record("one", at=300 * DAY_S)], 300 * DAY_S)
        assert 301 in records.connection.run(schema.partitions(records.connection.raw))


def test_several_gateways_that_start_at_once_create_the_schema_once(postgres_url: str) -> None:
    problems: list[Exception] = []

    def start() -> None:
        try:
            PostgresRecords(Connection(read_address(postgres_url))).close()
            with PostgresRecords.open(read_address(postgres_url)) as records:
                records.add([record()], 0.0)
        except FileError as error:
            problems.append(error)

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert len(ids_in(postgres_url)) == 6


def test_the_schema_of_a_newer_release_is_refused_at_the_start(
    tmp_path: Path, postgres_server: Server, postgres_url: str
) -> None:
    Connection(read_address(postgres_url)).close()
    with PostgresRecords.open(read_address(postgres_url)):
        pass
    postgres_server.psql(postgres_url.rpartition("/")[2], "INSERT INTO pulvinar.migrations VALUES (99, now(), '9.0')")
    newer = Connection(read_address(postgres_url))
    with pytest.raises(ForeignDatabaseError, match="has version 99, this release supports up to"):
        schema.prepare(newer)
    newer.close()
    with pytest.raises(ForeignDatabaseError, match="a newer release wrote it"):
        FolderBackend(tmp_path, records_url=f"{postgres_url}?application_name=new").record_sink()


def test_a_wrong_password_stops_the_start_and_is_not_shown(tmp_path: Path, postgres_url: str) -> None:
    with pytest.raises(ForeignDatabaseError) as error:
        FolderBackend(tmp_path, records_url=postgres_url.replace(PASSWORD, "wrong-word-17")).record_sink()
    assert "refuses the connection" in str(error.value)
    assert "wrong-word-17" not in str(error.value)


def test_reading_a_database_without_records_creates_nothing(
    tmp_path: Path, postgres_server: Server, postgres_url: str
) -> None:
    assert FolderBackend(tmp_path, records_url=postgres_url).read_records() is None
    found = postgres_server.psql(postgres_url.rpartition("/")[2], "SELECT to_regnamespace('pulvinar') IS NULL")
    assert found == "t"


def test_the_journal_of_one_database_is_not_moved_to_another(tmp_path: Path, postgres_url: str) -> None:
    elsewhere = read_address("postgresql://user@127.0.0.1:9/nowhere")
    sink = Journal.open(tmp_path, destination(elsewhere))
    sink.append(record("elsewhere"))
    sink.close()
    with FolderBackend(tmp_path, records_url=postgres_url).archive() as records:
        records.add([record("here")], 0.0)
    for backend in (FolderBackend(tmp_path, records_url=postgres_url), FolderBackend(tmp_path)):
        records_of = backend.read_records()
        if records_of is not None:
            with records_of:
                assert [stored.id for stored in records_of.scan()] == ["here"]
    assert len(segment_files(tmp_path / elsewhere.queue)) == 1


def test_an_error_of_the_server_is_one_of_the_database(emptied_postgres_url: str) -> None:
    with PostgresRecords.open(read_address(emptied_postgres_url)) as records:
        with pytest.raises(DatabaseError, match="cannot be used: division by zero"):
            records.connection.select("SELECT 1 / 0")
        assert records.is_current()
        assert records.last_number() == 0


def test_a_server_that_has_become_read_only_is_connected_to_again(emptied_postgres_url: str) -> None:
    with PostgresRecords.open(read_address(emptied_postgres_url)) as records:
        records.connection.select("SET default_transaction_read_only = on")
        with pytest.raises(DatabaseError, match="read-only"):
            records.add([record("one")], 0.0)
        assert not records.is_current()


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("store", "it is no URL; use postgresql://user@host/database"),
        ("mysql://host/x", 'unknown scheme "mysql"'),
        ("postgresql://user:hidden-word@host", "it names no database"),
        ("postgresql://user:hidden-word/x@host/db", "%2F"),
        ("postgresql://user:hidden-word#x@host/db", "%23"),
        ("postgresql://user:hidden word@host/db", "%20"),
        ("postgresql://user:hidden-word@host/db?ssl", "its options cannot be read"),
        ("postgresql://user:hidden-word@host:first/db", "first is no port"),
        ("postgresql://user:hidden-word@host:99999/db", "99999 is no port"),
        ("postgresql://user:hidden-word@one,/db", "it names no host"),
        ("postgresql://user:hidden-word@[::1/db", "it names no host"),
        ("postgresql://user:hidden[word@host/db", "%5B"),
        ("postgresql://user:hidden\u2100word@host/db", "%5B"),
    ],
)
def test_an_invalid_url_is_refused_without_its_password(url: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        open_store("store", records=url)
    assert problem in str(error.value)
    assert "hidden" not in str(error.value)


def test_no_text_about_a_store_has_its_password() -> None:
    url = "postgresql://me:hidden-word@host:5432/db?sslmode=require"
    address = read_address(url)
    backend = open_store("store", records=url)
    assert address.shown == "postgresql://me@host:5432/db"
    assert "hidden" not in repr(address) + repr(backend)
    assert address.scrub("no hidden-word") == "no ***"


def test_a_password_as_an_option_is_hidden_too() -> None:
    address = read_address("postgresql://host/db?user=me&password=hidden%2Dword")
    assert "hidden" not in address.shown
    assert address.scrub("hidden-word") == "***"
