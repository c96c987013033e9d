"""The sample of routed requests: all of a few, of many a part that is spread over the time."""

from __future__ import annotations

from pathlib import Path

from router.gateway.dashboard.sample import spread
from router.store.records.record import Record
from router.store.records.sqlite import SqliteRecords
from tests.store.records.examples import decision_record, record

HOUR = 3600.0


def routed(id_: str, at: float) -> Record:
    return record(id_, at=at, decision=decision_record())


def test_few_requests_are_all_in_it(tmp_path: Path) -> None:
    with SqliteRecords.open(tmp_path) as records:
        records.add([routed("a", HOUR), record("named", at=HOUR), routed("b", 5 * HOUR)], 0)
        sample = spread(records, 0, 10 * HOUR, 10)
        assert ([each.id for each in sample.records], sample.of) == (["a", "b"], 2)


def test_each_part_of_the_time_has_its_share(tmp_path: Path) -> None:
    busy = [routed(f"busy{number}", 100 * HOUR + number) for number in range(300)]
    calm = [routed(f"calm{number}", number * HOUR) for number in range(100)]
    with SqliteRecords.open(tmp_path) as records:
        records.add([*calm, *busy], 0)
        sample = spread(records, 0, 180 * HOUR, 40)
    assert (len(sample.records), sample.of) == (40, 400)
    assert sum(each.id.startswith("busy") for each in sample.records) == 30
    assert [each.at for each in sample.records] == sorted(each.at for each in sample.records)
    assert min(each.at for each in sample.records) < 20 * HOUR


def test_of_a_long_time_each_day_has_its_share(tmp_path: Path) -> None:
    with SqliteRecords.open(tmp_path) as records:
        records.add([routed(str(number), number * 2 * HOUR) for number in range(240)], 0)
        sample = spread(records, 0, 20 * 24 * HOUR, 20)
    days = [int(each.at // (24 * HOUR)) for each in sample.records]
    assert (days, sample.of) == ([*range(20)], 240)


def test_nothing_outside_of_the_time_is_in_it(tmp_path: Path) -> None:
    with SqliteRecords.open(tmp_path) as records:
        records.add([routed(str(number), number * 600.0) for number in range(100)], 0)
        sample = spread(records, 25 * 600.0, 75 * 600.0, 10)
    assert all(25 * 600.0 <= each.at < 75 * 600.0 for each in sample.records)
