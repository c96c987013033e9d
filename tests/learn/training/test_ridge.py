from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from router.learn.training.ridge import ALPHAS, Moments, chosen_alphas, ridge


def table(rows: int = 300, width: int = 6, targets: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features with means far from zero, and targets that partly depend on them."""
    rng = np.random.default_rng(seed)
    features = rng.normal(2.0, np.geomspace(0.3, 3, width), (rows, width))
    weights = rng.normal(0, 1, (width, targets)) * np.geomspace(1, 0.01, targets)
    return features, features @ weights + rng.normal(0, 1, (rows, targets))


def assert_close(actual: Moments, expected: Moments) -> None:
    for left, right in zip(actual, expected, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-6)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=6), st.integers(0, 1000))
@settings(deadline=None, max_examples=50)
def test_the_sums_over_parts_add_up_to_the_sums_over_all_rows(sizes: list[int], seed: int) -> None:
    features, targets = table(sum(sizes), seed=seed)
    edges = np.cumsum(sizes)[:-1]
    parts = zip(np.split(features, edges), np.split(targets, edges), strict=True)
    assert_close(functools.reduce(Moments.plus, (Moments.of(*part) for part in parts)), Moments.of(features, targets))


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 1000))
@settings(deadline=None, max_examples=50)
def test_minus_is_the_inverse_of_plus(rows: int, others: int, seed: int) -> None:
    first, second = Moments.of(*table(rows, seed=seed)), Moments.of(*table(others, seed=seed + 1))
    assert_close(first.plus(second).minus(second), first)


def test_the_sums_of_single_precision_features_are_in_double_precision() -> None:
    features, targets = (array.astype(np.float32) for array in table())
    moments = Moments.of(features, targets)
    assert {np.asarray(array).dtype for array in moments[1:]} == {np.dtype(np.float64)}
    np.testing.assert_allclose(moments.x, features.astype(np.float64).sum(axis=0), rtol=1e-12)


def test_selecting_features_and_targets_selects_their_sums() -> None:
    features, targets = table()
    columns, target = np.array([4, 1]), np.array([2])
    selected = Moments.of(features, targets).select(columns, target)
    assert_close(selected, Moments.of(features[:, columns], targets[:, target]))


def test_sums_about_the_mean_are_those_of_the_deviations() -> None:
    features, targets = table()
    x, y = features - features.mean(axis=0), targets - targets.mean(axis=0)
    about = Moments.of(features, targets).about_mean()
    np.testing.assert_allclose(about.x, features.mean(axis=0))
    np.testing.assert_allclose(about.y, targets.mean(axis=0))
    np.testing.assert_allclose(about.xx, x.T @ x, rtol=1e-9, atol=1e-8)
    np.testing.assert_allclose(about.xy, x.T @ y, rtol=1e-9, atol=1e-8)
    np.testing.assert_allclose(about.yy, np.square(y).sum(axis=0))


def test_the_sum_of_squares_of_a_constant_target_is_not_negative() -> None:
    features, targets = table(50)
    about = Moments.of(features, np.full_like(targets, 0.1)).about_mean()
    assert (about.yy >= 0).all()


def test_without_subtracts_a_linear_part_from_the_targets() -> None:
    features, targets = table()
    weights = np.random.default_rng(1).normal(size=features.shape[1])
    residual = Moments.of(features, targets).about_mean().without(weights)
    assert_close(residual, Moments.of(features, targets - (features @ weights)[:, None]).about_mean())


@pytest.mark.parametrize("alpha", ALPHAS)
def test_ridge_from_sums_is_ridge_from_rows(alpha: float) -> None:
    features, targets = table()
    about = Moments.of(features, targets).about_mean()
    weights = ridge(about, np.full(targets.shape[1], alpha))
    expected = Ridge(alpha=alpha).fit(features, targets)
    np.testing.assert_allclose(weights, expected.coef_.T, rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(about.y - about.x @ weights, expected.intercept_, rtol=1e-7)


def test_targets_can_have_different_penalties() -> None:
    features, targets = table()
    alphas = np.array([1000.0, 10.0, 1000.0])
    weights = ridge(Moments.of(features, targets).about_mean(), alphas)
    for target, alpha in enumerate(alphas):
        expected = Ridge(alpha=alpha).fit(features, targets[:, target]).coef_
        np.testing.assert_allclose(weights[:, target], expected, rtol=1e-7)


def error_by_hand(features: np.ndarray, target: np.ndarray, alpha: float) -> float:
    """The generalised cross-validation error by its definition, from the hat matrix."""
    x = features - features.mean(axis=0)
    hat = x @ np.linalg.inv(x.T @ x + alpha * np.eye(x.shape[1])) @ x.T + 1 / len(x)
    residual = target - hat @ target
    return float(residual @ residual) / len(x) / (1 - np.trace(hat) / len(x)) ** 2


@pytest.mark.parametrize("seed", range(6))
def test_the_penalty_has_the_least_generalised_cross_validation_error(seed: int) -> None:
    features, targets = table(rows=80, targets=5, seed=seed)
    chosen = chosen_alphas(Moments.of(features, targets).about_mean())
    by_hand = [min(ALPHAS, key=lambda alpha: error_by_hand(features, target, alpha)) for target in targets.T]
    assert chosen.tolist() == by_hand
    assert len(set(by_hand)) > 1


def test_more_features_than_rows_still_give_a_penalty() -> None:
    features, targets = table(rows=25, width=60)
    about = Moments.of(features, targets).about_mean()
    alphas = chosen_alphas(about)
    assert set(alphas.tolist()) <= set(ALPHAS)
    assert np.isfinite(ridge(about, alphas)).all()
