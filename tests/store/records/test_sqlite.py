from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import CallerError
from router.store.records.record import Entry, Record, Snapshot, read_entry, write_entry
from router.store.records.sqlite import Filter, Records
from router.types import Outcome
from tests.store.records.examples import DAY_S, record, recorded, records


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Records]:
    with Records.open(tmp_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Records]:
    with Records.open(tmp_path_factory.mktemp("records")) as opened:
        yield opened


def ids(found: list[Record]) -> list[str]:
    return [each.id for each in found]


@given(records)
def test_a_record_is_the_same_after_the_journal_and_the_database(shared: Records, one: Record) -> None:
    line = write_entry(Entry(record=one))
    assert line.index(b"\n") == len(line) - 1
    read = read_entry(line).record
    assert read == one
    shared.prune(5e9)
    shared.add([read], 0.0)
    assert shared.named(one.id) == one
    assert shared.tail(1) == [one]


@given(records, st.data())
def test_no_part_of_a_line_is_taken_for_the_whole(one: Record, data: st.DataObject) -> None:
    line = write_entry(Entry(record=one))
    cut = data.draw(st.integers(0, len(line) - 2))
    with pytest.raises(ValueError, match=r".*"):
        read_entry(line[:cut])


def test_the_tail_is_the_newest_with_the_newest_last(kept: Records) -> None:
    kept.add([record(f"r{at}", at=float(at)) for at in (3, 1, 2, 5, 4)], 0.0)
    assert ids(kept.tail(3)) == ["r3", "r4", "r5"]
    assert ids(kept.tail(9)) == ["r1", "r2", "r3", "r4", "r5"]


def test_filters_are_met_together(kept: Records) -> None:
    failed = Outcome(502, 1.0, "poet", error="upstream_error")
    kept.add(
        [
            record("a", at=1.0, key="k1"),
            record("b", at=2.0, key="k2", outcome=failed),
            record("c", at=3.0, key="k1", outcome=failed),
            record("d", at=4.0, key="k1", outcome=msgspec.structs.replace(failed, card="calculator")),
            record("e", at=5.0, outcome=Outcome(200, 1.0, "poet", error="upstream_cut"), decision=recorded()),
        ],
        0.0,
    )
    wanted = {
        "abcde": Filter(),
        "abce": Filter(card="poet"),
        "acd": Filter(key="k1"),
        "bcde": Filter(errors=True),
        "c": Filter(card="poet", key="k1", errors=True),
        "bc": Filter(since=2.0, until=4.0),
        "e": Filter(routed=True),
    }
    for expected, wish in wanted.items():
        assert "".join(ids(kept.tail(9, wish))) == expected
        assert "".join(ids(list(kept.each(wish)))) == expected
        assert "".join(each.id for _, each in kept.added_after(0, wish)) == expected
        assert kept.count(wish) == len(expected)


def test_a_record_is_found_by_how_its_id_begins(kept: Records) -> None:
    kept.add([record("abc"), record("abd"), record("bcd")], 0.0)
    assert kept.named("abc").id == "abc"
    assert kept.named("b").id == "bcd"
    with pytest.raises(CallerError, match="begins the ids of several records, such as abc and abd"):
        kept.named("ab")
    for nobody in ("x", "", "abcd", "%"):
        with pytest.raises(CallerError, match=f'there is no record "{nobody}"'):
            kept.named(nobody)


def test_a_whole_id_is_found_though_others_begin_so(kept: Records) -> None:
    kept.add([record("ab"), record("abc")], 0.0)
    assert kept.named("ab").id == "ab"


def test_each_passes_through_many_pages_in_order_of_time(kept: Records) -> None:
    kept.add([record(f"r{number}", at=float(number * 7919 % 1201 // 3)) for number in range(1201)], 0.0)
    times = [each.at for each in kept.each()]
    assert times == sorted(times)
    assert len({each.id for each in kept.each()}) == 1201


def test_following_sees_what_was_added_after_a_record(kept: Records) -> None:
    assert kept.last_number() == 0
    kept.add([record("one")], 0.0)
    number = kept.last_number()
    kept.add([record("two", at=0.0), record("three")], 0.0)
    assert [each.id for _, each in kept.added_after(number)] == ["two", "three"]
    assert kept.added_after(kept.last_number()) == []


def test_of_two_records_with_one_id_the_first_stays(kept: Records) -> None:
    kept.add([record("one", asked="first")], 0.0)
    kept.add([record("one", asked="second")], 0.0)
    assert [each.asked for each in kept.each()] == ["first"]


def test_an_old_snapshot_is_forgotten_only_when_no_record_left_can_need_it(kept: Records) -> None:
    kept.add([Snapshot("old", b"1")], 0.0)
    kept.add([Snapshot("used", b"2")], 0.0)
    kept.add([Snapshot("used", b"2"), record("one", at=9 * DAY_S)], 8 * DAY_S)
    kept.prune(9 * DAY_S)
    assert kept.snapshot("old") is None
    assert kept.snapshot("used") == b"2"
    assert kept.count() == 1


def test_pruning_tells_when_there_is_more(kept: Records) -> None:
    kept.add([record(f"r{number}") for number in range(700)], 0.0)
    assert kept.prune(2e6)
    assert 0 < kept.count() < 700
    assert not kept.prune(2e6)
    assert kept.count() == 0


def test_space_of_forgotten_records_is_given_back(kept: Records) -> None:
    kept.add([record(decision=recorded(vector=bytes(1740))) for _ in range(900)], 0.0)
    pages = kept._database.execute("PRAGMA page_count").fetchone()[0]
    while kept.prune(2e6):
        pass
    assert kept._database.execute("PRAGMA page_count").fetchone()[0] < pages / 2
