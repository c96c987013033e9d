from __future__ import annotations

import numpy as np
import pytest

from router.learn.evaluation.bootstrap import MethodScores, best_of, compare, resamples


@pytest.fixture(scope="module")
def scores() -> np.ndarray:
    return (np.random.default_rng(0).random((400, 3)) < [0.3, 0.5, 0.7]).astype(float)


def noisy(scores: np.ndarray, noise: float, seed: int = 1) -> np.ndarray:
    return scores + np.random.default_rng(seed).normal(0, noise, scores.shape)


def test_every_draw_has_as_many_prompts_as_the_set() -> None:
    weights = resamples(50, 7, random_state=3)
    assert weights.shape == (7, 50)
    assert (weights.sum(axis=1) == 50).all()


def test_the_same_random_state_gives_the_same_intervals(scores: np.ndarray) -> None:
    method = [MethodScores("x", noisy(scores, 1))]
    assert compare(method, scores, draws=50) == compare(method, scores, draws=50)
    assert compare(method, scores, draws=50) != compare(method, scores, draws=50, random_state=1)


def test_an_interval_contains_its_figure(scores: np.ndarray) -> None:
    (line,) = compare([MethodScores("x", noisy(scores, 1))], scores, np.tile([1.0, 2.0, 4.0], (400, 1)), draws=200)
    for figure in ("auc", "quality", "captured", "brier", "ece", "aiq", "regret"):
        low, high = line.intervals[figure]
        assert low <= getattr(line, figure) <= high, figure


def test_a_bootstrap_interval_of_a_mean_has_the_theoretical_width(scores: np.ndarray) -> None:
    (line,) = compare([MethodScores("constant", np.tile([0.0, 0.0, 1.0], (400, 1)), False)], scores, draws=2000)
    low, high = line.intervals["quality"]
    deviation = np.sqrt(line.quality * (1 - line.quality) / 400)
    assert high - low == pytest.approx(2 * 1.96 * deviation, rel=0.1)


def test_more_prompts_make_narrower_intervals(scores: np.ndarray) -> None:
    def width(rows: int) -> float:
        (line,) = compare([MethodScores("x", noisy(scores, 1)[:rows])], scores[:rows], draws=200)
        return line.intervals["auc"][1] - line.intervals["auc"][0]

    assert width(400) < width(50)


def test_a_method_is_exactly_level_with_itself(scores: np.ndarray) -> None:
    values = noisy(scores, 1)
    _, line = compare([MethodScores("ours", values), MethodScores("twin", values)], scores, draws=50)
    assert {(difference.value, difference.low, difference.high) for difference in line.minus_ours.values()} == {
        (0.0, 0.0, 0.0)
    }


def test_a_paired_difference_has_a_narrower_interval_than_the_figures(scores: np.ndarray) -> None:
    values = noisy(scores, 1)
    ours, line = compare([MethodScores("ours", values), MethodScores("x", noisy(values, 0.05))], scores, draws=200)
    difference = line.minus_ours["quality"]
    assert difference.high - difference.low < ours.intervals["quality"][1] - ours.intervals["quality"][0]


def test_a_clearly_better_method_has_a_difference_above_zero(scores: np.ndarray) -> None:
    _, line = compare(
        [MethodScores("ours", noisy(scores, 2)), MethodScores("x", noisy(scores, 0.5))], scores, draws=100
    )
    assert line.minus_ours["auc"].low > 0


def test_without_draws_there_are_no_intervals(scores: np.ndarray) -> None:
    (line,) = compare([MethodScores("x", noisy(scores, 1))], scores, draws=0)
    assert (line.intervals, line.minus_ours) == ({}, {})


def test_a_method_without_a_price_has_no_cost_figures(scores: np.ndarray) -> None:
    (line,) = compare([MethodScores("random", noisy(scores, 9), priced=False)], scores, np.tile([1.0, 2, 4], (400, 1)))
    assert (line.aiq, line.cost_99, line.curve) == (None, None, ())


def test_the_best_line_is_chosen_among_those_that_have_the_figure(scores: np.ndarray) -> None:
    lines = compare(
        [
            MethodScores("a", noisy(scores, 2)),
            MethodScores("b", noisy(scores, 1)),
            MethodScores("c", scores, forecasts=False),
        ],
        scores,
        draws=0,
    )
    best = best_of(lines, "auc")
    assert best is not None
    assert best.method == "b"
    assert best_of(lines, "apgr") is None
