"""Changes in judged answers."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from router.analysis.drift.cusum import RULE, Cusum, change_of, changes_of
from router.types import Doubles


def _judged(rates: list[tuple[int, float]], seed: int = 0, forecast: float = 0.8) -> tuple[Doubles, Doubles]:
    """Judgements of which these many are right with these probabilities, and the forecasts."""
    rng = np.random.default_rng(seed)
    right = np.concatenate([np.full(count, rate) for count, rate in rates])
    return np.full(len(right), forecast), (rng.random(len(right)) < right).astype(np.float64)


def test_a_drop_is_found_with_its_beginning_and_size() -> None:
    change = change_of(*_judged([(400, 0.8), (300, 0.5)]))
    assert change is not None
    assert change.direction == "worse"
    assert change.since == pytest.approx(400, abs=30)
    assert 0 < change.at - 400 < 60
    assert change.expected == pytest.approx(0.8, abs=0.08)
    assert change.value < 0.6


def test_without_a_change_there_is_hardly_ever_an_alarm() -> None:
    assert len([seed for seed in range(10) if change_of(*_judged([(500, 0.8)], seed))]) <= 1


def test_forecasts_that_were_always_too_high_are_no_change() -> None:
    assert len([seed for seed in range(10) if change_of(*_judged([(500, 0.72)], seed))]) <= 1


def test_a_card_that_recovers_is_found_too() -> None:
    changes = changes_of(*_judged([(300, 0.8), (200, 0.5), (200, 0.8)]))
    assert [change.direction for change in changes] == ["worse", "better"]
    assert changes[1].since == pytest.approx(500, abs=30)


def test_one_failure_of_a_certain_answer_proves_at_most_the_shift() -> None:
    before = Cusum.start(1)
    assert before.add(0.9999, 0.0, 1).sums[0, 0] <= RULE.shift


def test_a_head_start_finds_a_change_at_the_beginning_sooner() -> None:
    eager = msgspec.structs.replace(RULE, head_start=0.5)
    found = [[change_of(*_judged([(300, 0.5)], seed), rule) for rule in (RULE, eager)] for seed in range(5)]
    assert all(first and second and second.at < first.at for first, second in found)
