from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.loading import load_predictor
from router.perceive.ability.ability import Ability, noise_variance, profile_of
from router.perceive.ability.acceptance import AcceptanceParameters
from router.perceive.ability.belief import MOST_PER_TOPIC, TOPIC_STD, Belief, LinearResponse, LogisticResponse
from router.perceive.ability.ratings import LATENTS
from router.perceive.reader import READINGS
from router.types import Doubles

SIZE = 5
SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=40)
OUTCOMES = st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=30)


def prior(seed: int = 0, spread: float = 0.1) -> Ability:
    """A prior with mean quality one half and correlated uncertainty of all skills."""
    half = np.random.default_rng(seed).normal(0, spread, (SIZE, SIZE))
    return Ability(np.array([0.5, 0.1, 0.0, -0.1, 0.05]), half @ half.T + 1e-3 * np.eye(SIZE))


def profiles_of(count: int, seed: int = 0) -> Doubles:
    """Profiles of random prompts."""
    return profile_of(np.random.default_rng(seed).normal(size=(count, SIZE - 1)))


def unrelated(ability: Ability, profiles: Doubles) -> Belief:
    """A belief about prompts of which no two are alike."""
    return Belief.of(LinearResponse(profiles), np.eye(len(profiles)), ability)


def observed(ability: Ability, profiles: Doubles, scores: Doubles | Sequence[float]) -> Ability:
    """The ability after these scores on prompts of which no two are alike."""
    return unrelated(ability, profiles).observe(range(len(profiles)), np.asarray(scores)).ability


@pytest.fixture(scope="module")
def parameters() -> AcceptanceParameters:
    acceptance = load_predictor().acceptance
    assert acceptance is not None
    return acceptance


def logistic(parameters: AcceptanceParameters, count: int, seed: int = 0, alike: bool = False) -> Belief:
    """A belief in the item-response form about prompts of random difficulty."""
    rng = np.random.default_rng(seed)
    readings = np.zeros((count, READINGS))
    readings[:, 0] = rng.normal(0, 2, count)
    readings[:, 1:] = rng.dirichlet(np.ones(READINGS - 1), count) * 0.8
    topics = np.tile(np.eye(1, 4), (count, 1)) if alike else np.eye(count)
    latent = parameters.ratings.prior_mean * np.eye(1, LATENTS)[0]
    return Belief.of(LogisticResponse(parameters, readings), topics, Ability(latent, np.eye(LATENTS) * 0.3))


def smallest_difference(wide: Doubles, narrow: Doubles) -> float:
    """The minimum of `xᵀ (wide - narrow) x` over all unit vectors `x`."""
    return float(np.linalg.eigvalsh(wide - narrow).min())


@given(SCORES, st.integers(0, 1000))
@settings(deadline=None)
def test_an_observation_never_increases_the_variance_in_any_direction(scores: list[float], seed: int) -> None:
    before = prior(seed)
    after = observed(before, profiles_of(len(scores), seed), scores)
    assert smallest_difference(before.covariance, after.covariance) > -1e-10
    assert smallest_difference(after.covariance, np.zeros((SIZE, SIZE))) > -1e-10
    assert np.array_equal(after.covariance, after.covariance.T)


@given(OUTCOMES, st.integers(0, 1000), st.booleans())
@settings(deadline=None, max_examples=50)
def test_outcomes_never_increase_the_variance_of_a_rating(
    parameters: AcceptanceParameters, scores: list[float], seed: int, alike: bool
) -> None:
    before = logistic(parameters, len(scores), seed, alike)
    after = before.observe(range(len(scores)), np.array(scores))
    assert smallest_difference(before.ability.covariance, after.ability.covariance) > -1e-9
    assert np.isfinite(after.ability.mean).all()


@given(st.integers(0, 1000))
@settings(deadline=None, max_examples=30)
def test_the_variance_for_an_observed_prompt_falls_as_for_a_normal_mean(seed: int) -> None:
    before, profiles = prior(seed), profiles_of(1, seed)
    after = observed(before, profiles, [1.0])
    old, new = (float((profiles @ ability.covariance @ profiles.T)[0, 0]) for ability in (before, after))
    noise = float(noise_variance(profiles @ before.mean)[0]) + TOPIC_STD**2
    assert new == pytest.approx(old * noise / (old + noise))


@given(SCORES, st.integers(0, 1000))
@settings(deadline=None)
def test_the_order_of_the_observations_does_not_matter(scores: list[float], seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(scores))
    profiles, values = profiles_of(len(scores), seed), np.array(scores)
    ordered, shuffled = observed(prior(seed), profiles, values), observed(prior(seed), profiles[order], values[order])
    np.testing.assert_allclose(ordered.mean, shuffled.mean, atol=1e-9)
    np.testing.assert_allclose(ordered.covariance, shuffled.covariance, atol=1e-9)


@given(OUTCOMES, st.integers(1, 29))
@settings(deadline=None, max_examples=30)
def test_outcomes_in_two_parts_give_what_they_give_at_once(scores: list[float], cut: int) -> None:
    values, rows = np.array(scores), np.arange(len(scores))
    belief = Belief.of(LinearResponse(profiles_of(len(scores))), np.ones((len(scores), 1)), prior())
    parts = belief.observe(rows[:cut], values[:cut]).observe(rows[cut:], values[cut:])
    np.testing.assert_array_equal(parts.expected(rows), belief.observe(rows, values).expected(rows))


def test_without_observations_nothing_changes(parameters: AcceptanceParameters) -> None:
    for before in (unrelated(prior(), profiles_of(3)), logistic(parameters, 3)):
        assert before.observe([], np.zeros(0)) is before


def test_an_ability_without_variance_does_not_change() -> None:
    certain = Ability(prior().mean, np.zeros((SIZE, SIZE)))
    after = observed(certain, profiles_of(10), np.zeros(10))
    assert np.array_equal(after.mean, certain.mean)
    assert not after.covariance.any()


def test_a_certain_ability_has_no_most_informative_prompt() -> None:
    certain = Ability(prior().mean, np.zeros((SIZE, SIZE)))
    assert unrelated(certain, profiles_of(4)).most_informative([0], np.ones(4, np.bool_)) is None


@pytest.mark.parametrize(("score", "sign"), [(1.0, 1.0), (0.0, -1.0)])
def test_right_answers_raise_the_mean_and_wrong_answers_lower_it(score: float, sign: float) -> None:
    profiles = profiles_of(30)
    after = observed(prior(), profiles, np.full(30, score))
    assert (sign * (profiles @ after.mean - profiles @ prior().mean)).mean() > 0.08
    assert sign * (after.mean[0] - prior().mean[0]) > 0


@pytest.mark.parametrize(("score", "sign"), [(1.0, 1.0), (0.0, -1.0)])
def test_right_answers_raise_a_rating_and_wrong_answers_lower_it(
    parameters: AcceptanceParameters, score: float, sign: float
) -> None:
    before = logistic(parameters, 30)
    after = before.observe(range(30), np.full(30, score))
    assert sign * (after.ability.mean[0] - before.ability.mean[0]) > 0.1
    assert (sign * (after.expected(range(30)) - before.expected(range(30))) >= 0).all()


def test_expected_outcomes_do_not_change_the_mean() -> None:
    profiles = profiles_of(20)
    np.testing.assert_allclose(observed(prior(), profiles, profiles @ prior().mean).mean, prior().mean)


def test_with_many_outcomes_the_posterior_is_near_the_true_ability() -> None:
    truth = np.array([0.6, 0.1, -0.1, 0.0, 0.05])
    rng = np.random.default_rng(5)
    profiles = profile_of(rng.uniform(-1, 1, (1500, SIZE - 1)))
    scores = (rng.random(1500) < profiles @ truth).astype(np.float64)
    before = prior(spread=0.3)
    after = observed(before, profiles, scores)
    assert np.abs(after.mean - truth).max() < 0.06 < np.abs(before.mean - truth).max()
    assert (np.abs(after.mean - truth) < 4 * np.sqrt(np.diag(after.covariance))).all()


def test_the_posterior_follows_bayes_rule_for_normal_noise() -> None:
    before, profiles = prior(), profiles_of(12)
    scores = np.random.default_rng(6).random(12)
    after = observed(before, profiles, scores)
    weight = 1 / (noise_variance(profiles @ before.mean) + TOPIC_STD**2)
    precision = np.linalg.inv(before.covariance)
    covariance = np.linalg.inv(precision + (profiles * weight[:, None]).T @ profiles)
    np.testing.assert_allclose(after.covariance, covariance, rtol=1e-6, atol=1e-9)
    mean = covariance @ (precision @ before.mean + profiles.T @ (weight * scores))
    np.testing.assert_allclose(after.mean, mean, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_outcomes_on_one_topic_say_less_of_the_rating_than_those_on_many(
    parameters: AcceptanceParameters, score: float
) -> None:
    rows, scores = range(30), np.full(30, score)
    one, many = (logistic(parameters, 30, alike=alike).observe(rows, scores) for alike in (True, False))
    before = logistic(parameters, 30).ability.mean[0]
    assert abs(one.ability.mean[0] - before) < 0.5 * abs(many.ability.mean[0] - before)


def test_outcomes_on_a_few_topics_move_an_ability_by_a_limited_distance() -> None:
    ability, profiles = Ability(np.array([0.95]), np.array([[0.3**2]])), np.ones((100, 1))
    topics = np.repeat(np.eye(2), 50, axis=0)
    after = Belief.of(LinearResponse(profiles), topics, ability).observe(range(100), np.zeros(100)).ability
    assert after.mean[0] == pytest.approx(0.95 - 2 * MOST_PER_TOPIC * 0.3)
