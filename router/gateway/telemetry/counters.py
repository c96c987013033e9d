"""Sums by labels, cheap to add to, and how several workers show them as one.

prometheus_client's own counters cost some microseconds a request, and three times that where workers share them, as
every step then writes to a mapped file. These are dictionaries; a worker writes all of it at once, when asked.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

_LOG = logging.getLogger(__name__)

Labels = tuple[str, ...]
Merge = Literal["sum", "min", "max"]

MOST_COUNTS, MOST_SPREADS = 1000, 200
"""The most combinations of labels that `Counters` and `Histograms` keep; later ones are counted under `other`.

Writing one histogram takes about twenty times as long as one counter.
"""
STALE_S = 15.0
"""A worker that has written nothing for so long has ended: what it counted stays, its readings do not."""


class Counters:
    """A number for each combination of labels, which only grows."""

    def __init__(self) -> None:
        self.by_labels: dict[Labels, float] = {}

    def add(self, labels: Labels, amount: float = 1.0) -> None:
        """Add to the number of these labels."""
        numbers = self.by_labels
        if labels not in numbers:
            labels = _bounded(labels, numbers, MOST_COUNTS)
        numbers[labels] = numbers.get(labels, 0.0) + amount


class Histograms:
    """How many values fell at or below each of `bounds`, ascending, and what they sum to, for each combination of
    labels. An entry holds the number of values in each bucket, that of those above every bound, then the sum.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.by_labels: dict[Labels, list[float]] = {}

    def observe(self, labels: Labels, value: float) -> None:
        """Count a value."""
        spread = self.by_labels.get(labels)
        if spread is None:
            labels = _bounded(labels, self.by_labels, MOST_SPREADS)
            spread = self.by_labels.setdefault(labels, [0.0] * (len(self.bounds) + 2))
        spread[bisect_left(self.bounds, value)] += 1.0
        spread[-1] += value


class Snapshot(Struct, frozen=True):
    """What one worker has counted and reads. `at` is in seconds since 1970."""

    at: float
    counts: dict[str, dict[Labels, float]]
    spreads: dict[str, dict[Labels, list[float]]]
    readings: dict[str, float]


class SharedFolder:
    """A folder where each worker of one gateway leaves its snapshot for the others."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Beside the number of the process, which another may get when this one has ended.
        self._file = folder / f"{os.getpid()}-{secrets.token_hex(8)}.tally"

    def write(self, snapshot: Snapshot) -> None:
        """Leave the snapshot in place of this worker's last one. Where the disk is full, the last one stays."""
        written = self._file.with_suffix(".new")
        try:
            written.write_bytes(msgspec.msgpack.encode(snapshot))
            written.replace(self._file)
        except OSError as error:
            _LOG.warning("metrics cannot be shared with other workers: %s", error.strerror or error)

    def others(self) -> list[Snapshot]:
        """What the other workers left."""
        found = []
        for file in sorted(self._folder.glob("*.tally")):
            if file != self._file:
                try:
                    found.append(_DECODER.decode(file.read_bytes()))
                except (OSError, msgspec.DecodeError) as error:
                    _LOG.warning("the metrics of another worker cannot be read: %s", error)
        return found


def merged(snapshots: Sequence[Snapshot], how: Mapping[str, Merge]) -> Snapshot:
    """The sums of the counts, and readings as `how` says of each; the first snapshot is the newest."""
    counts: dict[str, dict[Labels, float]] = {}
    spreads: dict[str, dict[Labels, list[float]]] = {}
    readings: dict[str, list[float]] = {}
    now = snapshots[0].at
    for snapshot in snapshots:
        for name, numbers in snapshot.counts.items():
            total = counts.setdefault(name, {})
            for labels, number in numbers.items():
                total[labels] = total.get(labels, 0.0) + number
        for name, entries in snapshot.spreads.items():
            sums = spreads.setdefault(name, {})
            for labels, entry in entries.items():
                before = sums.get(labels)
                sums[labels] = entry if before is None else [a + b for a, b in zip(before, entry, strict=True)]
        if now - snapshot.at <= STALE_S:
            for name, value in snapshot.readings.items():
                readings.setdefault(name, []).append(value)
    return Snapshot(now, counts, spreads, {name: _MERGES[how[name]](values) for name, values in readings.items()})


def snapshot_of(
    counts: Mapping[str, Counters], spreads: Mapping[str, Histograms], readings: Iterable[tuple[str, float]]
) -> Snapshot:
    """A copy of the tallies as they stand; other threads may add to them meanwhile."""
    return Snapshot(
        time.time(),
        {name: dict(each.by_labels) for name, each in counts.items()},
        {name: {at: [*entry] for at, entry in dict(each.by_labels).items()} for name, each in spreads.items()},
        # A bool is a number in Python, and none on the wire.
        {name: float(value) for name, value in readings},
    )


def _bounded(labels: Labels, kept: Mapping[Labels, object], most: int) -> Labels:
    return labels if len(kept) < most else ("other",) * len(labels)


_MERGES: dict[Merge, Callable[[list[float]], float]] = {"sum": sum, "min": min, "max": max}
_DECODER = msgspec.msgpack.Decoder(Snapshot)
