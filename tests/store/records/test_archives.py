"""A database of records, SQLite or PostgreSQL: what is inserted, found and deleted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from router.errors import CallerError
from router.store.backend import FolderBackend
from router.store.records.protocol import Filter, RecordArchive
from router.store.records.record import Entry, Record, Snapshot, read_entry, write_entry
from router.store.records.sqlite import SqliteRecords
from router.types import Outcome
from tests.store.records.examples import DAY_S, decision_record, record, records


@pytest.fixture
def store(backend: FolderBackend) -> Iterator[RecordArchive]:
    with backend.archive() as opened:
        yield opened


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RecordArchive]:
    with SqliteRecords.open(tmp_path_factory.mktemp("records")) as opened:
        yield opened


def ids(records: list[Record]) -> list[str]:
    return [record.id for record in records]


@given(records)
def test_a_record_survives_the_journal_and_sqlite_unchanged(shared: RecordArchive, one: Record) -> None:
    line = write_entry(Entry(record=one))
    assert line.index(b"\n") == len(line) - 1
    read = read_entry(line).record
    assert read == one
    shared.prune(5e9)
    shared.add([read], 0.0)
    assert shared.find(one.id) == one
    assert shared.tail(1) == [one]
    assert shared.tail(1, prompts=False) == [msgspec.structs.replace(one, prompt=None)]


# One example is many records.
@settings(max_examples=1, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(st.lists(records, min_size=40, max_size=80, unique_by=lambda one: one.id))
def test_records_survive_postgresql_unchanged(emptied_postgres_url: str, tmp_path: Path, several: list[Record]) -> None:
    # In one day: to create one takes a while.
    several = [msgspec.structs.replace(one, at=one.at % DAY_S) for one in several]
    with FolderBackend(tmp_path, records_url=emptied_postgres_url).archive() as archive:
        assert archive.add(several, 0.0) == 0
        stored = {one.id: one for _, one in archive.added_after(0)}
    assert stored == {one.id: one for one in several}


def test_the_journal_line_of_a_decision_has_the_field_names_of_earlier_releases() -> None:
    line = write_entry(Entry(record=record("one", decision=decision_record(conversation_card="poet"))))
    decision = msgspec.json.decode(line)["record"]["decision"]
    assert (decision["settings"], decision["kept"]) == ("a" * 32, "poet")


@given(records, st.data())
def test_a_truncated_line_is_never_read_as_a_record(one: Record, data: st.DataObject) -> None:
    line = write_entry(Entry(record=one))
    cut = data.draw(st.integers(0, len(line) - 2))
    with pytest.raises(ValueError, match=r".*"):
        read_entry(line[:cut])


def test_tail_returns_the_newest_records_with_the_newest_last(store: RecordArchive) -> None:
    store.add([record(f"r{at}", at=float(at)) for at in (3, 1, 2, 5, 4)], 0.0)
    assert ids(store.tail(3)) == ["r3", "r4", "r5"]
    assert ids(store.tail(9)) == ["r1", "r2", "r3", "r4", "r5"]


def test_all_conditions_of_a_filter_must_hold(store: RecordArchive) -> None:
    failed = Outcome(502, 1.0, "poet", error="upstream_error")
    store.add(
        [
            record("a", at=1.0, key="k1"),
            record("b", at=2.0, key="k2", outcome=failed),
            record("c", at=3.0, key="k1", outcome=failed),
            record("d", at=4.0, key="k1", surface="shadow", outcome=msgspec.structs.replace(failed, card="calculator")),
            record("e", at=5.0, outcome=Outcome(200, 1.0, "poet", error="upstream_cut"), decision=decision_record()),
        ],
        0.0,
    )
    filters = {
        "abcde": Filter(),
        "abce": Filter(card="poet"),
        "acd": Filter(key="k1"),
        "bcde": Filter(errors=True),
        "c": Filter(card="poet", key="k1", errors=True),
        "bc": Filter(since=2.0, until=4.0),
        "e": Filter(routed=True),
        "d": Filter(shadows=True),
    }
    for expected, wanted in filters.items():
        assert "".join(ids(store.tail(9, wanted))) == expected
        assert "".join(ids(list(store.scan(wanted)))) == expected
        assert "".join(ids([added for _, added in store.added_after(0, wanted)])) == expected


def test_a_record_is_found_by_the_beginning_of_its_id(store: RecordArchive) -> None:
    store.add([record("abc"), record("abd"), record("bcd")], 0.0)
    assert store.find("abc").id == "abc"
    assert store.find("b").id == "bcd"
    with pytest.raises(CallerError, match='"ab" is ambiguous: several record ids begin with it, such as abc and abd'):
        store.find("ab")
    for unknown in ("x", "", "abcd", "%"):
        with pytest.raises(CallerError, match=f'there is no record "{unknown}"'):
            store.find(unknown)


def test_an_exact_id_is_found_even_if_other_ids_begin_with_it(store: RecordArchive) -> None:
    store.add([record("ab"), record("abc")], 0.0)
    assert store.find("ab").id == "ab"


def test_scan_reads_many_pages_in_order_of_time(store: RecordArchive) -> None:
    store.add([record(f"r{number}", at=float(number * 7919 % 1201 // 3)) for number in range(1201)], 0.0)
    times = [scanned.at for scanned in store.scan()]
    assert times == sorted(times)
    assert len(set(ids(list(store.scan())))) == 1201


def test_added_after_returns_the_records_added_since(store: RecordArchive) -> None:
    assert store.last_number() == 0
    store.add([record("one")], 0.0)
    number = store.last_number()
    store.add([record("two", at=0.0), record("three")], 0.0)
    assert [added.id for _, added in store.added_after(number)] == ["two", "three"]
    assert store.added_after(store.last_number()) == []


def test_of_two_records_with_the_same_id_the_first_is_stored(store: RecordArchive) -> None:
    store.add([record("one", asked="first")], 0.0)
    store.add([record("one", asked="second")], 0.0)
    assert [stored.asked for stored in store.scan()] == ["first"]


def test_a_record_that_no_column_can_hold_costs_none_of_those_added_with_it(tmp_path: Path) -> None:
    several = [record(f"r{number:02}", at=float(number)) for number in range(100)]
    several[50] = record("r50", at=50.0, outcome=Outcome(2**70, 1.0, "poet"))
    with SqliteRecords.open(tmp_path) as store:
        assert store.add([*several[:40], Snapshot("f" * 32, b"content"), *several[40:]], now_s=0.0) == 1
        assert [each.id for each in store.scan()] == [each.id for each in several if each.id != "r50"]
        assert store.snapshot("f" * 32) == b"content"


def test_a_snapshot_is_deleted_only_once_no_remaining_record_can_refer_to_it(store: RecordArchive) -> None:
    store.add([Snapshot("old", b"1")], 0.0)
    store.add([Snapshot("used", b"2")], 0.0)
    store.add([Snapshot("used", b"2"), record("one", at=9 * DAY_S)], 8 * DAY_S)
    store.prune(9 * DAY_S)
    assert store.snapshot("old") is None
    assert store.snapshot("used") == b"2"
    assert len(list(store.scan())) == 1


def test_prune_returns_whether_more_old_records_are_left(tmp_path: Path) -> None:
    with SqliteRecords.open(tmp_path) as store:
        store.add([record(f"r{number}") for number in range(700)], 0.0)
        assert store.prune(2e6)
        assert 0 < len(list(store.scan())) < 700
        assert not store.prune(2e6)
        assert len(list(store.scan())) == 0


def test_the_space_of_deleted_records_is_freed(tmp_path: Path) -> None:
    with SqliteRecords.open(tmp_path) as store:
        store.add([record(decision=decision_record(vector=bytes(1740))) for _ in range(900)], 0.0)
        pages = store._database.execute("PRAGMA page_count").fetchone()[0]
        while store.prune(2e6):
            pass
        assert store._database.execute("PRAGMA page_count").fetchone()[0] < pages / 2


def test_the_newest_shadows_are_found_without_reading_all_records(tmp_path: Path) -> None:
    with SqliteRecords.open(tmp_path) as records:
        asked: list[str] = []
        records._database.set_trace_callback(asked.append)
        records.tail(300, Filter(shadows=True, since=1.0), prompts=False)
        records._database.set_trace_callback(None)
        plan = records._database.execute(f"EXPLAIN QUERY PLAN {asked[-1]}").fetchall()
    assert "records_of_shadows" in plan[0][-1]
