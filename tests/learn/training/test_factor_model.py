from __future__ import annotations

import numpy as np
import pytest

from router.learn.training.factor_model import fit_factors
from router.perceive.ability.ability import FactsModel

ABILITIES, FACTS = 5, 7


def planted(models: int = 120, noise: float = 0.05, missing: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Abilities and facts with two common factors and noise, and the loadings."""
    rng = np.random.default_rng(0)
    loadings = rng.normal(size=(ABILITIES + FACTS, 2))
    table = rng.normal(size=(models, 2)) @ loadings.T + rng.normal(0, noise, (models, ABILITIES + FACTS)) + 0.5
    facts = table[:, ABILITIES:]
    facts[rng.random(facts.shape) < missing] = np.nan
    return table[:, :ABILITIES], facts, loadings


def share_explained(forecast: np.ndarray, truth: np.ndarray) -> float:
    return float(1 - np.square(forecast - truth).mean() / truth.var(axis=0).mean())


def forecasts(model: FactsModel, facts: np.ndarray) -> np.ndarray:
    return np.array([model.ability(row).mean for row in facts])


@pytest.mark.parametrize(("missing", "least"), [(0.0, 0.95), (0.5, 0.75)])
def test_planted_factors_are_recovered_even_with_missing_facts(missing: float, least: float) -> None:
    abilities, facts, _ = planted(missing=missing)
    model = fit_factors(abilities[:80], facts[:80])
    assert share_explained(forecasts(model, facts[80:]), abilities[80:]) > least


def test_the_covariance_of_the_factors_is_that_of_the_planted_ones() -> None:
    abilities, facts, loadings = planted(models=800)
    model = fit_factors(abilities, facts)
    fitted, expected = model.loadings @ model.loadings.T, loadings @ loadings.T
    assert np.abs(fitted - expected).max() < 0.1 * np.abs(expected).max()


def test_unrelated_facts_change_forecasts_little() -> None:
    abilities, facts, _ = planted()
    unrelated = np.random.default_rng(1).normal(size=facts.shape)
    model = fit_factors(abilities[:80], unrelated[:80])
    moved = forecasts(model, unrelated[80:]) - abilities[:80].mean(axis=0)
    assert np.square(moved).mean() < 0.2 * abilities.var(axis=0).mean()


def test_the_same_table_gives_the_same_bits() -> None:
    abilities, facts, _ = planted(missing=0.3)
    first, second = fit_factors(abilities, facts), fit_factors(abilities, facts)
    for name in FactsModel.__struct_fields__:
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()


def test_the_ability_without_facts_is_the_mean_of_measured_models() -> None:
    abilities, facts, _ = planted()
    ability = fit_factors(abilities, facts).ability(np.full(FACTS, np.nan))
    np.testing.assert_allclose(ability.mean, abilities.mean(axis=0))


def test_the_variance_without_facts_is_that_between_models() -> None:
    abilities, facts, _ = planted(models=500)
    ability = fit_factors(abilities, facts).ability(np.full(FACTS, np.nan))
    np.testing.assert_allclose(np.diag(ability.covariance), abilities.var(axis=0), rtol=0.1)


@pytest.mark.parametrize("models", [1, 2, 3, 5])
def test_few_models_give_finite_numbers(models: int) -> None:
    abilities, facts, _ = planted(models=models)
    model = fit_factors(abilities, facts)
    for name in FactsModel.__struct_fields__:
        assert np.isfinite(getattr(model, name)).all()
    assert (model.noise > 0).all()


def test_a_fact_that_no_model_has_is_ignored() -> None:
    abilities, facts, _ = planted()
    facts[:, 3] = np.nan
    model = fit_factors(abilities, facts)
    stated = facts[0].copy()
    stated[3] = 0.9
    np.testing.assert_allclose(model.ability(stated).mean, model.ability(facts[0]).mean, atol=1e-6)


def test_a_fact_of_one_model_changes_other_forecasts_little() -> None:
    abilities, facts, _ = planted()
    facts[1:, 3] = np.nan
    model = fit_factors(abilities, facts)
    only = np.full(FACTS, np.nan)
    only[3] = facts[0, 3] + 1.0
    moved = model.ability(only).mean - abilities.mean(axis=0)
    assert np.abs(moved).max() < 0.5 * abilities.std(axis=0).max()


def test_a_model_can_be_fitted_without_any_facts() -> None:
    abilities, facts, _ = planted()
    ability = fit_factors(abilities, np.full_like(facts, np.nan)).ability(np.full(FACTS, np.nan))
    np.testing.assert_allclose(ability.mean, abilities.mean(axis=0))
    assert (np.linalg.eigvalsh(ability.covariance) > 0).all()


def test_a_fact_that_is_the_same_for_all_gives_finite_numbers() -> None:
    abilities, facts, _ = planted()
    facts[:, 0] = 1.0
    ability = fit_factors(abilities, facts).ability(facts[0])
    assert np.isfinite(ability.mean).all()
    assert np.isfinite(ability.covariance).all()


@pytest.mark.parametrize("missing", [0.0, 0.5])
def test_better_benchmarks_give_a_better_forecast_if_they_do_among_measured_models(missing: float) -> None:
    rng = np.random.default_rng(2)
    strength = rng.random(40)
    abilities = np.column_stack([0.3 + 0.5 * strength, rng.normal(0, 0.02, 40)])
    benchmarks = np.column_stack([strength, 0.2 + 0.6 * strength]) + rng.normal(0, 0.03, (40, 2))
    benchmarks[rng.random(benchmarks.shape) < missing] = np.nan
    model = fit_factors(abilities, benchmarks)
    expected = [model.ability(np.array([share, np.nan])).mean[0] for share in (0.1, 0.5, 0.9)]
    assert expected == sorted(expected)
    assert expected[2] - expected[0] > 0.2
