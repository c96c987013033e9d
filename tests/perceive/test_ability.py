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


def belief(seed: int = 0, spread: float = 0.1) -> Ability:
    """A card thought to be right in half of the cases, with doubt about every skill, some of it shared."""
    rng = np.random.default_rng(seed)
    half = rng.normal(0, spread, (SIZE, SIZE))
    return Ability(np.array([0.5, 0.1, 0.0, -0.1, 0.05]), half @ half.T + 1e-3 * np.eye(SIZE))


def asked(count: int, seed: int = 0) -> np.ndarray:
    """Profiles of prompts."""
    return profile_of(np.random.default_rng(seed).normal(size=(count, SIZE - 1)))


def facts_model(seed: int = 0) -> FactsModel:
    rng = np.random.default_rng(seed)
    return FactsModel(
        mean=rng.normal(size=SIZE + FACTS),
        loadings=rng.normal(size=(SIZE + FACTS, 3)),
        noise=rng.uniform(0.05, 1.0, SIZE + FACTS),
    )


def least_along(wide: np.ndarray, narrow: np.ndarray) -> float:
    """The least of `xᵀ (wide - narrow) x` over all directions `x` of length one."""
    return float(np.linalg.eigvalsh(wide - narrow).min())


SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=40)


@given(SCORES, st.integers(0, 1000))
@settings(deadline=None)
def test_observing_never_widens_the_doubt_in_any_direction(scores: list[float], seed: int) -> None:
    before = belief(seed)
    after = before.observe(asked(len(scores), seed), np.array(scores))
    assert least_along(before.covariance, after.covariance) > -1e-10
    assert least_along(after.covariance, np.zeros((SIZE, SIZE))) > -1e-10
    assert np.array_equal(after.covariance, after.covariance.T)


@given(st.integers(0, 1000))
@settings(deadline=None, max_examples=30)
def test_the_doubt_about_what_was_asked_becomes_less(seed: int) -> None:
    before, profiles = belief(seed), asked(1, seed)
    after = before.observe(profiles, np.ones(1))
    old, new = (float((profiles @ each.covariance @ profiles.T)[0, 0]) for each in (before, after))
    noise = float(noise_variance(profiles @ before.mean)[0])
    assert new == pytest.approx(old * noise / (old + noise))


@given(SCORES, st.integers(0, 1000))
@settings(deadline=None)
def test_the_order_of_the_observations_does_not_matter(scores: list[float], seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(scores))
    profiles, values = asked(len(scores), seed), np.array(scores)
    one = belief(seed).observe(profiles, values)
    other = belief(seed).observe(profiles[order], values[order])
    np.testing.assert_allclose(one.mean, other.mean, atol=1e-9)
    np.testing.assert_allclose(one.covariance, other.covariance, atol=1e-9)


def test_no_observation_changes_nothing() -> None:
    before = belief()
    assert before.observe(np.zeros((0, SIZE)), np.zeros(0)) is before


def test_what_is_not_in_doubt_cannot_be_moved() -> None:
    sure = Ability(belief().mean, np.zeros((SIZE, SIZE)))
    after = sure.observe(asked(10), np.zeros(10))
    assert np.array_equal(after.mean, sure.mean)
    assert not after.covariance.any()


@pytest.mark.parametrize(("score", "sign"), [(1.0, 1.0), (0.0, -1.0)])
def test_a_card_that_gets_everything_right_rises_and_one_that_gets_nothing_right_falls(
    score: float, sign: float
) -> None:
    profiles = asked(30)
    after = belief().observe(profiles, np.full(30, score))
    moved = sign * (profiles @ after.mean - profiles @ belief().mean)
    assert moved.mean() > 0.1
    assert sign * (after.mean[0] - belief().mean[0]) > 0


def test_outcomes_as_expected_leave_the_mean_where_it_is() -> None:
    before, profiles = belief(), asked(20)
    np.testing.assert_allclose(before.observe(profiles, profiles @ before.mean).mean, before.mean)


def test_many_outcomes_find_the_ability_out() -> None:
    truth = np.array([0.6, 0.1, -0.1, 0.0, 0.05])
    rng = np.random.default_rng(5)
    profiles = profile_of(rng.uniform(-1, 1, (1500, SIZE - 1)))
    scores = (rng.random(1500) < profiles @ truth).astype(np.float64)
    before = belief(spread=0.3)
    after = before.observe(profiles, scores)
    assert np.abs(after.mean - truth).max() < 0.06 < np.abs(before.mean - truth).max()
    assert (np.abs(after.mean - truth) < 4 * np.sqrt(np.diag(after.covariance))).all()


def test_it_is_bayes_rule_for_normal_noise() -> None:
    before, profiles = belief(), asked(12)
    scores = np.random.default_rng(6).random(12)
    after = before.observe(profiles, scores)
    weight = 1 / noise_variance(profiles @ before.mean)
    precision = np.linalg.inv(before.covariance)
    covariance = np.linalg.inv(precision + (profiles * weight[:, None]).T @ profiles)
    np.testing.assert_allclose(after.covariance, covariance, rtol=1e-6, atol=1e-9)
    mean = covariance @ (precision @ before.mean + profiles.T @ (weight * scores))
    np.testing.assert_allclose(after.mean, mean, rtol=1e-6, atol=1e-9)


@given(st.floats(-5, 5))
def test_a_score_always_scatters_somewhat_and_never_more_than_a_coin(expected: float) -> None:
    noise = noise_variance(np.array([expected]))[0]
    assert 0.04 < noise <= 0.25


def test_an_outcome_that_was_nearly_certain_says_more_than_one_that_was_not() -> None:
    narrow, wide = noise_variance(np.array([0.95, 0.5]))
    assert narrow < wide == 0.25


def test_a_profile_is_one_and_the_skills() -> None:
    assert profile_of(np.array([[2.0, 3.0]])).tolist() == [[1.0, 2.0, 3.0]]


def test_the_most_informative_prompt_is_the_one_in_whose_direction_the_doubt_lies() -> None:
    covariance = np.diag([0.01, 0.5, 0.01])
    profiles = np.array([[1.0, 0.1, 1.0], [1.0, 1.0, 0.1], [1.0, 0.2, 0.2]])
    allowed = np.ones(3, np.bool_)
    assert most_informative(covariance, profiles, np.eye(3), allowed) == 1


def test_a_direction_that_no_prompt_needs_is_not_asked_about() -> None:
    covariance = np.diag([0.01, 0.5, 0.1])
    profiles = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
    usual = np.diag([1.0, 0.0, 1.0])
    assert most_informative(covariance, profiles, usual, np.ones(2, np.bool_)) == 1


@given(st.integers(1, 20), st.integers(0, 1000))
@settings(deadline=None)
def test_the_most_informative_prompt_narrows_the_mean_doubt_most(count: int, seed: int) -> None:
    # With the same scatter for all prompts, as the choice assumes, since the outcome is not known yet.
    profiles, covariance = asked(count, seed), belief(seed).covariance
    others = asked(50, seed + 1)
    usual = others.T @ others / 50
    left = []
    for profile in profiles:
        through = covariance @ profile
        narrowed = covariance - np.outer(through, through) / (profile @ through + 0.25)
        left.append(np.trace(narrowed @ usual))
    found = most_informative(covariance, profiles, usual, np.ones(count, np.bool_))
    assert left[found] == pytest.approx(min(left), rel=1e-9)


@given(st.lists(st.booleans(), min_size=1, max_size=20).filter(any), st.integers(0, 1000))
@settings(deadline=None)
def test_a_prompt_that_may_not_be_asked_is_never_chosen(allowed: list[bool], seed: int) -> None:
    profiles, covariance = asked(len(allowed), seed), belief(seed).covariance
    assert allowed[most_informative(covariance, profiles, np.eye(SIZE), np.array(allowed))]


def test_of_equal_prompts_the_earlier_is_asked() -> None:
    profiles = np.repeat(asked(1), 4, axis=0)
    allowed = np.array([False, True, True, True])
    assert most_informative(belief().covariance, profiles, np.eye(SIZE), allowed) == 1


def test_without_facts_the_ability_is_the_populations() -> None:
    model = facts_model()
    population = model.ability(np.full(FACTS, np.nan))
    assert np.array_equal(population.mean, model.mean[:SIZE])
    own = model.loadings[:SIZE]
    np.testing.assert_allclose(population.covariance, own @ own.T + np.diag(model.noise[:SIZE]), atol=1e-12)


def test_facts_as_expected_leave_the_mean_and_narrow_the_doubt() -> None:
    model = facts_model()
    usual = model.ability(model.mean[SIZE:])
    np.testing.assert_allclose(usual.mean, model.mean[:SIZE])
    population = model.ability(np.full(FACTS, np.nan))
    assert np.trace(usual.covariance) < 0.8 * np.trace(population.covariance)


def test_an_ability_from_facts_is_the_conditional_normal_distribution() -> None:
    model = facts_model()
    facts = np.random.default_rng(7).normal(size=FACTS)
    facts[[1, 4]] = np.nan
    known = SIZE + np.flatnonzero(np.isfinite(facts))
    joint = model.loadings @ model.loadings.T + np.diag(model.noise)
    gain = joint[:SIZE, known] @ np.linalg.inv(joint[np.ix_(known, known)])
    found = model.ability(facts)
    np.testing.assert_allclose(found.mean, model.mean[:SIZE] + gain @ (facts[known - SIZE] - model.mean[known]))
    np.testing.assert_allclose(found.covariance, joint[:SIZE, :SIZE] - gain @ joint[known, :SIZE], atol=1e-10)


@given(
    st.lists(st.booleans(), min_size=FACTS, max_size=FACTS),
    st.lists(st.booleans(), min_size=FACTS, max_size=FACTS),
    st.integers(0, 1000),
)
@settings(deadline=None)
def test_more_facts_never_widen_the_doubt_in_any_direction(some: list[bool], more: list[bool], seed: int) -> None:
    model = facts_model(seed)
    facts = np.random.default_rng(seed).normal(size=FACTS)
    few = np.where(some, facts, np.nan)
    many = np.where(np.logical_or(some, more), facts, np.nan)
    assert least_along(model.ability(few).covariance, model.ability(many).covariance) > -1e-9


def test_the_facts_row_holds_benchmarks_then_numbers_then_families() -> None:
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


@pytest.mark.parametrize("facts", [None, ModelFacts("m")], ids=["no model", "a model of which nothing is known"])
def test_facts_that_are_not_known_are_not_numbers(facts: ModelFacts | None) -> None:
    row = facts_row(facts, ("gpt",))
    assert row.shape == (fact_count(("gpt",)),)
    assert np.isnan(row).all()


def test_closed_weights_are_a_fact_and_unknown_ones_are_none() -> None:
    closed, unknown = (facts_row(ModelFacts("m", weights=weights), ()) for weights in ("closed", None))
    assert np.nansum(closed) == 0.0
    assert np.isfinite(closed).sum() == 1
    assert not np.isfinite(unknown).any()


def test_a_family_that_is_none_of_the_known_is_a_fact_too() -> None:
    assert facts_row(ModelFacts("m", family="phi"), ("gpt", "llama"))[-2:].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("nothing", [0.0, None])
def test_a_size_or_price_of_nothing_is_not_known(nothing: float | None) -> None:
    row = facts_row(ModelFacts("m", total_parameters=nothing, price_usd_per_mtok=nothing), ())
    assert np.isnan(row).all()


def test_a_benchmark_that_does_not_count_is_passed_over() -> None:
    assert np.isnan(facts_row(ModelFacts("m", benchmarks={"my_own": 0.9}), ())).all()
