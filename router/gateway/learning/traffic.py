"""In what the prompts of the last whole day have changed, and the gaps of the last week."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

import msgspec

from router.analysis.drift.traffic import REFERENCE_DAYS, compared_days, read_days
from router.analysis.gaps import MOST_NIGHTLY, NIGHTLY, Gaps, gaps_of
from router.gateway.learning.periodic import Periodic
from router.perceive.predictor import Predictor
from router.pipeline import Router
from router.store.records.protocol import RecordStore
from router.store.records.snapshots import CatalogSnapshot
from router.store.records.totals import DAY_S, HOUR_S
from router.store.state.protocol import StateStore

_DAY = "traffic/day"
_WEEK_S = 7 * DAY_S

ReadRecords = Callable[[], RecordStore | None]


def traffic_watch(
    store: StateStore,
    read_records: ReadRecords | None,
    predictor: Callable[[], Predictor],
    clock: Callable[[], float] = time.time,
) -> Periodic[tuple[str, ...]]:
    """In what the prompts of the last whole day have changed, looked for once an hour. `read_records` opens the
    records, None without any.
    """
    find = None if read_records is None else functools.partial(_changed_in, read_records, predictor)
    return Periodic(store, _DAY, tuple[str, ...], HOUR_S, find, clock=clock)


def gap_watch(
    store: StateStore,
    read_records: ReadRecords | None,
    router: Callable[[], Router],
    may_begin: Callable[[], bool] = lambda: True,
    clock: Callable[[], float] = time.time,
) -> Periodic[Gaps]:
    """The gaps of the last seven days, looked for once a UTC day, as soon after midnight as there is room for it."""
    find = None if read_records is None else functools.partial(_gaps_before, read_records, router)
    return Periodic(store, NIGHTLY, Gaps, DAY_S, find, may_begin=may_begin, clock=clock)


def _changed_in(read_records: ReadRecords, predictor: Callable[[], Predictor], now_s: float) -> tuple[str, ...] | None:
    records = read_records()
    if records is None:
        return None
    today_s = now_s // DAY_S * DAY_S
    with records:
        days = read_days(records, today_s - (1 + REFERENCE_DAYS) * DAY_S, today_s, predictor())
    if not days or days[-1].start_s != today_s - DAY_S:
        return ()
    tests = compared_days(days)
    return tuple(test.aspect for test in tests if test.is_alarm and test.day == tests[-1].day)


def _gaps_before(read_records: ReadRecords, router: Callable[[], Router], now_s: float) -> Gaps | None:
    records = read_records()
    if records is None:
        return None
    now = router()
    cards = CatalogSnapshot(now.catalog, now.evidence)
    with records:
        found = gaps_of(records, now_s - _WEEK_S, now_s, cards, now.predictor)
    return msgspec.structs.replace(found, gaps=found.gaps[:MOST_NIGHTLY])
