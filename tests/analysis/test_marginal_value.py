"""The value of cards by their forecasts, against sums that can be done by hand."""

from __future__ import annotations

import numpy as np
import pytest

from router.analysis.marginal_value import ForecastValue, values_of_matrix

QUALITIES = np.array([[0.9, 0.5, 0.8], [0.2, 0.9, 0.8]])
COSTS_USD = np.array([[0.05, 0.0, 0.0], [0.0, 0.1, 0.1]])
EVERYWHERE = np.ones((2, 3), dtype=bool)


def by_card(able: np.ndarray = EVERYWHERE) -> dict[str, ForecastValue]:
    return {each.card: each for each in values_of_matrix(("a", "b", "c"), QUALITIES, COSTS_USD, able)}


def test_the_value_is_what_the_next_best_card_costs_more() -> None:
    found = by_card()
    # a: 0.1 + 0.05 against c's 0.2 + 0; b: 0.1 + 0.1 against c's 0.2 + 0.1.
    assert found["a"].value_usd == pytest.approx((0.20 - 0.15) / 2)
    assert found["b"].value_usd == pytest.approx((0.30 - 0.20) / 2)
    assert (found["c"].value_usd, found["c"].best) == (0.0, 0.0)
    assert [each.best for each in found.values()] == [0.5, 0.5, 0.0]


def test_a_card_that_could_not_be_called_is_not_the_best() -> None:
    able = EVERYWHERE.copy()
    able[0, 0] = False
    found = by_card(able)
    assert (found["a"].best, found["a"].callable) == (0.0, 0.5)
    assert found["c"].best == 0.5


def test_a_request_that_no_card_could_answer_adds_nothing() -> None:
    able = np.array([[False, False, False], [True, True, True]])
    found = by_card(able)
    assert found["b"].value_usd == pytest.approx((0.30 - 0.20) / 2)
    assert sum(each.best for each in found.values()) == 0.5


def test_a_catalogue_of_one_card_has_its_value() -> None:
    [found] = values_of_matrix(("a",), QUALITIES[:, :1], COSTS_USD[:, :1], EVERYWHERE[:, :1])
    assert found.value_usd == pytest.approx(((1 - 0.15) + (1 - 0.8)) / 2)


def test_without_the_only_card_the_answer_is_as_wrong_as_one_can_be() -> None:
    able = np.array([[True, False, False], [False, True, False]])
    found = by_card(able)
    assert found["a"].value_usd == pytest.approx((1.0 - 0.15) / 2)
    assert "c" not in found
