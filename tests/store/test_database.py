from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from router.store.database import DatabaseError, ForeignDatabaseError, Transaction, open_database
from router.store.records.sqlite import FILE_NAME, MIGRATIONS, SqliteRecords
from tests.store.records.examples import decision_record, record

ONE = ("CREATE TABLE things (name TEXT)",)
TWO = ("ALTER TABLE things ADD COLUMN size INTEGER DEFAULT 7", "CREATE INDEX by_size ON things (size)")


def test_migrations_run_in_order_and_once(tmp_path: Path) -> None:
    file = tmp_path / "things.sqlite"
    database = open_database(file, [ONE])
    database.execute("INSERT INTO things VALUES ('old')")
    database.close()
    for _ in range(2):
        database = open_database(file, [ONE, TWO])
        assert database.execute("SELECT * FROM things").fetchall() == [("old", 7)]
        assert database.execute("PRAGMA user_version").fetchone() == (2,)
        database.close()


def test_a_failed_migration_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "things.sqlite"
    open_database(file, [ONE]).close()
    with pytest.raises(DatabaseError, match="cannot be used: no such table: nowhere"):
        open_database(file, [ONE, (*TWO, "DROP TABLE nowhere")])
    database = open_database(file, [ONE])
    assert len(database.execute("SELECT * FROM pragma_table_info('things')").fetchall()) == 1
    database.close()


def test_a_transaction_whose_commit_fails_is_rolled_back(tmp_path: Path) -> None:
    database = open_database(tmp_path / "things.sqlite", [ONE])
    database.execute("PRAGMA foreign_keys = ON")
    database.execute("CREATE TABLE owners (id INTEGER PRIMARY KEY)")
    database.execute("CREATE TABLE owned (owner INTEGER REFERENCES owners DEFERRABLE INITIALLY DEFERRED)")
    with pytest.raises(sqlite3.IntegrityError), Transaction(database):
        database.execute("INSERT INTO owned VALUES (1)")
    with Transaction(database):
        database.execute("INSERT INTO things VALUES ('next')")
    assert database.execute("SELECT * FROM owned").fetchall() == []
    database.close()


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS)))
def test_records_of_every_earlier_version_survive_the_migration(
    tmp_path: Path, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = record("one", decision=decision_record())
    with monkeypatch.context() as earlier:
        earlier.setattr("router.store.records.sqlite.MIGRATIONS", MIGRATIONS[:version])
        with SqliteRecords.open(tmp_path) as old:
            old.add([one], 0.0)
    with SqliteRecords.open(tmp_path) as new:
        assert new.find("one") == one
        new.add([record("two")], 0.0)
        assert len(list(new.scan())) == 2
    schema = schema_of(tmp_path)
    SqliteRecords.open(tmp_path / "..").close()
    assert schema == schema_of(tmp_path / "..")


def schema_of(folder: Path) -> list[tuple[str, ...]]:
    database = sqlite3.connect(folder / FILE_NAME)
    schema = database.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()
    database.close()
    return schema


def test_a_newer_version_is_rejected(tmp_path: Path) -> None:
    file = tmp_path / "things.sqlite"
    open_database(file, [ONE, TWO]).close()
    with pytest.raises(
        ForeignDatabaseError, match="has version 2, this release supports up to 1: a newer release wrote it"
    ):
        open_database(file, [ONE])


def test_an_older_read_only_file_is_rejected(tmp_path: Path) -> None:
    file = tmp_path / "things.sqlite"
    open_database(file, [ONE]).close()
    with pytest.raises(DatabaseError, match="has version 1, this release reads version 2, and the file is read-only"):
        open_database(file, [ONE, TWO], read_only=True)


def test_a_file_that_is_not_a_database_is_rejected_and_not_modified(tmp_path: Path) -> None:
    file = tmp_path / "things.sqlite"
    file.write_bytes(b"some text, and more of it" * 100)
    with pytest.raises(ForeignDatabaseError, match=r"things\.sqlite: is damaged or not a database"):
        open_database(file, [ONE])
    assert file.read_bytes() == b"some text, and more of it" * 100


def test_reading_a_damaged_page_is_a_clear_error(tmp_path: Path) -> None:
    with SqliteRecords.open(tmp_path) as store:
        store.add([record(decision=decision_record(vector=bytes(1740))) for _ in range(100)], 0.0)
    file = tmp_path / FILE_NAME
    raw = bytearray(file.read_bytes())
    raw[2 * 16_384 :] = b"\xa5" * len(raw[2 * 16_384 :])
    file.write_bytes(raw)
    with (
        pytest.raises(ForeignDatabaseError, match="is damaged or not a database"),
        SqliteRecords.open(tmp_path) as store,
    ):
        list(store.scan())


def test_a_file_that_cannot_be_created_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="cannot be used: unable to open database file"):
        open_database(tmp_path / "nowhere" / "things.sqlite", [ONE])


def test_a_failed_transaction_changes_nothing(tmp_path: Path) -> None:
    database = open_database(tmp_path / "things.sqlite", [ONE])
    with pytest.raises(sqlite3.OperationalError, match="nowhere"), Transaction(database):
        database.executemany("INSERT INTO things VALUES (?)", [("one",), ("two",)]).execute("DROP TABLE nowhere")
    assert database.execute("SELECT count(*) FROM things").fetchone() == (0,)
    database.close()


def test_a_new_file_that_another_process_is_creating_is_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "things.sqlite"
    other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE first (number)")
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.2, other.execute, ["COMMIT"])
    release.start()
    open_database(file, [ONE]).close()
    release.join()
    other.close()


def test_processes_can_open_a_new_file_at_the_same_time(tmp_path: Path) -> None:
    code = "import sys, pathlib, router.store.records.sqlite as r; r.SqliteRecords.open(pathlib.Path(sys.argv[1]))"
    started = [
        subprocess.Popen([sys.executable, "-W", "ignore", "-c", code, str(tmp_path)], stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    assert [process.communicate()[1] for process in started] == [b""] * 4
    assert [process.returncode for process in started] == [0] * 4
