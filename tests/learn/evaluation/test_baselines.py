from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import RidgeCV

from router.learn.evaluation.baselines import (
    QUICK,
    SLOW,
    Boosting,
    ClusterMeans,
    LowRank,
    NearestNeighbours,
    Ridge,
)
from router.learn.evaluation.methods import longer_to_stronger
from router.learn.evaluation.metrics import brier, mean_auc

ALL = {**QUICK, **SLOW}
Make = Callable[[int], Any]


@pytest.fixture(scope="module")
def planted() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Prompts in two clusters, one model good at each and one that is equally good at both; questions by number."""
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 2, 300)
    prompts = rng.normal(0, 0.4, (300, 8)) + np.where(kind[:, None] == 1, 1.0, -1.0)
    chance = np.column_stack([np.where(kind == 1, 0.9, 0.1), np.where(kind == 0, 0.9, 0.1), np.full(300, 0.5)])
    return prompts.astype(np.float32), (rng.random(chance.shape) < chance).astype(float), np.arange(300)


def fitted(make: Make, planted: tuple[np.ndarray, np.ndarray, np.ndarray], seed: int = 0) -> np.ndarray:
    prompts, outcomes, questions = planted
    forecasts: np.ndarray = make(seed).fit(prompts[:200], outcomes[:200], questions[:200]).predict(prompts[200:])
    return forecasts


@pytest.fixture(scope="module")
def forecasts_of(planted: Any) -> Callable[[str], np.ndarray]:
    """The forecasts of a baseline that was fitted to the planted outcomes."""
    return functools.cache(lambda name: fitted(ALL[name], planted))


@pytest.mark.parametrize("name", ALL)
def test_it_learns_which_model_is_good_at_what(
    name: str, planted: Any, forecasts_of: Callable[[str], np.ndarray]
) -> None:
    forecasts = forecasts_of(name)
    area = mean_auc(planted[1][200:, :2], forecasts[:, :2])
    assert area is not None
    assert area > 0.8


@pytest.mark.parametrize("name", ALL)
def test_it_forecasts_better_than_the_mean(name: str, planted: Any, forecasts_of: Callable[[str], np.ndarray]) -> None:
    mean = np.tile(planted[1][:200].mean(axis=0), (100, 1))
    assert brier(planted[1][200:], np.clip(forecasts_of(name), 0, 1)) < brier(planted[1][200:], mean) - 0.03


@pytest.mark.parametrize("name", ALL)
def test_it_learns_nothing_from_shuffled_outcomes(name: str, planted: Any) -> None:
    prompts, outcomes, questions = planted
    shuffled = outcomes.copy()
    shuffled[:200] = outcomes[np.random.default_rng(5).permutation(200)]
    mean = np.tile(outcomes[:200].mean(axis=0), (100, 1))
    forecasts = np.clip(fitted(ALL[name], (prompts, shuffled, questions)), 0, 1)
    assert brier(outcomes[200:], forecasts) > brier(outcomes[200:], mean) - 0.015


@pytest.mark.parametrize("name", ALL)
def test_it_gives_the_same_forecasts_twice(name: str, planted: Any, forecasts_of: Callable[[str], np.ndarray]) -> None:
    assert (fitted(ALL[name], planted) == forecasts_of(name)).all()


@pytest.mark.parametrize("name", ALL)
def test_missing_outcomes_and_a_model_that_was_never_run_are_accepted(name: str, planted: Any) -> None:
    prompts, outcomes, questions = planted
    holed = outcomes.copy()
    holed[np.random.default_rng(6).random(holed.shape) < 0.4] = np.nan
    holed[:, 2] = np.nan
    forecasts = fitted(ALL[name], (prompts, holed, questions))
    assert np.isfinite(forecasts).all()
    area = mean_auc(outcomes[200:, :2], forecasts[:, :2])
    assert area is not None
    assert area > 0.75


@pytest.mark.parametrize("name", ALL)
def test_scores_between_0_and_1_are_used_unchanged(name: str, planted: Any) -> None:
    prompts, outcomes, questions = planted
    halved = 0.25 + outcomes / 2
    forecasts = fitted(ALL[name], (prompts, halved, questions))
    assert brier(halved[200:], forecasts) < 0.06


@pytest.mark.parametrize("name", ALL)
def test_three_prompts_are_enough_for_a_forecast(name: str) -> None:
    prompts, outcomes = np.eye(3, 4, dtype=np.float32), np.array([[1.0], [0.0], [1.0]])
    forecasts = ALL[name](0).fit(prompts, outcomes, np.arange(3)).predict(prompts)
    assert forecasts.shape == (3, 1)
    assert np.isfinite(forecasts).all()


@pytest.mark.parametrize("name", ALL)
def test_it_follows_the_scikit_learn_contract_for_parameters(name: str) -> None:
    estimator = ALL[name](7)
    assert clone(estimator).get_params() == estimator.get_params()


def test_the_mean_of_neighbours_is_shrunk_to_the_mean_of_the_model() -> None:
    prompts = np.array([[1.0, 0.0], [0.0, 1.0]] * 5, dtype=np.float32)
    outcomes = np.array([[1.0], [0.0]] * 5)
    near = NearestNeighbours(ks=(5,)).fit(prompts, outcomes).predict(prompts[:1])
    # Five neighbours all right, and ten outcomes of a mean of a half.
    assert near[0, 0] == pytest.approx((5 + 10 * 0.5) / 15)


def test_the_number_of_neighbours_is_chosen_on_a_validation_part() -> None:
    rng = np.random.default_rng(1)
    prompts = rng.normal(size=(400, 5))
    noise = (rng.random((400, 1)) < 0.5).astype(float)
    assert NearestNeighbours(ks=(1, 300)).fit(prompts, noise, np.arange(400)).k_ == 300


def test_a_cluster_without_outcomes_of_a_model_has_its_mean() -> None:
    prompts = np.array([[1.0, 0.0]] * 10 + [[0.0, 1.0]] * 10)
    outcomes = np.column_stack([np.repeat([1.0, 0.0], 10), np.r_[np.ones(5), np.zeros(5), np.full(10, np.nan)]])
    forecasts = ClusterMeans(clusters=(2,)).fit(prompts, outcomes, np.arange(20)).predict(prompts)
    assert forecasts[-1, 1] == pytest.approx(0.5)


def test_probabilities_of_the_networks_lie_between_0_and_1(planted: Any) -> None:
    for estimator in (LowRank(), LowRank(hidden=8), LowRank(hidden=8, activation="relu")):
        forecasts = estimator.fit(*planted).predict(100 * planted[0])
        assert ((forecasts >= 0) & (forecasts <= 1)).all()


def test_a_hidden_layer_learns_a_nonlinear_function() -> None:
    rng = np.random.default_rng(2)
    prompts = rng.choice([-1.0, 1.0], (600, 2)) + rng.normal(0, 0.1, (600, 2))
    outcomes = (prompts[:, :1] * prompts[:, 1:] > 0).astype(float)
    settings: dict[str, Any] = {"steps": 3000, "rate": 2e-2, "patience": 30, "penalties": (0.01,)}
    bent = LowRank(hidden=16, activation="relu", **settings).fit(prompts, outcomes, np.arange(600))
    straight = LowRank(**settings).fit(prompts, outcomes, np.arange(600))
    assert brier(outcomes, bent.predict(prompts)) < 0.1
    assert brier(outcomes, straight.predict(prompts)) > 0.2


def test_no_trees_are_fitted_for_a_model_that_is_always_right() -> None:
    prompts = np.random.default_rng(3).normal(size=(100, 4))
    outcomes = np.column_stack([np.ones(100), prompts[:, 0] > 0]).astype(float)
    forecasts = Boosting(components=4).fit(prompts, outcomes).predict(prompts)
    assert (forecasts[:, 0] == 1.0).all()
    assert mean_auc(outcomes, forecasts) == pytest.approx(1.0, abs=0.02)


def test_a_table_of_one_model_is_accepted() -> None:
    prompts = np.random.default_rng(4).normal(size=(50, 4))
    assert Ridge().fit(prompts, prompts[:, :1]).predict(prompts).shape == (50, 1)


@pytest.mark.parametrize("rows", [12, 200])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-9), (np.float32, 1e-5)])
def test_the_ridge_is_that_of_scikit_learn_with_more_and_with_fewer_prompts_than_features(
    rows: int, dtype: type[np.floating[Any]], tolerance: float
) -> None:
    rng = np.random.default_rng(5)
    prompts = rng.normal(size=(rows, 30)).astype(dtype)
    prompts[:, -1] = 1
    outcomes = np.column_stack([prompts[:, 0] > 0, rng.random(rows) < 0.5, np.ones(rows)]).astype(float)
    ours = Ridge().fit(prompts, outcomes)
    theirs = RidgeCV(alphas=ours.alphas, alpha_per_target=True).fit(ours.scaler_.transform(prompts), outcomes)
    assert (ours.alphas_ == theirs.alpha_).all()
    assert ours.predict(prompts) == pytest.approx(theirs.predict(ours.scaler_.transform(prompts)), abs=tolerance)


def test_trees_of_models_run_on_the_same_prompts_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(6)
    prompts = rng.normal(size=(120, 4))
    outcomes = (prompts[:, :3] + rng.normal(size=(120, 3)) > 0).astype(float)
    outcomes[::3, 1] = np.nan
    fitted = Boosting(components=4).fit(prompts, outcomes)
    forecasts, components = fitted.predict(prompts), fitted.pca_.transform(prompts)
    settings: dict[str, Any] = {"max_iter": 60, "max_leaf_nodes": 15, "learning_rate": 0.08, "early_stopping": False}
    for column, forecast in zip(outcomes.T, forecasts.T, strict=True):
        known = ~np.isnan(column)
        alone = HistGradientBoostingRegressor(random_state=0, **settings).fit(components[known], column[known])
        assert (forecast == alone.predict(components)).all()


def test_the_longer_half_goes_to_the_strong_model() -> None:
    lengths = np.array([10.0, 20.0, 30.0, 40.0, 5.0, 50.0])
    values = longer_to_stronger(lengths, np.arange(4), np.array([4, 5]), strong=2, weak=0, models=3)
    assert values.argmax(axis=1).tolist() == [0, 2]
