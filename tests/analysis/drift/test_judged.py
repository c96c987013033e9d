"""Alarms about one card."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from router.analysis.drift.calibration import BINS, calibration_of, counted
from router.analysis.drift.judged import CardDrift, Judged
from router.analysis.drift.stored import from_bytes, to_bytes

_START_S = 1_790_000_000.0


def _after(
    drift: CardDrift, count: int, right: float, *, seed: int = 0, kind: str = "", keys: str = "abcd"
) -> CardDrift:
    rng = np.random.default_rng(seed)
    for _ in range(count):
        at_s = _START_S + 60.0 * drift.judged
        drift = drift.add(Judged(at_s, keys[rng.integers(len(keys))], 0.8, float(rng.random() < right), kind))
    return drift


def test_a_drop_is_one_alarm_that_says_since_when() -> None:
    drift = _after(CardDrift.empty("b"), 300, 0.8)
    assert not drift.alarms
    (alarm,) = _after(drift, 120, 0.4, seed=1).alarms
    assert (alarm.direction, alarm.kind, alarm.key, alarm.is_open) == ("worse", "", None, True)
    assert alarm.since_s == pytest.approx(_START_S + 300 * 60, abs=1_800)
    assert alarm.value < alarm.expected - 0.2


def test_an_alarm_ends_when_the_answers_are_as_before() -> None:
    drift = _after(_after(CardDrift.empty("b"), 300, 0.8), 150, 0.4, seed=1)
    (alarm,) = _after(drift, 300, 0.8, seed=2).alarms
    assert alarm.direction == "worse"
    assert alarm.ended_s == pytest.approx(_START_S + 450 * 60, abs=3_600)


def test_a_drop_on_one_kind_of_prompt_names_that_kind() -> None:
    drift, rng = CardDrift.empty("b"), np.random.default_rng(3)
    for number in range(1_200):
        kind = "maths" if number % 5 == 0 else "chat"
        right = 0.3 if kind == "maths" and number > 700 else 0.8
        drift = drift.add(Judged(_START_S + number, "abcd"[number % 4], 0.8, float(rng.random() < right), kind))
    assert "maths" in {alarm.kind for alarm in drift.alarms}
    assert "chat" not in {alarm.kind for alarm in drift.alarms}


def test_the_false_judgements_of_one_key_raise_no_alarm_for_everybody() -> None:
    drift = _after(CardDrift.empty("b"), 200, 0.8)
    rng = np.random.default_rng(5)
    for number in range(400):
        drift = drift.add(Judged(_START_S + 50_000 + number, "eve", 0.8, 0.0))
        drift = drift.add(Judged(_START_S + 50_000 + number, "abcd"[number % 4], 0.8, float(rng.random() < 0.8)))
    assert {alarm.key for alarm in drift.alarms} == {"eve"}


def test_where_there_is_one_key_its_alarm_is_for_everybody_and_ends_with_the_change() -> None:
    rng, drift = np.random.default_rng(7), CardDrift.empty("b")
    for number in range(700):
        right = 0.3 if 300 <= number < 400 else 0.9
        judged = Judged(_START_S + 60.0 * number, "", 0.9, float(rng.random() < right))
        drift = drift.add(judged, one_key=True)
        if number == 399:
            (alarm,) = drift.alarms
            assert (alarm.direction, alarm.key, alarm.is_open) == ("worse", None, True)
            raised_s = alarm.raised_s
    (alarm,) = drift.alarms
    assert (alarm.direction, alarm.raised_s) == ("worse", raised_s)
    assert alarm.ended_s == pytest.approx(_START_S + 400 * 60, abs=1_800)


def test_the_operator_needs_no_other_witness() -> None:
    drift = _after(CardDrift.empty("b"), 200, 0.8)
    for number in range(40):
        drift = drift.add(Judged(_START_S + 50_000 + number, None, 0.8, 0.0))
    assert [alarm.key for alarm in drift.alarms if alarm.direction == "worse"][:1] == [None]


def test_its_size_does_not_grow() -> None:
    drift = _after(CardDrift.empty("b"), 100, 0.8, kind="maths")
    size = len(to_bytes(drift))
    later = msgspec.structs.replace(_after(drift, 600, 0.8, kind="maths", seed=4, keys="abcdefghij"), alarms=())
    assert len(to_bytes(later)) < size + 100
    assert len(to_bytes(later)) < 10_000


def test_it_is_read_as_it_was_written() -> None:
    drift = _after(_after(CardDrift.empty("b"), 300, 0.8), 100, 0.3, kind="chat", seed=1)
    again = from_bytes(to_bytes(drift))
    assert (again.alarms, again.tenants, again.kinds, again.judged) == (
        drift.alarms,
        drift.tenants,
        drift.kinds,
        drift.judged,
    )
    np.testing.assert_allclose(again.tests.sums, drift.tests.sums, rtol=1e-6)


@pytest.mark.parametrize("damage", [b"nonsense", to_bytes(CardDrift.empty("b"))[:-8]])
def test_damaged_content_is_refused(damage: bytes) -> None:
    with pytest.raises(ValueError, match="damaged"):
        from_bytes(damage)


def test_calibration_tells_a_bias_from_chance() -> None:
    rng = np.random.default_rng(0)
    right, high = np.zeros((BINS, 4)), np.zeros((BINS, 4))
    for forecast in rng.uniform(0.3, 0.95, 600).tolist():
        right = counted(right, forecast, float(rng.random() < forecast))
        high = counted(high, forecast, float(rng.random() < forecast - 0.25))
    fair, biased = calibration_of(right), calibration_of(high)
    assert fair is not None
    assert biased is not None
    assert biased.bias == pytest.approx(-0.25, abs=0.06)
    assert biased.interval[0] > fair.interval[1]
    assert fair.error == pytest.approx(fair.by_chance, abs=0.03)
    assert calibration_of(np.zeros((BINS, 4))) is None
