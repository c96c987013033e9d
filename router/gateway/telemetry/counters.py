"""Counters and histograms by labels, cheap to update, and merged over several workers.

prometheus_client's own counters cost some microseconds a request, and three times that with several workers, because
every update then writes to a mapped file. These are dictionaries; a worker writes all of them at once, on request.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import msgspec
from msgspec import Struct

from router.formats.files import replacing

_LOG = logging.getLogger(__name__)

Labels = tuple[str, ...]
Merge = Literal["sum", "min", "max"]

MAX_COUNTERS, MAX_HISTOGRAMS = 1000, 200
"""The most label combinations of one `Counters` and one `Histograms`; further ones are counted under `other`.

Writing one histogram takes about twenty times as long as one counter.
"""
STALE_S = 15.0
"""A worker that has written nothing for this long has exited: its counts remain, its gauges do not."""


class Counters:
    """A counter for each combination of labels."""

    def __init__(self) -> None:
        self.by_labels: dict[Labels, float] = {}

    def set(self, labels: Labels, value: float) -> None:
        """Set the counter with these labels, which something else counts."""
        if labels in self.by_labels or len(self.by_labels) < MAX_COUNTERS:
            self.by_labels[labels] = value

    def add(self, labels: Labels, amount: float = 1.0) -> None:
        """Add to the counter with these labels."""
        counts = self.by_labels
        try:
            counts[labels] += amount
        except KeyError:
            labels = _bounded(labels, counts, MAX_COUNTERS)
            counts[labels] = counts.get(labels, 0.0) + amount


class Histograms:
    """A histogram for each combination of labels, with the ascending upper `bounds` as buckets.

    An entry holds the number of values in each bucket, the number above every bound, and the sum of the values.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.by_labels: dict[Labels, list[float]] = {}

    def observe(self, labels: Labels, value: float) -> None:
        """Count a value."""
        entry = self.by_labels.get(labels)
        if entry is None:
            labels = _bounded(labels, self.by_labels, MAX_HISTOGRAMS)
            entry = self.by_labels.setdefault(labels, [0.0] * (len(self.bounds) + 2))
        entry[bisect_left(self.bounds, value)] += 1.0
        entry[-1] += value


class MetricsSnapshot(Struct, frozen=True):
    """All metrics of one worker at one moment. `at` is in seconds since 1970; `polled` holds the polled metrics, and
    `gauges` what each worker sees of the same thing, such as a server.
    """

    at: float
    counters: dict[str, dict[Labels, float]]
    histograms: dict[str, dict[Labels, list[float]]]
    polled: dict[str, float]
    gauges: dict[str, dict[Labels, float]] = {}


class SharedFolder:
    """A folder in which each worker of one gateway leaves its snapshot for the others."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # The process id alone may be reused after this process has exited.
        self._file = folder / f"{os.getpid()}-{secrets.token_hex(8)}.snapshot"

    def write(self, snapshot: MetricsSnapshot) -> None:
        """Replace this worker's previous snapshot. If the disk is full, the previous one remains."""
        try:
            with replacing(self._file) as part:
                part.write_bytes(msgspec.msgpack.encode(snapshot))
        except OSError as error:
            _LOG.warning("metrics cannot be shared with other workers: %s", error.strerror or error)

    def others(self) -> list[MetricsSnapshot]:
        """The latest snapshots of the other workers."""
        snapshots = []
        for file in sorted(self._folder.glob("*.snapshot")):
            if file != self._file:
                try:
                    snapshots.append(_DECODER.decode(file.read_bytes()))
                except (OSError, msgspec.DecodeError) as error:
                    _LOG.warning("the metrics of another worker cannot be read: %s", error)
        return snapshots


def merge_snapshots(snapshots: Sequence[MetricsSnapshot], merges: Mapping[str, Merge]) -> MetricsSnapshot:
    """Sum the counters and histograms, merge each polled metric by `merges`, and take the greatest of each gauge. The
    first snapshot is the newest.
    """
    counters: dict[str, dict[Labels, float]] = {}
    histograms: dict[str, dict[Labels, list[float]]] = {}
    polled: dict[str, list[float]] = {}
    gauges: dict[str, dict[Labels, float]] = {}
    now = snapshots[0].at
    for snapshot in snapshots:
        for name, counts in snapshot.counters.items():
            total = counters.setdefault(name, {})
            for labels, count in counts.items():
                total[labels] = total.get(labels, 0.0) + count
        for name, entries in snapshot.histograms.items():
            sums = histograms.setdefault(name, {})
            for labels, entry in entries.items():
                before = sums.get(labels)
                sums[labels] = entry if before is None else [a + b for a, b in zip(before, entry, strict=True)]
        if now - snapshot.at <= STALE_S:
            for name, value in snapshot.polled.items():
                polled.setdefault(name, []).append(value)
            for name, values in snapshot.gauges.items():
                greatest = gauges.setdefault(name, {})
                for labels, value in values.items():
                    greatest[labels] = max(value, greatest.get(labels, value))
    merged = {name: _MERGES[merges[name]](values) for name, values in polled.items()}
    return MetricsSnapshot(now, counters, histograms, merged, gauges)


def take_snapshot(
    counters: Mapping[str, Counters],
    histograms: Mapping[str, Histograms],
    polled: Iterable[tuple[str, float]],
    gauges: Mapping[str, Mapping[Labels, float]] = MappingProxyType({}),
) -> MetricsSnapshot:
    """Copy the current values. Other threads may add to them meanwhile."""
    return MetricsSnapshot(
        time.time(),
        {name: dict(counter.by_labels) for name, counter in counters.items()},
        {
            name: {labels: [*entry] for labels, entry in dict(histogram.by_labels).items()}
            for name, histogram in histograms.items()
        },
        # A bool is a number in Python, but not in msgpack.
        {name: float(value) for name, value in polled},
        {name: dict(values) for name, values in gauges.items()},
    )


def _bounded(labels: Labels, existing: Mapping[Labels, object], limit: int) -> Labels:
    return labels if len(existing) < limit else ("other",) * len(labels)


_MERGES: dict[Merge, Callable[[list[float]], float]] = {"sum": sum, "min": min, "max": max}
_DECODER = msgspec.msgpack.Decoder(MetricsSnapshot)
