from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import check_estimator

from router.learn.ridge import TwoLevelRidge, additive_effects

EXPECTED_FAILURES = {
    "check_supervised_y_no_nan": "NaN in y is a hole in the table: that model was not run on that prompt",
}


def linear_table(
    prompts: int = 600, width: int = 8, models: int = 5, noise: float = 0.01
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, noisy outcomes, and the outcomes without the noise."""
    rng = np.random.default_rng(1)
    features = rng.normal(3.0, 2.0, (prompts, width))
    weights = rng.normal(0, 0.1, (width, 1)) + rng.normal(0, 0.05, (width, models))
    clean = rng.random(models) + (features - 3.0) @ weights
    return features, clean + rng.normal(0, noise, clean.shape), clean


def test_it_passes_scikit_learns_own_checks() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(TwoLevelRidge(), expected_failed_checks=EXPECTED_FAILURES, on_skip=None, on_fail=None)
    assert len(results) > 30
    assert [result["check_name"] for result in results if result["status"] == "failed"] == []
    assert {result["check_name"] for result in results if result["status"] == "xfail"} == set(EXPECTED_FAILURES)


def test_parameters_can_be_read_set_and_cloned() -> None:
    ridge = TwoLevelRidge(alphas=(1.0, 10.0))
    assert ridge.get_params() == {"alphas": (1.0, 10.0)}
    assert clone(ridge).set_params(alphas=(5.0,)).get_params() == {"alphas": (5.0,)}


def test_fit_returns_itself_and_learned_attributes_end_in_an_underscore() -> None:
    ridge = TwoLevelRidge()
    before = set(vars(ridge))
    features, outcomes, _ = linear_table(60)
    assert ridge.fit(features, outcomes) is ridge
    assert all(name.endswith("_") for name in set(vars(ridge)) - before)


def test_predicting_before_fitting_is_an_error() -> None:
    with pytest.raises(NotFittedError):
        TwoLevelRidge().predict([[1.0]])


def test_a_planted_linear_table_is_recovered() -> None:
    features, outcomes, clean = linear_table()
    found = TwoLevelRidge(alphas=(0.1, 1.0, 10.0)).fit(features[:400], outcomes[:400]).predict(features[400:])
    assert np.corrcoef(found.ravel(), clean[400:].ravel())[0, 1] > 0.99
    assert np.abs(found - clean[400:]).mean() < 0.03


def test_one_penalty_alone_is_enough() -> None:
    features, outcomes, _ = linear_table(60)
    assert np.isfinite(TwoLevelRidge(alphas=(10.0,)).fit(features, outcomes).predict(features)).all()


def test_a_planted_table_with_holes_is_recovered() -> None:
    features, outcomes, clean = linear_table()
    holes = np.random.default_rng(2).random(outcomes.shape) < 0.5
    outcomes[holes] = np.nan
    found = TwoLevelRidge(alphas=(0.1, 1.0, 10.0)).fit(features[:400], outcomes[:400]).predict(features[400:])
    assert np.corrcoef(found.ravel(), clean[400:].ravel())[0, 1] > 0.97


def test_models_run_on_different_prompts_are_comparable() -> None:
    # The second model only saw the hard half and so has the lower mean, though it is the abler of the two.
    rng = np.random.default_rng(3)
    hard = np.repeat([0.0, 1.0], 200)
    features = np.column_stack([hard, rng.normal(size=400)])
    outcomes = 0.8 - 0.6 * hard[:, None] + np.array([0.0, 0.15, 0.0]) + rng.normal(0, 0.02, (400, 3))
    outcomes[:180, 1] = np.nan
    outcomes[220:, 0] = np.nan
    assert np.nanmean(outcomes[:, 1]) < np.nanmean(outcomes[:, 0])
    expected = TwoLevelRidge().fit(features, outcomes).predict(features)
    assert (expected[:, 1] > expected[:, 0]).all()


def test_a_model_without_outcomes_gets_the_populations_forecast() -> None:
    features, outcomes, _ = linear_table(200)
    outcomes[:, 2] = np.nan
    ridge = TwoLevelRidge().fit(features, outcomes)
    assert not ridge.particular_[:, 2].any()
    others = np.delete(ridge.ability_, 2)
    assert others.min() < ridge.ability_[2] < others.max()


def test_a_model_with_few_outcomes_has_nothing_particular() -> None:
    features, outcomes, _ = linear_table(200)
    outcomes[10:, 2] = np.nan
    assert not TwoLevelRidge().fit(features, outcomes).particular_[:, 2].any()


def test_one_column_comes_back_as_one_column() -> None:
    features, outcomes, _ = linear_table(100)
    assert TwoLevelRidge().fit(features, outcomes[:, 0]).predict(features).shape == (100,)
    assert TwoLevelRidge().fit(features, outcomes[:, :1]).predict(features).shape == (100, 1)


@pytest.mark.parametrize(
    ("features", "outcomes"),
    [
        (np.ones((1, 4)), np.array([[1.0, 0.0]])),
        (np.eye(30), np.zeros((30, 3))),
        (np.ones((30, 4)), np.tile([1.0, 0.0], (30, 1))),
        (np.eye(30), np.full((30, 2), np.nan)),
        (np.random.default_rng(0).random((19, 4)), np.random.default_rng(1).random((19, 2))),
    ],
    ids=["one prompt", "all zero", "the same prompt over and over", "no outcomes", "few prompts"],
)
def test_a_degenerate_table_gives_finite_numbers(features: np.ndarray, outcomes: np.ndarray) -> None:
    ridge = TwoLevelRidge().fit(features, outcomes)
    assert np.isfinite(ridge.predict(features)).all()
    assert np.isfinite(ridge.residual_std_).all()


def test_a_model_that_is_always_wrong_is_forecast_to_be_wrong() -> None:
    features, outcomes, _ = linear_table(200)
    outcomes[:, 1] = 0.0
    assert np.abs(TwoLevelRidge(alphas=(0.1,)).fit(features, outcomes).predict(features)[:, 1]).max() < 0.1


def test_an_infinite_outcome_is_an_error() -> None:
    with pytest.raises(ValueError, match="infinity"):
        TwoLevelRidge().fit([[0.0], [1.0]], [[0.0], [np.inf]])


def test_tables_of_different_length_are_an_error() -> None:
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        TwoLevelRidge().fit([[0.0], [1.0]], [[0.0]])


def test_fitting_twice_gives_the_same_bits() -> None:
    features, outcomes, _ = linear_table(100)
    one, two = (TwoLevelRidge().fit(features, outcomes).predict(features) for _ in range(2))
    assert one.tobytes() == two.tobytes()


def test_additive_effects_of_a_full_additive_table_keep_its_order() -> None:
    ability = np.array([0.2, 0.5, 0.8])
    ease = np.linspace(-0.1, 0.1, 200)
    found_ability, found_ease = additive_effects(ability + ease[:, None])
    np.testing.assert_allclose(found_ability, ability, atol=0.02)
    assert np.corrcoef(found_ease, ease)[0, 1] > 0.999


def test_additive_effects_see_through_holes() -> None:
    ease = np.repeat([-0.3, 0.3], 300)
    outcomes = np.full(12, 0.5) + ease[:, None]
    outcomes[:290, 0] = np.nan
    outcomes[310:, 1] = np.nan
    ability, _ = additive_effects(outcomes)
    raw_gap = np.nanmean(outcomes[:, 0]) - np.nanmean(outcomes[:, 1])
    assert abs(ability[0] - ability[1]) < 0.3 * raw_gap


def test_additive_effects_of_nothing_are_zero() -> None:
    ability, ease = additive_effects(np.full((4, 2), np.nan))
    assert not ability.any()
    assert not ease.any()
