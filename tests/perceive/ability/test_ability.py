from __future__ import annotations

import datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.cards.benchmarks import BENCHMARKS
from router.cards.facts import ModelFacts
from router.perceive.ability.ability import (
    Ability,
    FactsModel,
    fact_count,
    facts_row,
    most_informative,
    noise_variance,
    profile_of,
)

SIZE, FACTS = 5, 6


def prior(seed: int = 0, spread: float = 0.1) -> Ability:
    """A prior with mean quality one half and correlated uncertainty of all skills."""
    rng = np.random.default_rng(seed)
    half = rng.normal(0, spread, (SIZE, SIZE))
    return Ability(np.array([0.5, 0.1, 0.0, -0.1, 0.05]), half @ half.T + 1e-3 * np.eye(SIZE))


def profiles_of(count: int, seed: int = 0) -> np.ndarray:
    """Profiles of random prompts."""
    return profile_of(np.random.default_rng(seed).normal(size=(count, SIZE - 1)))


def facts_model(seed: int = 0) -> FactsModel:
    rng = np.random.default_rng(seed)
    return FactsModel(
        mean=rng.normal(size=SIZE + FACTS),
        loadings=rng.normal(size=(SIZE + FACTS, 3)),
        noise=rng.uniform(0.05, 1.0, SIZE + FACTS),
    )


def smallest_difference(wide: np.ndarray, narrow: np.ndarray) -> float:
    """The minimum of `xᵀ (wide - narrow) x` over all unit vectors `x`."""
    return float(np.linalg.eigvalsh(wide - narrow).min())


@given(st.floats(-5, 5))
def test_the_noise_variance_is_at_most_that_of_a_fair_coin_and_never_zero(expected: float) -> None:
    noise = noise_variance(np.array([expected]))[0]
    assert 0.04 < noise <= 0.25


def test_the_noise_variance_is_smaller_for_a_nearly_certain_outcome() -> None:
    narrow, wide = noise_variance(np.array([0.95, 0.5]))
    assert narrow < wide == 0.25


def test_a_profile_is_one_then_the_skills() -> None:
    assert profile_of(np.array([[2.0, 3.0]])).tolist() == [[1.0, 2.0, 3.0]]


def test_the_most_informative_prompt_is_in_the_direction_of_the_greatest_variance() -> None:
    covariance = np.diag([0.01, 0.5, 0.01])
    profiles = np.array([[1.0, 0.1, 1.0], [1.0, 1.0, 0.1], [1.0, 0.2, 0.2]])
    allowed = np.ones(3, np.bool_)
    assert most_informative(covariance, profiles, np.eye(3), allowed) == 1


def test_variance_in_a_direction_that_no_prompt_uses_does_not_count() -> None:
    covariance = np.diag([0.01, 0.5, 0.1])
    profiles = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
    second_moment = np.diag([1.0, 0.0, 1.0])
    assert most_informative(covariance, profiles, second_moment, np.ones(2, np.bool_)) == 1


@given(st.integers(1, 20), st.integers(0, 1000))
@settings(deadline=None)
def test_the_most_informative_prompt_reduces_the_mean_variance_most(count: int, seed: int) -> None:
    # With the same noise for all prompts, as the choice assumes, because the outcome is not known yet.
    profiles, covariance = profiles_of(count, seed), prior(seed).covariance
    others = profiles_of(50, seed + 1)
    second_moment = others.T @ others / 50
    remaining = []
    for profile in profiles:
        cross = covariance @ profile
        narrowed = covariance - np.outer(cross, cross) / (profile @ cross + 0.25)
        remaining.append(np.trace(narrowed @ second_moment))
    chosen = most_informative(covariance, profiles, second_moment, np.ones(count, np.bool_))
    assert remaining[chosen] == pytest.approx(min(remaining), rel=1e-9)


@given(st.lists(st.booleans(), min_size=1, max_size=20).filter(any), st.integers(0, 1000))
@settings(deadline=None)
def test_a_prompt_that_is_not_allowed_is_never_chosen(allowed: list[bool], seed: int) -> None:
    profiles, covariance = profiles_of(len(allowed), seed), prior(seed).covariance
    assert allowed[most_informative(covariance, profiles, np.eye(SIZE), np.array(allowed))]


def test_of_equal_prompts_the_first_allowed_one_is_chosen() -> None:
    profiles = np.repeat(profiles_of(1), 4, axis=0)
    allowed = np.array([False, True, True, True])
    assert most_informative(prior().covariance, profiles, np.eye(SIZE), allowed) == 1


def test_without_facts_the_prior_is_that_of_the_population() -> None:
    model = facts_model()
    population = model.ability(np.full(FACTS, np.nan))
    assert np.array_equal(population.mean, model.mean[:SIZE])
    loadings = model.loadings[:SIZE]
    np.testing.assert_allclose(population.covariance, loadings @ loadings.T + np.diag(model.noise[:SIZE]), atol=1e-12)


def test_average_facts_do_not_change_the_mean_but_reduce_the_variance() -> None:
    model = facts_model()
    average = model.ability(model.mean[SIZE:])
    np.testing.assert_allclose(average.mean, model.mean[:SIZE])
    population = model.ability(np.full(FACTS, np.nan))
    assert np.trace(average.covariance) < 0.8 * np.trace(population.covariance)


def test_the_prior_from_facts_is_the_conditional_normal_distribution() -> None:
    model = facts_model()
    facts = np.random.default_rng(7).normal(size=FACTS)
    facts[[1, 4]] = np.nan
    known = SIZE + np.flatnonzero(np.isfinite(facts))
    joint = model.loadings @ model.loadings.T + np.diag(model.noise)
    gain = joint[:SIZE, known] @ np.linalg.inv(joint[np.ix_(known, known)])
    ability = model.ability(facts)
    np.testing.assert_allclose(ability.mean, model.mean[:SIZE] + gain @ (facts[known - SIZE] - model.mean[known]))
    np.testing.assert_allclose(ability.covariance, joint[:SIZE, :SIZE] - gain @ joint[known, :SIZE], atol=1e-10)


@given(
    st.lists(st.booleans(), min_size=FACTS, max_size=FACTS),
    st.lists(st.booleans(), min_size=FACTS, max_size=FACTS),
    st.integers(0, 1000),
)
@settings(deadline=None)
def test_more_facts_never_increase_the_variance_in_any_direction(some: list[bool], more: list[bool], seed: int) -> None:
    model = facts_model(seed)
    facts = np.random.default_rng(seed).normal(size=FACTS)
    few = np.where(some, facts, np.nan)
    many = np.where(np.logical_or(some, more), facts, np.nan)
    assert smallest_difference(model.ability(few).covariance, model.ability(many).covariance) > -1e-9


def test_the_facts_row_is_benchmarks_then_numbers_then_families() -> None:
    facts = ModelFacts(
        "m",
        family="llama",
        weights="open",
        total_parameters=7e10,
        active_parameters=1e10,
        released=datetime.date(2024, 7, 23),
        price_usd_per_mtok=0.1,
        benchmarks={"gsm8k": 0.9, "mmlu": 0.8},
    )
    families = ("gpt", "llama")
    row = facts_row(facts, families)
    benchmarks, numbers, family = np.split(row, [len(BENCHMARKS), len(row) - len(families)])
    stated = dict(zip(BENCHMARKS, benchmarks.tolist(), strict=True))
    assert {name: share for name, share in stated.items() if np.isfinite(share)} == {"mmlu": 0.8, "gsm8k": 0.9}
    np.testing.assert_allclose(numbers, [np.log10(7e10), 10.0, 4.5, -1.0, 1.0])
    assert family.tolist() == [0.0, 1.0]
    assert len(row) == fact_count(families)


@pytest.mark.parametrize("facts", [None, ModelFacts("m")], ids=["no model", "a model without facts"])
def test_unknown_facts_are_nan(facts: ModelFacts | None) -> None:
    row = facts_row(facts, ("gpt",))
    assert row.shape == (fact_count(("gpt",)),)
    assert np.isnan(row).all()


def test_closed_weights_are_a_known_fact_and_unknown_weights_are_nan() -> None:
    closed, unknown = (facts_row(ModelFacts("m", weights=weights), ()) for weights in ("closed", None))
    assert np.nansum(closed) == 0.0
    assert np.isfinite(closed).sum() == 1
    assert not np.isfinite(unknown).any()


def test_a_family_outside_the_list_is_zero_for_all_listed_families() -> None:
    assert facts_row(ModelFacts("m", family="phi"), ("gpt", "llama"))[-2:].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("value", [0.0, None])
def test_a_size_or_price_of_zero_is_unknown(value: float | None) -> None:
    row = facts_row(ModelFacts("m", total_parameters=value, price_usd_per_mtok=value), ())
    assert np.isnan(row).all()


def test_an_unknown_benchmark_is_ignored() -> None:
    assert np.isnan(facts_row(ModelFacts("m", benchmarks={"my_own": 0.9}), ())).all()
