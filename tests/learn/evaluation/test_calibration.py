from __future__ import annotations

import numpy as np
import pytest

from router.learn.evaluation.calibration import coverage, reliability


def outcomes(chance: np.ndarray, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random(chance.shape) < chance).astype(float)


def test_bins_have_the_mean_forecast_and_the_mean_score() -> None:
    bins = reliability(np.array([[1.0], [0.0], [1.0], [np.nan]]), np.array([[0.9], [0.91], [0.1], [0.5]]))
    assert [(row.forecast, row.score, row.outcomes) for row in bins] == [
        (pytest.approx(0.1), 1.0, 1),
        (pytest.approx(0.905), 0.5, 2),
    ]


def test_forecasts_beyond_0_and_1_count_as_certain() -> None:
    (low, high) = reliability(np.array([[0.0, 1.0]]), np.array([[-0.2, 1.3]]))
    assert (low.forecast, high.forecast) == (0.0, 1.0)


def test_intervals_of_true_probabilities_cover_four_in_five() -> None:
    chance = np.random.default_rng(1).random((6000, 20))
    seen = coverage(outcomes(chance), chance, np.zeros_like(chance), ["a"] * 6000)
    assert seen.bin_cells == 300
    assert seen.by_bin == pytest.approx(0.8, abs=0.07)


def test_intervals_of_wrong_forecasts_cover_where_the_uncertainty_is_large_enough() -> None:
    rng = np.random.default_rng(2)
    chance = np.full((3000, 60), 0.5)
    wrong = np.tile(0.5 + rng.normal(0, 0.1, 60), (3000, 1))
    scores, domains = outcomes(chance), ["a"] * 3000
    blind = coverage(scores, wrong, np.zeros_like(wrong), domains)
    honest = coverage(scores, wrong, np.full_like(wrong, 0.1), domains)
    assert blind.by_domain is not None
    assert honest.by_domain is not None
    assert blind.by_domain < 0.4
    assert honest.by_domain == pytest.approx(0.8, abs=0.12)


def test_cells_of_fewer_than_twenty_prompts_are_not_counted() -> None:
    chance = np.full((39, 1), 0.5)
    seen = coverage(outcomes(chance), chance, np.zeros_like(chance), ["a"] * 20 + ["b"] * 19)
    assert (seen.bin_cells, seen.domain_cells) == (1, 1)


def test_without_a_large_enough_cell_there_is_no_coverage() -> None:
    seen = coverage(np.ones((3, 1)), np.ones((3, 1)), np.zeros((3, 1)), ["a", "b", "c"])
    assert (seen.by_bin, seen.by_domain) == (None, None)
