"""The file of fitted latency, and what it does to a catalogue."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.cards import Catalog
from router.cards.machine.speeds import FILE_NAME, Speed, factors, read_speeds, write_speeds
from router.errors import FileError
from router.store.records.snapshots import catalogue_snapshot, read_catalogue
from tests.decide.cards import card

SPEED = Speed(2.5, 1.7, 214)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    assert read_speeds(tmp_path) == {}
    (tmp_path / FILE_NAME).write_bytes(write_speeds({"b": SPEED, "a": SPEED}))
    assert read_speeds(tmp_path) == {"a": SPEED, "b": SPEED}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "is not JSON"),
        ('{"cards": {"a": {"first": 0, "further": 1, "requests": 1}}}', "cards[...].first"),
        ('{"crads": {}}', "crads"),
    ],
)
def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path, content: str, problem: str) -> None:
    (tmp_path / FILE_NAME).write_text(content)
    with pytest.raises(FileError, match=FILE_NAME) as raised:
        read_speeds(tmp_path)
    assert problem in str(raised.value)


def test_speeds_hold_for_the_efforts_of_a_card_and_not_for_cards_that_are_gone() -> None:
    catalog = Catalog([card("a", efforts={"low": {}}), card("b")]).with_speeds({"a": SPEED, "gone": SPEED})
    assert dict(catalog.speeds) == {"a": SPEED}
    first, further = factors(catalog.ids_without_effort, catalog.speeds)
    assert first.tolist() == [2.5, 2.5, 1.0]
    assert further.tolist() == [1.7, 1.7, 1.0]


def test_stated_latency_needs_no_fit() -> None:
    stated = card("a", latency={"ttft": "250ms", "tpot": "12ms"})
    half = card("b", latency={"tpot": "12ms"})
    catalog = Catalog([stated, half]).with_speeds({"a": SPEED, "b": SPEED})
    assert catalog.fitted_speed(stated) is None
    assert catalog.fitted_speed(half) == SPEED


def test_speeds_are_part_of_the_snapshot_of_the_cards() -> None:
    plain = Catalog([card("a", size="8B")])
    fitted = plain.with_speeds({"a": SPEED})
    assert read_catalogue(catalogue_snapshot(fitted, {}).content).catalog.speeds == {"a": SPEED}
    assert read_catalogue(catalogue_snapshot(plain, {}).content).catalog.speeds == {}
    assert catalogue_snapshot(fitted, {}).fingerprint != catalogue_snapshot(plain, {}).fingerprint
