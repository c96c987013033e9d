from __future__ import annotations

import numpy as np
import pytest

from router.learn.training.factor_model import fit_factors
from router.perceive.ability import FactsModel

ABILITIES, FACTS = 5, 7


def planted(models: int = 120, noise: float = 0.05, holes: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Abilities and facts that share two factors, and the loadings by which they do. No fact of its own is exact."""
    rng = np.random.default_rng(0)
    loadings = rng.normal(size=(ABILITIES + FACTS, 2))
    table = rng.normal(size=(models, 2)) @ loadings.T + rng.normal(0, noise, (models, ABILITIES + FACTS)) + 0.5
    facts = table[:, ABILITIES:]
    facts[rng.random(facts.shape) < holes] = np.nan
    return table[:, :ABILITIES], facts, loadings


def share_explained(forecast: np.ndarray, truth: np.ndarray) -> float:
    return float(1 - np.square(forecast - truth).mean() / truth.var(axis=0).mean())


def forecasts(model: FactsModel, facts: np.ndarray) -> np.ndarray:
    return np.array([model.ability(row).mean for row in facts])


@pytest.mark.parametrize(("holes", "least"), [(0.0, 0.95), (0.5, 0.75)])
def test_planted_factors_are_recovered_even_with_holes(holes: float, least: float) -> None:
    abilities, facts, _ = planted(holes=holes)
    model = fit_factors(abilities[:80], facts[:80])
    assert share_explained(forecasts(model, facts[80:]), abilities[80:]) > least


def test_the_covariance_of_what_is_shared_is_that_of_the_planted_factors() -> None:
    abilities, facts, loadings = planted(models=800)
    model = fit_factors(abilities, facts)
    found, expected = model.loadings @ model.loadings.T, loadings @ loadings.T
    assert np.abs(found - expected).max() < 0.1 * np.abs(expected).max()


def test_facts_that_say_nothing_move_no_forecast_far() -> None:
    abilities, facts, _ = planted()
    unrelated = np.random.default_rng(1).normal(size=facts.shape)
    model = fit_factors(abilities[:80], unrelated[:80])
    moved = forecasts(model, unrelated[80:]) - abilities[:80].mean(axis=0)
    assert np.square(moved).mean() < 0.2 * abilities.var(axis=0).mean()


def test_the_same_table_gives_the_same_bits() -> None:
    abilities, facts, _ = planted(holes=0.3)
    one, two = fit_factors(abilities, facts), fit_factors(abilities, facts)
    for name in FactsModel.__struct_fields__:
        assert getattr(one, name).tobytes() == getattr(two, name).tobytes()


def test_without_facts_a_model_is_the_mean_of_the_measured() -> None:
    abilities, facts, _ = planted()
    found = fit_factors(abilities, facts).ability(np.full(FACTS, np.nan))
    np.testing.assert_allclose(found.mean, abilities.mean(axis=0))


def test_the_doubt_without_facts_is_how_much_models_differ() -> None:
    abilities, facts, _ = planted(models=500)
    found = fit_factors(abilities, facts).ability(np.full(FACTS, np.nan))
    np.testing.assert_allclose(np.diag(found.covariance), abilities.var(axis=0), rtol=0.1)


@pytest.mark.parametrize("models", [1, 2, 3, 5])
def test_few_models_give_finite_numbers(models: int) -> None:
    abilities, facts, _ = planted(models=models)
    found = fit_factors(abilities, facts)
    for name in FactsModel.__struct_fields__:
        assert np.isfinite(getattr(found, name)).all()
    assert (found.noise > 0).all()


def test_a_fact_that_nobody_states_changes_nothing() -> None:
    abilities, facts, _ = planted()
    facts[:, 3] = np.nan
    model = fit_factors(abilities, facts)
    stated = facts[0].copy()
    stated[3] = 0.9
    np.testing.assert_allclose(model.ability(stated).mean, model.ability(facts[0]).mean, atol=1e-6)


def test_a_fact_that_one_model_states_hardly_moves_the_others() -> None:
    abilities, facts, _ = planted()
    facts[1:, 3] = np.nan
    model = fit_factors(abilities, facts)
    only = np.full(FACTS, np.nan)
    only[3] = facts[0, 3] + 1.0
    moved = model.ability(only).mean - abilities.mean(axis=0)
    assert np.abs(moved).max() < 0.5 * abilities.std(axis=0).max()


def test_no_facts_at_all_are_enough() -> None:
    abilities, facts, _ = planted()
    found = fit_factors(abilities, np.full_like(facts, np.nan)).ability(np.full(FACTS, np.nan))
    np.testing.assert_allclose(found.mean, abilities.mean(axis=0))
    assert (np.linalg.eigvalsh(found.covariance) > 0).all()


def test_a_fact_that_is_the_same_for_all_gives_finite_numbers() -> None:
    abilities, facts, _ = planted()
    facts[:, 0] = 1.0
    found = fit_factors(abilities, facts).ability(facts[0])
    assert np.isfinite(found.mean).all()
    assert np.isfinite(found.covariance).all()


@pytest.mark.parametrize("holes", [0.0, 0.5])
def test_better_benchmarks_mean_a_better_model_where_the_measured_models_say_so(holes: float) -> None:
    rng = np.random.default_rng(2)
    strength = rng.random(40)
    abilities = np.column_stack([0.3 + 0.5 * strength, rng.normal(0, 0.02, 40)])
    benchmarks = np.column_stack([strength, 0.2 + 0.6 * strength]) + rng.normal(0, 0.03, (40, 2))
    benchmarks[rng.random(benchmarks.shape) < holes] = np.nan
    model = fit_factors(abilities, benchmarks)
    expected = [model.ability(np.array([share, np.nan])).mean[0] for share in (0.1, 0.5, 0.9)]
    assert expected == sorted(expected)
    assert expected[2] - expected[0] > 0.2
