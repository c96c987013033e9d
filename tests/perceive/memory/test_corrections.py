"""How the error memory enters a forecast."""

import numpy as np

from router.cards.catalog import Catalog
from router.perceive.memory.card import CHOICES, ROWS, SKETCH, CardView
from router.perceive.memory.corrections import (
    NO_CORRECTIONS,
    Correction,
    Corrections,
    MemoryView,
    corrected,
    version_of,
)
from router.perceive.memory.sketch import TABLES
from router.types import Forecast
from tests.decide.cards import card

_CATALOG = Catalog([card("a"), card("b"), card("c")])


def _forecast() -> Forecast:
    values = np.array([0.9, 0.5, 0.1])
    return Forecast(values, values / 10, values / 20, values, *[np.ones(3)] * 5, compared=values)


def _view(choice: int | None, mean: float = -0.3) -> CardView:
    return CardView(np.full((ROWS, 1), mean), np.full(ROWS, 0.01), choice, 0.02)


def test_without_corrections_the_forecast_is_the_same_object() -> None:
    forecast = _forecast()
    assert corrected(forecast, _CATALOG, NO_CORRECTIONS) is forecast
    assert corrected(forecast, _CATALOG, Corrections("v", (Correction("unknown", 0.1, 0.1, 0.1),))) is forecast


def test_a_correction_changes_one_card_and_widens_its_doubt() -> None:
    before = _forecast()
    after = corrected(before, _CATALOG, Corrections("v", (Correction("a", -0.4, -0.2, 0.01),)))
    assert after.quality.tolist() == [0.5, 0.5, 0.1]
    assert after.compared is after.quality
    assert after.mean_quality.tolist() == [0.7, 0.5, 0.1]
    assert after.quality_std[0] > before.quality_std[0]
    assert after.independent_std[0] > before.independent_std[0]
    assert after.quality_std[1:].tolist() == before.quality_std[1:].tolist()


def test_a_corrected_quality_stays_a_probability() -> None:
    both = (Correction("a", 0.6, 0.6, 0.0), Correction("c", -0.6, -0.6, 0.0))
    after = corrected(_forecast(), _CATALOG, Corrections("v", both))
    assert ((after.quality > 0) & (after.quality < 1)).all()


def test_only_cards_with_a_strength_are_corrected() -> None:
    view = MemoryView("v", {"b": _view(None), "a": _view(1), "c": _view(0)})
    corrections = view.on(np.zeros(TABLES, dtype=np.intp))
    assert [(each.card, each.on_prompt) for each in corrections] == [("a", -0.3), ("c", -0.15)]
    assert not MemoryView("v", {"b": _view(None)})
    assert MemoryView("v", {"b": _view(None)}).version == ""


def test_cards_that_the_operator_believes_something_of_are_left_out() -> None:
    view = MemoryView("v", {"a": _view(1), "c": _view(1)})
    assert [each.card for each in view.on(np.zeros(TABLES, dtype=np.intp), without={"a"})] == ["c"]


def test_the_sketch_says_what_is_particular_to_a_kind_of_prompt() -> None:
    means = np.zeros((ROWS, 1))
    means[SKETCH] = -0.4
    choice = CHOICES.index((SKETCH, 1.0))
    view = MemoryView("v", {"a": CardView(means, np.zeros(ROWS), choice, 0.02)})
    cells = np.zeros(TABLES, dtype=np.intp)
    assert view.has_sketch
    assert view.on(cells)[0].on_prompt == -0.4 / TABLES
    assert view.on(cells + 1)[0].on_prompt == 0.0


def test_the_version_changes_with_that_of_any_card() -> None:
    assert version_of({"a": 1, "b": 2}) == version_of({"b": 2, "a": 1}) != version_of({"a": 1, "b": 3})
