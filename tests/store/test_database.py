from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from router.errors import FileError
from router.store.database import ForeignDatabaseError, Transaction, open_database
from router.store.records.sqlite import FILE_NAME, MIGRATIONS, Records
from tests.store.records.examples import record, recorded

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


def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "things.sqlite"
    open_database(file, [ONE]).close()
    with pytest.raises(FileError, match="cannot be used: no such table: nowhere"):
        open_database(file, [ONE, (*TWO, "DROP TABLE nowhere")])
    database = open_database(file, [ONE])
    assert len(database.execute("SELECT * FROM pragma_table_info('things')").fetchall()) == 1
    database.close()


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS)))
def test_the_records_of_every_earlier_version_are_kept(
    tmp_path: Path, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = record("one", decision=recorded())
    with monkeypatch.context() as earlier:
        earlier.setattr("router.store.records.sqlite.MIGRATIONS", MIGRATIONS[:version])
        with Records.open(tmp_path) as old:
            old.add([one], 0.0)
    with Records.open(tmp_path) as new:
        assert new.named("one") == one
        new.add([record("two")], 0.0)
        assert new.count() == 2
    schema = schema_of(tmp_path)
    Records.open(tmp_path / "..").close()
    assert schema == schema_of(tmp_path / "..")


def schema_of(folder: Path) -> list[tuple[str, ...]]:
    database = sqlite3.connect(folder / FILE_NAME)
    schema = database.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()
    database.close()
    return schema


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "things.sqlite"
    open_database(file, [ONE, TWO]).close()
    with pytest.raises(ForeignDatabaseError, match="is of version 2, this release knows 1"):
        open_database(file, [ONE])


def test_an_earlier_version_that_must_not_be_written_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "things.sqlite"
    open_database(file, [ONE]).close()
    with pytest.raises(FileError, match="is of version 1, this release reads version 2"):
        open_database(file, [ONE, TWO], read_only=True)


def test_what_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "things.sqlite"
    file.write_bytes(b"some text, and more of it" * 100)
    with pytest.raises(ForeignDatabaseError, match=r"things\.sqlite: is damaged or no database"):
        open_database(file, [ONE])
    assert file.read_bytes() == b"some text, and more of it" * 100


def test_a_damaged_page_is_a_clear_error_when_records_are_read(tmp_path: Path) -> None:
    with Records.open(tmp_path) as kept:
        kept.add([record(decision=recorded(vector=bytes(1740))) for _ in range(100)], 0.0)
    file = tmp_path / FILE_NAME
    raw = bytearray(file.read_bytes())
    raw[2 * 16_384 :] = b"\xa5" * len(raw[2 * 16_384 :])
    file.write_bytes(raw)
    with pytest.raises(ForeignDatabaseError, match="is damaged or no database"), Records.open(tmp_path) as kept:
        list(kept.each())


def test_a_file_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be used: unable to open database file"):
        open_database(tmp_path / "nowhere" / "things.sqlite", [ONE])


def test_a_transaction_that_fails_changes_nothing(tmp_path: Path) -> None:
    database = open_database(tmp_path / "things.sqlite", [ONE])
    with pytest.raises(sqlite3.OperationalError, match="nowhere"), Transaction(database):
        database.executemany("INSERT INTO things VALUES (?)", [("one",), ("two",)]).execute("DROP TABLE nowhere")
    assert database.execute("SELECT count(*) FROM things").fetchone() == (0,)
    database.close()


def test_processes_that_open_a_new_file_at_once_all_succeed(tmp_path: Path) -> None:
    code = "import sys, pathlib, router.store.records.sqlite as r; r.Records.open(pathlib.Path(sys.argv[1]))"
    started = [
        subprocess.Popen([sys.executable, "-W", "ignore", "-c", code, str(tmp_path)], stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    assert [process.communicate()[1] for process in started] == [b""] * 4
    assert [process.returncode for process in started] == [0] * 4
