"""Sums by labels: bounded, exact, and the same whichever worker shows them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.gateway.telemetry import counters
from router.gateway.telemetry.counters import STALE_S, Counters, Histograms, SharedFolder, Snapshot, merged, snapshot_of

ADDED = st.lists(st.tuples(st.sampled_from([("a",), ("b",)]), st.integers(0, 1000)), max_size=20)
VALUES = st.lists(st.floats(0, 10), max_size=20)


def counted(added: list[tuple[tuple[str, ...], int]]) -> dict[str, Counters]:
    counts = Counters()
    for labels, amount in added:
        counts.add(labels, amount)
    return {"n": counts}


def spread(values: list[float]) -> dict[str, Histograms]:
    spreads = Histograms([1.0, 5.0])
    for value in values:
        spreads.observe((), value)
    return {"s": spreads}


@given(ADDED, ADDED)
def test_what_two_workers_count_adds_up_to_what_one_would(first: list, second: list) -> None:  # type: ignore[type-arg]
    both = merged([snapshot_of(counted(first), {}, []), snapshot_of(counted(second), {}, [])], {})
    assert both.counts == snapshot_of(counted(first + second), {}, []).counts


@given(VALUES)
def test_every_value_falls_into_one_bucket(values: list[float]) -> None:
    entry = spread(values)["s"].by_labels.get((), [0.0] * 4)
    assert entry[:-1] == [
        sum(value <= 1 for value in values),
        sum(1 < value <= 5 for value in values),
        sum(value > 5 for value in values),
    ]
    assert entry[-1] == pytest.approx(sum(values))


@given(VALUES, VALUES)
def test_buckets_of_two_workers_add_up(first: list[float], second: list[float]) -> None:
    both = merged([snapshot_of({}, spread(first), []), snapshot_of({}, spread(second), [])], {})
    alone = snapshot_of({}, spread(first + second), [])
    assert both.spreads["s"].get((), [0.0])[:-1] == alone.spreads["s"].get((), [0.0])[:-1]


def test_a_snapshot_does_not_change_with_what_comes_after_it() -> None:
    counts, spreads = counted([(("a",), 1)]), spread([0.5])
    snapshot = snapshot_of(counts, spreads, [])
    counts["n"].add(("a",))
    spreads["s"].observe((), 0.5)
    assert snapshot.counts == {"n": {("a",): 1}}
    assert snapshot.spreads == {"s": {(): [1, 0, 0, 0.5]}}


def test_combinations_of_labels_beyond_the_most_are_counted_as_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "MOST_COUNTS", 2)
    monkeypatch.setattr(counters, "MOST_SPREADS", 3)
    counts, spreads = Counters(), Histograms([1.0])
    for name in "abcda":
        counts.add((name, "x"))
        spreads.observe((name,), 0.5)
    assert counts.by_labels == {("a", "x"): 2, ("b", "x"): 1, ("other", "other"): 2}
    assert {labels: entry[0] for labels, entry in spreads.by_labels.items()} == {
        ("a",): 2,
        ("b",): 1,
        ("c",): 1,
        ("other",): 1,
    }


def test_workers_find_each_others_snapshots_and_not_their_own(tmp_path: Path) -> None:
    boards = [SharedFolder(tmp_path) for _ in range(3)]
    for number, board in enumerate(boards):
        board.write(Snapshot(0.0, {}, {}, {"r": number}))
        board.write(Snapshot(1.0, {}, {}, {"r": number}))
    assert sorted(found.readings["r"] for found in boards[0].others()) == [1, 2]


def test_a_truth_value_is_a_reading_as_well(tmp_path: Path) -> None:
    SharedFolder(tmp_path).write(snapshot_of({}, {}, [("ok", True), ("number", 3)]))
    assert [found.readings for found in SharedFolder(tmp_path).others()] == [{"ok": 1, "number": 3}]


def test_readings_are_merged_each_in_its_own_way() -> None:
    snapshots = [Snapshot(1.0, {}, {}, {"a": value, "b": value, "c": value}) for value in (3.0, 5.0)]
    assert merged(snapshots, {"a": "sum", "b": "min", "c": "max"}).readings == {"a": 8, "b": 3, "c": 5}


def test_a_worker_that_has_ended_keeps_its_counts_and_loses_its_readings() -> None:
    now, ended = 100.0, 100.0 - STALE_S - 1
    alive = Snapshot(now, {"n": {("a",): 1.0}}, {}, {"r": 1.0})
    gone = Snapshot(ended, {"n": {("a",): 5.0}}, {}, {"r": 7.0})
    both = merged([alive, gone], {"r": "sum"})
    assert (both.counts, both.readings) == ({"n": {("a",): 6}}, {"r": 1})


def test_a_damaged_snapshot_is_left_out_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "1-a.tally").write_bytes(b"not msgpack")
    (tmp_path / "2-b.tally").write_bytes(msgspec.msgpack.encode(Snapshot(1.0, {}, {}, {"r": 2.0})))
    assert [found.readings for found in SharedFolder(tmp_path).others()] == [{"r": 2}]
    assert "cannot be read" in caplog.text


def test_a_folder_that_has_gone_is_logged_and_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    SharedFolder(tmp_path / "gone").write(Snapshot(1.0, {}, {}, {}))
    assert "cannot be shared" in caplog.text
