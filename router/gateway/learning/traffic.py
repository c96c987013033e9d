"""Once an hour, one worker of all gateways compares the prompts of the last whole day with those of the days before."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import msgspec

from router.analysis.drift.traffic import REFERENCE_DAYS, compared_days, read_days
from router.errors import PulvinarError
from router.perceive.predictor import Predictor
from router.store.records.protocol import RecordStore
from router.store.records.totals import DAY_S, HOUR_S
from router.store.state.protocol import Blob, StateError, StateStore

_LOG = logging.getLogger(__name__)
_NAME = "traffic/day"
_EVERY_S = 300.0


class _Tested(msgspec.Struct, frozen=True, array_like=True):
    """The hour of the test, in hours since 1970, and in what the prompts have changed."""

    hour: int
    changed: tuple[str, ...] = ()


class TrafficWatch:
    """In what the prompts of the last whole day have changed, as all gateways know. `read_records` opens the records,
    None without any.
    """

    def __init__(
        self,
        store: StateStore,
        read_records: Callable[[], RecordStore | None] | None,
        predictor: Callable[[], Predictor],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._read_records, self._predictor, self._clock = store, read_records, predictor, clock
        self.changed: tuple[str, ...] = ()

    async def run(self) -> None:
        """Look every five minutes whether an hour has passed, until cancelled."""
        while True:
            await asyncio.sleep(_EVERY_S)
            await self.refresh()

    async def refresh(self) -> None:
        """Read what was found in this hour, or find it."""
        try:
            blobs = await self._store.blobs_after(0, _NAME)
            blob, hour = blobs[0] if blobs else Blob(_NAME, 0, b""), int(self._clock() // HOUR_S)
            tested = _tested(blob.content)
            self.changed = tested.changed
            if self._read_records is None or tested.hour >= hour:
                return
            # Others see from now on that the hour is taken.
            taken = msgspec.structs.replace(blob, content=msgspec.json.encode(_Tested(hour, tested.changed)))
            if version := await self._store.swap_blob(taken, self._clock()):
                self.changed = await asyncio.to_thread(self._test)
                found = Blob(_NAME, version, msgspec.json.encode(_Tested(hour, self.changed)))
                await self._store.swap_blob(found, self._clock())
        except StateError:
            return
        except (PulvinarError, OSError) as error:
            _LOG.error("the prompts of the last day could not be read: %s", error)

    def _test(self) -> tuple[str, ...]:
        records = None if self._read_records is None else self._read_records()
        if records is None:
            return ()
        today_s = self._clock() // DAY_S * DAY_S
        with records:
            days = read_days(records, today_s - (1 + REFERENCE_DAYS) * DAY_S, today_s, self._predictor())
        if not days or days[-1].start_s != today_s - DAY_S:
            return ()
        tests = compared_days(days)
        return tuple(test.aspect for test in tests if test.is_alarm and test.day == tests[-1].day)


def _tested(content: bytes) -> _Tested:
    try:
        return msgspec.json.decode(content, type=_Tested)
    except msgspec.DecodeError:
        return _Tested(0)
