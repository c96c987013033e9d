from __future__ import annotations

import datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.cards.benchmarks import BENCHMARKS
from router.cards.facts import ModelFacts
from router.perceive.ability import (
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


SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=40)


@given(SCORES, st.integers(0, 1000))
@settings(deadline=None)
def test_an_observation_never_increases_the_variance_in_any_direction(scores: list[float], seed: int) -> None:
    before = prior(seed)
    after = before.observe(profiles_of(len(scores), seed), np.array(scores))
    assert smallest_difference(before.covariance, after.covariance) > -1e-10
    assert smallest_difference(after.covariance, np.zeros((SIZE, SIZE))) > -1e-10
    assert np.array_equal(after.covariance, after.covariance.T)


@given(st.integers(0, 1000))
@settings(deadline=None, max_examples=30)
def test_the_variance_for_an_observed_prompt_falls_as_for_a_normal_mean(seed: int) -> None:
    before, profiles = prior(seed), profiles_of(1, seed)
    after = before.observe(profiles, np.ones(1))
    old, new = (float((profiles @ ability.covariance @ profiles.T)[0, 0]) for ability in (before, after))
    noise = float(noise_variance(profiles @ before.mean)[0])
    assert new == pytest.approx(old * noise / (old + noise))


@given(SCORES, st.integers(0, 1000))
@settings(deadline=None)
def test_the_order_of_the_observations_does_not_matter(scores: list[float], seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(scores))
    profiles, values = profiles_of(len(scores), seed), np.array(scores)
    ordered = prior(seed).observe(profiles, values)
    shuffled = prior(seed).observe(profiles[order], values[order])
    np.testing.assert_allclose(ordered.mean, shuffled.mean, atol=1e-9)
    np.testing.assert_allclose(ordered.covariance, shuffled.covariance, atol=1e-9)


def test_without_observations_the_posterior_is_the_prior() -> None:
    before = prior()
    assert before.observe(np.zeros((0, SIZE)), np.zeros(0)) is before


def test_an_ability_without_variance_does_not_change() -> None:
    certain = Ability(prior().mean, np.zeros((SIZE, SIZE)))
    after = certain.observe(profiles_of(10), np.zeros(10))
    assert np.array_equal(after.mean, certain.mean)
    assert not after.covariance.any()


@pytest.mark.parametrize(("score", "sign"), [(1.0, 1.0), (0.0, -1.0)])
def test_right_answers_raise_the_mean_and_wrong_answers_lower_it(score: float, sign: float) -> None:
    profiles = profiles_of(30)
    after = prior().observe(profiles, np.full(30, score))
    moved = sign * (profiles @ after.mean - profiles @ prior().mean)
    assert moved.mean() > 0.1
    assert sign * (after.mean[0] - prior().mean[0]) > 0


def test_expected_outcomes_do_not_change_the_mean() -> None:
    before, profiles = prior(), profiles_of(20)
    np.testing.assert_allclose(before.observe(profiles, profiles @ before.mean).mean, before.mean)


def test_with_many_outcomes_the_posterior_is_near_the_true_ability() -> None:
    truth = np.array([0.6, 0.1, -0.1, 0.0, 0.05])
    rng = np.random.default_rng(5)
    profiles = profile_of(rng.uniform(-1, 1, (1500, SIZE - 1)))
    scores = (rng.random(1500) < profiles @ truth).astype(np.float64)
    before = prior(spread=0.3)
    after = before.observe(profiles, scores)
    assert np.abs(after.mean - truth).max() < 0.06 < np.abs(before.mean - truth).max()
    assert (np.abs(after.mean - truth) < 4 * np.sqrt(np.diag(after.covariance))).all()


def test_the_posterior_follows_bayes_rule_for_normal_noise() -> None:
    before, profiles = prior(), profiles_of(12)
    scores = np.random.default_rng(6).random(12)
    after = before.observe(profiles, scores)
    weight = 1 / noise_variance(profiles @ before.mean)
    precision = np.linalg.inv(before.covariance)
    covariance = np.linalg.inv(precision + (profiles * weight[:, None]).T @ profiles)
    np.testing.assert_allclose(after.covariance, covariance, rtol=1e-6, atol=1e-9)
    mean = covariance @ (precision @ before.mean + profiles.T @ (weight * scores))
    np.testing.assert_allclose(after.mean, mean, rtol=1e-6, atol=1e-9)


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
