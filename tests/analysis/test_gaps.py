"""Gaps in the routed requests: what an adapter would be worth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import numpy as np
import pytest

from router.analysis.gaps import Gap, gaps_of
from router.cards import Catalog
from router.perceive.predictor import Predictor
from router.store.records.snapshots import CatalogSnapshot
from router.store.records.sqlite import SqliteRecords
from tests.decide.cards import card
from tests.gateway.telemetry.records import DECISION, a_record


class _TwoCards:
    """Reads three numbers of a prompt: whether it is novel, and the quality of each of two cards."""

    id, width, reader = "two-cards", 3, None

    def profile(self, vectors: np.ndarray) -> Any:
        return SimpleNamespace(novelty=vectors[:, 0])

    def topics(self, vectors: np.ndarray) -> np.ndarray:
        # Those of novel prompts are equal, others differ.
        return np.column_stack([vectors[:, 0], 1.0 - vectors[:, 0], (1.0 - vectors[:, 0]) * np.arange(len(vectors))])

    def bind(self, catalog: Catalog, _: object = None) -> Any:
        qualities: Callable[[np.ndarray], np.ndarray] = lambda vectors: vectors[:, 1:]  # noqa: E731
        return SimpleNamespace(qualities=qualities)


def _gap(folder: Path, novel: list[tuple[float, float]]) -> Gap:
    """The gap of sixty novel prompts with these qualities in turn; each other prompt has a card of .9 and one of .7."""
    usual, records = [(0.9, 0.7), (0.7, 0.9)], []
    for number in range(160):
        qualities = novel[number % len(novel)] if number < 60 else usual[number % 2]
        vector = np.array([float(number < 60), *qualities], dtype="<f4").tobytes()
        decision = msgspec.structs.replace(DECISION, vector=vector, reader="")
        records.append(a_record(id=f"r{number}", at=1000.0 + number, decision=decision, session=f"s{number}"))
    cards = CatalogSnapshot(Catalog([card("one"), card("two")]), {})
    with SqliteRecords.open(folder) as opened:
        opened.add(records, 2000.0)
        (gap,) = gaps_of(opened, 0.0, 2000.0, cards, cast("Predictor", _TwoCards())).gaps
    return gap


def test_cards_that_complete_each_other_as_well_as_elsewhere_leave_nothing_to_gain(tmp_path: Path) -> None:
    gap = _gap(tmp_path, [(0.9, 0.7), (0.7, 0.9)])
    assert (gap.prompts, gap.forecast, gap.usual, gap.worth) == (60, 0.9, 0.9, 0.0)
    assert "nothing to gain" in gap.proposal


def test_a_gap_is_worth_what_its_best_cards_miss(tmp_path: Path) -> None:
    gap = _gap(tmp_path, [(0.4, 0.3), (0.2, 0.4)])
    assert (gap.card, gap.forecast) == ("two", 0.4)
    assert gap.worth == pytest.approx(0.5 * gap.weekly, rel=0.01)
    assert gap.proposal.startswith("train an adapter for ")
