"""Counters and histograms by labels: bounded, exact, and the same from every worker."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.gateway.telemetry import counters
from router.gateway.telemetry.counters import (
    STALE_S,
    Counters,
    Histograms,
    MetricsSnapshot,
    SharedFolder,
    merge_snapshots,
    take_snapshot,
)

ADDED = st.lists(st.tuples(st.sampled_from([("a",), ("b",)]), st.integers(0, 1000)), max_size=20)
VALUES = st.lists(st.floats(0, 10), max_size=20)


def counted(added: list[tuple[tuple[str, ...], int]]) -> dict[str, Counters]:
    counts = Counters()
    for labels, amount in added:
        counts.add(labels, amount)
    return {"n": counts}


def observed(values: list[float]) -> dict[str, Histograms]:
    histograms = Histograms([1.0, 5.0])
    for value in values:
        histograms.observe((), value)
    return {"s": histograms}


@given(ADDED, ADDED)
def test_counters_of_two_workers_add_up(first: list, second: list) -> None:  # type: ignore[type-arg]
    both = merge_snapshots([take_snapshot(counted(first), {}, []), take_snapshot(counted(second), {}, [])], {})
    assert both.counters == take_snapshot(counted(first + second), {}, []).counters


@given(VALUES)
def test_every_value_falls_into_one_bucket(values: list[float]) -> None:
    entry = observed(values)["s"].by_labels.get((), [0.0] * 4)
    assert entry[:-1] == [
        sum(value <= 1 for value in values),
        sum(1 < value <= 5 for value in values),
        sum(value > 5 for value in values),
    ]
    assert entry[-1] == pytest.approx(sum(values))


@given(VALUES, VALUES)
def test_histograms_of_two_workers_add_up(first: list[float], second: list[float]) -> None:
    both = merge_snapshots([take_snapshot({}, observed(first), []), take_snapshot({}, observed(second), [])], {})
    alone = take_snapshot({}, observed(first + second), [])
    assert both.histograms["s"].get((), [0.0])[:-1] == alone.histograms["s"].get((), [0.0])[:-1]


def test_later_updates_do_not_change_a_snapshot() -> None:
    counters_, histograms = counted([(("a",), 1)]), observed([0.5])
    snapshot = take_snapshot(counters_, histograms, [])
    counters_["n"].add(("a",))
    histograms["s"].observe((), 0.5)
    assert snapshot.counters == {"n": {("a",): 1}}
    assert snapshot.histograms == {"s": {(): [1, 0, 0, 0.5]}}


def test_label_combinations_beyond_the_limit_are_counted_as_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "MAX_COUNTERS", 2)
    monkeypatch.setattr(counters, "MAX_HISTOGRAMS", 3)
    counts, histograms = Counters(), Histograms([1.0])
    for name in "abcda":
        counts.add((name, "x"))
        histograms.observe((name,), 0.5)
    assert counts.by_labels == {("a", "x"): 2, ("b", "x"): 1, ("other", "other"): 2}
    assert {labels: entry[0] for labels, entry in histograms.by_labels.items()} == {
        ("a",): 2,
        ("b",): 1,
        ("c",): 1,
        ("other",): 1,
    }


def test_workers_read_the_snapshots_of_the_others_and_not_their_own(tmp_path: Path) -> None:
    folders = [SharedFolder(tmp_path) for _ in range(3)]
    for number, folder in enumerate(folders):
        folder.write(MetricsSnapshot(0.0, {}, {}, {"r": number}))
        folder.write(MetricsSnapshot(1.0, {}, {}, {"r": number}))
    assert sorted(snapshot.polled["r"] for snapshot in folders[0].others()) == [1, 2]


def test_a_polled_metric_may_be_a_bool(tmp_path: Path) -> None:
    SharedFolder(tmp_path).write(take_snapshot({}, {}, [("ok", True), ("number", 3)]))
    assert [snapshot.polled for snapshot in SharedFolder(tmp_path).others()] == [{"ok": 1, "number": 3}]


def test_each_polled_metric_is_merged_by_its_own_rule() -> None:
    snapshots = [MetricsSnapshot(1.0, {}, {}, {"a": value, "b": value, "c": value}) for value in (3.0, 5.0)]
    assert merge_snapshots(snapshots, {"a": "sum", "b": "min", "c": "max"}).polled == {"a": 8, "b": 3, "c": 5}


def test_an_exited_worker_still_counts_but_its_polled_metrics_do_not() -> None:
    now, ended = 100.0, 100.0 - STALE_S - 1
    alive = MetricsSnapshot(now, {"n": {("a",): 1.0}}, {}, {"r": 1.0})
    gone = MetricsSnapshot(ended, {"n": {("a",): 5.0}}, {}, {"r": 7.0})
    both = merge_snapshots([alive, gone], {"r": "sum"})
    assert (both.counters, both.polled) == ({"n": {("a",): 6}}, {"r": 1})


def test_a_damaged_snapshot_is_skipped_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "1-a.snapshot").write_bytes(b"not msgpack")
    (tmp_path / "2-b.snapshot").write_bytes(msgspec.msgpack.encode(MetricsSnapshot(1.0, {}, {}, {"r": 2.0})))
    assert [snapshot.polled for snapshot in SharedFolder(tmp_path).others()] == [{"r": 2}]
    assert "cannot be read" in caplog.text


def test_a_missing_folder_is_logged_and_raises_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    SharedFolder(tmp_path / "gone").write(MetricsSnapshot(1.0, {}, {}, {}))
    assert "cannot be shared" in caplog.text
