"""A sample of routed requests, spread over a time: to read and forecast all of them again would take too long."""

from __future__ import annotations

import itertools
import math

from msgspec import Struct

from router.gateway.http.surfaces import CALLING
from router.store.records.protocol import Filter, RecordStore
from router.store.records.record import Record
from router.store.records.totals import DAY_S, HOUR_S, Grouping

SURFACES = frozenset(surface.name for surface in CALLING)
"""The surfaces whose requests call a model."""

SIZE = 300
_SLICES = 24
_LONG_S = 8 * DAY_S


class Sample(Struct, frozen=True):
    """Routed requests, oldest first, of about `SIZE`: from each part of the time in proportion to its `routed`
    requests, which `of` counts, so that the sample stands for all of them.
    """

    records: list[Record]
    of: int


def spread(records: RecordStore, since_s: float, until_s: float, size: int = SIZE) -> Sample:
    """A sample of the routed requests of this time; all of them where there are no more than `size`."""
    first = since_s // HOUR_S * HOUR_S
    # Of a long time, there are too many hours to read.
    is_long = until_s - since_s > _LONG_S
    unit: Grouping = "day" if is_long else "hour"
    unit_s = DAY_S if is_long else HOUR_S
    groups = records.totals([unit, "policy"], first, until_s, SURFACES)
    counts: dict[int, int] = {}
    for group in groups:
        start, policy = group.group
        if policy:
            counts[int(start)] = counts.get(int(start), 0) + group.requests
    starts, of = sorted(counts), sum(counts.values())
    if of <= size:
        return Sample(records.tail(size, Filter(routed=True, since=since_s, until=until_s), prompts=False), of)
    found: list[Record] = []
    step = math.ceil(len(starts) / _SLICES)
    slices = [starts[at : at + step] for at in range(0, len(starts), step)]
    ends = [*(some[0] for some in slices[1:]), until_s]
    taken = itertools.accumulate(sum(counts[start] for start in some) for some in slices)
    before = 0
    for some, end_s, total in zip(slices, ends, taken, strict=True):
        # Rounded as a running total, so that together they are `size`.
        share, before = round(size * total / of) - before, round(size * total / of)
        if share:
            beginning = max(float(some[0]), since_s)
            wanted = Filter(routed=True, since=beginning, until=min(end_s, some[-1] + unit_s))
            found += records.tail(share, wanted, prompts=False)
    return Sample(found, of)
