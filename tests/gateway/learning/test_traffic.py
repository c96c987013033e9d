"""The prompts of a day, compared once an hour."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np

from router.gateway.learning.traffic import traffic_watch
from router.perceive.predictor import Predictor
from router.store.records.journal import open_records
from router.store.records.protocol import RecordStore
from router.store.records.sqlite import SqliteRecords
from router.store.records.totals import DAY_S
from router.store.state.sqlite import SqliteState
from tests.store.records.examples import decision_record, record

_TODAY_S = 1_790_000_000 // DAY_S * DAY_S


def test_one_of_two_gateways_compares_the_last_day_and_both_know(predictor: Predictor, tmp_path: Path) -> None:
    usual = predictor.vectors([("What is 17 times 23?",), ("Write a haiku about rain.",), ("Who was Kant?",)])
    new = predictor.vectors([("Kirjoita runo kuusta.",)])
    rng, records = np.random.default_rng(0), []
    reader = "" if predictor.reader is None else predictor.reader.id
    for number in range(6 * 60):
        day, is_new = number // 60, number >= 300 and number % 2 == 0
        vector = new[0] if is_new else usual[rng.integers(3)]
        decision = decision_record(vector=vector.astype("<f4").tobytes(), reader=reader)
        at = _TODAY_S - (6 - day) * DAY_S + number % 60 * 1_000
        records.append(record(f"r{number}", at=at, decision=decision))
    with SqliteRecords.open(tmp_path) as store:
        store.add(records, _TODAY_S)
    opened = 0

    def read() -> RecordStore | None:
        nonlocal opened
        opened += 1
        return open_records(tmp_path)

    async def run() -> None:
        state = SqliteState()
        one, two = (traffic_watch(state, read, lambda: predictor, lambda: _TODAY_S + 60.0) for _ in range(2))
        await one.refresh()
        await two.refresh()
        assert one.latest is not None
        assert "topics" in one.latest
        assert one.latest == two.latest
        assert opened == 1
        # A gateway that keeps no records knows what others found.
        late = traffic_watch(state, None, lambda: predictor, lambda: _TODAY_S + 60.0)
        await late.refresh()
        assert late.latest == one.latest

    asyncio.run(run())


def test_a_gateway_without_records_leaves_the_period_to_the_others(predictor: Predictor, tmp_path: Path) -> None:
    SqliteRecords.open(tmp_path).close()
    asked = 0

    def read() -> RecordStore | None:
        nonlocal asked
        asked += 1
        return open_records(tmp_path)

    async def run() -> None:
        state = SqliteState()
        await traffic_watch(state, None, lambda: predictor, lambda: _TODAY_S + 60.0).refresh()
        await traffic_watch(state, read, lambda: predictor, lambda: _TODAY_S + 60.0).refresh()

    asyncio.run(run())
    assert asked == 1
