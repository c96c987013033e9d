"""Totals by hour: the sums of the records, however these came into the database."""

from __future__ import annotations

import sqlite3
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.store.backend import FolderBackend
from router.store.database import open_database
from router.store.records.protocol import RecordArchive
from router.store.records.record import Record
from router.store.records.sqlite import FILE_NAME, MIGRATIONS, SqliteRecords
from router.store.records.totals import Totals
from router.types import Outcome, Usage
from tests.store.records.examples import DAY_S, record

HOUR = 3600.0


def several() -> list[Record]:
    failed = Outcome(503, 10.0, error="overloaded")
    answered = Outcome(200, 500.0, "poet", usage=Usage(10, 20), cost_usd=0.5)
    return [
        record("a", at=HOUR, key="k", outcome=answered),
        record("b", at=HOUR + 3599, key="k", outcome=answered),
        record("c", at=2 * HOUR, key="k", outcome=failed),
    ]


def hours(records: RecordArchive) -> list[Totals]:
    return records.totals(["hour"], 0, 10 * HOUR, ["chat"])


def test_the_requests_of_an_hour_are_summed(backend: FolderBackend) -> None:
    with backend.archive() as records:
        records.add(several(), 0)
        first, second = hours(records)
        assert (first.group, first.requests, first.errors) == ((3600,), 2, 0)
        assert (first.input_tokens, first.output_tokens, first.cost_usd, first.total_ms) == (20, 40, 1.0, 1000.0)
        assert (second.group, second.requests, second.errors) == ((7200,), 1, 1)
        assert records.totals(["hour"], 7200, 10 * HOUR, ["chat"]) == [second]


def test_requests_are_summed_by_card_and_key_and_surface(backend: FolderBackend) -> None:
    with backend.archive() as records:
        records.add([*several(), record("list", at=HOUR, surface="models")], 0)
        of_cards = records.totals(["card"], 0, 10 * HOUR, ["chat"])
        assert [(each.group, each.requests) for each in of_cards] == [(("",), 1), (("poet",), 2)]
        assert [each.group for each in records.totals(["key"], 0, 10 * HOUR, ["chat"])] == [("k",)]
        assert records.totals(["surface"], 0, 10 * HOUR, ["models"])[0].requests == 1


def test_groups_can_agree_in_several_columns(backend: FolderBackend) -> None:
    with backend.archive() as records:
        records.add(several(), 0)
        found = records.totals(["hour", "card"], 0, 10 * HOUR, ["chat"])
        assert [(each.group, each.requests) for each in found] == [((3600, "poet"), 2), ((7200, ""), 1)]


def test_a_record_that_is_added_twice_counts_once(backend: FolderBackend) -> None:
    with backend.archive() as records:
        records.add([*several(), *several()], 0)
        records.add(several(), 0)
        assert [hour.requests for hour in hours(records)] == [2, 1]


def test_records_of_an_earlier_release_are_counted(tmp_path: Path) -> None:
    file = tmp_path / FILE_NAME
    open_database(file, MIGRATIONS[:2]).close()
    with SqliteRecords(file, sqlite3.connect(file, isolation_level=None)) as old:
        old.add(several(), 0)
    with SqliteRecords.open(tmp_path) as records:
        assert [hour.requests for hour in hours(records)] == [2, 1]


def test_hours_are_deleted_with_their_records(backend: FolderBackend) -> None:
    with backend.archive() as records:
        records.add(several(), 0)
        records.prune(2 * DAY_S)
        assert hours(records) == []


@pytest.mark.parametrize("added_up_until", [0, 24, 72, 240])
@pytest.mark.parametrize("since", [0, 24, 30, 49])
def test_days_and_the_hours_beside_them_count_every_request_once(
    tmp_path: Path, since: int, added_up_until: int
) -> None:
    requests = [record(f"r{hour}", at=hour * HOUR + 1, key=f"k{hour % 2}") for hour in range(100)]
    with SqliteRecords.open(tmp_path) as records:
        records.add(requests[:70], 0)
        records.add([], added_up_until * HOUR)
        # Some of these arrive after their day was added up.
        records.add(requests[60:], added_up_until * HOUR)
        for until in (since + 1, 48, 72, 99):
            found = records.totals(["key"], since * HOUR, until * HOUR, ["chat"])
            assert sum(each.requests for each in found) == max(until - since, 0)
        by_day = records.totals(["day"], since * HOUR, 100 * HOUR, ["chat"])
    counted = {each.group[0]: each.requests for each in by_day}
    assert counted == Counter(hour // 24 * 86_400 for hour in range(100) if hour >= since)


def test_days_are_added_up_once_they_are_over(tmp_path: Path) -> None:
    with SqliteRecords.open(tmp_path) as records:
        records.add([record("a", at=HOUR), record("b", at=25 * HOUR)], 25 * HOUR)
        assert [row[:2] for row in records._database.execute("SELECT day, requests FROM days")] == [(0, 1)]


@given(st.lists(st.tuples(st.integers(0, 20_000), st.sampled_from(["chat", "models"])), max_size=30))
def test_every_record_is_in_one_hour(requests: list[tuple[int, str]]) -> None:
    with SqliteRecords(Path(":memory:"), sqlite3.connect(":memory:", isolation_level=None)) as records:
        for statements in MIGRATIONS:
            for statement in statements:
                records._database.execute(statement)
        records.add([record(at=float(at), surface=surface) for at, surface in requests], 0)
        for surface in ("chat", "models"):
            counted = {each.group[0]: each.requests for each in records.totals(["hour"], 0, 30_000, [surface])}
            assert counted == Counter(at // 3600 * 3600 for at, name in requests if name == surface)
