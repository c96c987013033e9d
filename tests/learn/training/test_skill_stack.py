from __future__ import annotations

import warnings
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import check_estimator

from router.learn.training.outcome_table import MIN_ROWS
from router.learn.training.skill_stack import SkillStack

EXPECTED_FAILURES = {
    "check_supervised_y_no_nan": "NaN in y is a missing outcome: that model was not run on that prompt",
}
TOPICS = 6
Table = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def small(**parameters: Any) -> SkillStack:
    return SkillStack(**({"landmarks": 12, "skills": 6} | parameters))


def planted(prompts: int = 600, models: int = 5, binary: bool = False, missing: float = 0.0) -> Table:
    """Vectors of prompts around six topics, outcomes, expected outcomes, and topics.

    A model is good at some topics and bad at others, and all models are better along one direction.
    """
    rng = np.random.default_rng(0)
    topics = rng.integers(0, TOPICS, prompts)
    centers = np.eye(TOPICS, 12) * 3
    vectors = centers[topics] + rng.normal(0, 0.5, (prompts, 12))
    chances = np.clip(0.5 + rng.uniform(-0.4, 0.4, (TOPICS, models)), 0.05, 0.95)[topics] + 0.1 * vectors[:, [-1]]
    chances = np.clip(chances, 0.0, 1.0)
    outcomes = (rng.random(chances.shape) < chances) if binary else chances + rng.normal(0, 0.05, chances.shape)
    outcomes = outcomes.astype(np.float64)
    outcomes[rng.random(outcomes.shape) < missing] = np.nan
    return vectors, outcomes, chances, topics


def error(forecast: np.ndarray, expected: np.ndarray) -> float:
    return float(np.sqrt(np.square(forecast - expected).mean()))


def arrays_of(stack: SkillStack) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in msgspec.structs.asdict(stack.projector_.parameters).items()}


def test_it_passes_the_checks_of_scikit_learn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(small(), expected_failed_checks=EXPECTED_FAILURES, on_skip=None, on_fail=None)
    assert len(results) > 30
    assert [result["check_name"] for result in results if result["status"] == "failed"] == []
    assert {result["check_name"] for result in results if result["status"] == "xfail"} == set(EXPECTED_FAILURES)


def test_parameters_can_be_read_set_and_cloned() -> None:
    stack = SkillStack(
        embedded=3, landmarks=7, sharpness=2.0, skills=5, folds=4, out_of_domain_share=0.1, random_state=9
    )
    expected = {
        "embedded": 3,
        "landmarks": 7,
        "sharpness": 2.0,
        "skills": 5,
        "folds": 4,
        "out_of_domain_share": 0.1,
        "random_state": 9,
    }
    assert stack.get_params() == expected
    assert clone(stack).set_params(skills=8).get_params() == expected | {"skills": 8}


def test_fit_returns_self_and_learned_attributes_end_in_an_underscore() -> None:
    stack = small()
    before = set(vars(stack))
    vectors, outcomes, *_ = planted(60)
    assert stack.fit(vectors, outcomes) is stack
    assert all(name.endswith("_") for name in set(vars(stack)) - before)


def test_predicting_before_fitting_is_an_error() -> None:
    with pytest.raises(NotFittedError):
        SkillStack().predict([[1.0]])


def test_fitting_twice_gives_the_same_bits() -> None:
    vectors, outcomes, _, topics = planted(200, missing=0.2)
    first, second = (small().fit(vectors, outcomes, groups=topics) for _ in range(2))
    assert arrays_of(first) == arrays_of(second)
    assert first.predict(vectors).tobytes() == second.predict(vectors).tobytes()
    assert first.uncertainty_.residual_variance.tobytes() == second.uncertainty_.residual_variance.tobytes()


def test_the_random_state_chooses_the_landmarks_and_changes_the_forecasts_little() -> None:
    vectors, outcomes, *_ = planted()
    first, second = (small(landmarks=3, random_state=state).fit(vectors, outcomes) for state in (0, 1))
    assert arrays_of(first)["landmarks"] != arrays_of(second)["landmarks"]
    for name in ("center", "scale", "topic_center", "sharpness"):
        assert arrays_of(first)[name] == arrays_of(second)[name]
    assert error(first.predict(vectors), second.predict(vectors)) < 0.05


@pytest.mark.parametrize("grouped", [False, True], ids=["no groups", "groups"])
@pytest.mark.parametrize(("missing", "most"), [(0.0, 0.05), (0.5, 0.07)])
def test_a_planted_table_is_recovered_even_with_missing_outcomes(missing: float, most: float, grouped: bool) -> None:
    vectors, outcomes, clean, topics = planted(1000, missing=missing)
    stack = small().fit(vectors[:600], outcomes[:600], groups=topics[:600] if grouped else None)
    constant = error(np.nanmean(outcomes[:600], axis=0)[None], clean[600:])
    assert error(stack.predict(vectors[600:]), clean[600:]) < most < constant / 2


def test_probabilities_are_recovered_from_binary_outcomes() -> None:
    vectors, outcomes, clean, _ = planted(1600, binary=True)
    forecast = small().fit(vectors[:1200], outcomes[:1200]).predict(vectors[1200:])
    assert error(forecast, clean[1200:]) < 0.09 < error(outcomes[:1200].mean(axis=0)[None], clean[1200:])


def test_forecasts_scale_with_the_scores() -> None:
    vectors, outcomes, *_ = planted(400)
    plain = small().fit(vectors, outcomes).predict(vectors)
    scaled = small().fit(vectors, 0.25 + outcomes / 2).predict(vectors)
    assert error(scaled, 0.25 + plain / 2) < 0.01


def test_models_run_on_different_prompts_are_comparable() -> None:
    # The second model was run on the hard half only, so its mean is lower though its ability is higher.
    rng = np.random.default_rng(3)
    hard = np.repeat([0.0, 1.0], 200)
    vectors = np.column_stack([hard, 1 - hard, rng.normal(0, 0.1, 400)])
    outcomes = 0.8 - 0.6 * hard[:, None] + np.array([0.0, 0.15, 0.0]) + rng.normal(0, 0.02, (400, 3))
    outcomes[:180, 1] = np.nan
    outcomes[220:, 0] = np.nan
    assert np.nanmean(outcomes[:, 1]) < np.nanmean(outcomes[:, 0])
    expected = small().fit(vectors, outcomes).predict(vectors)
    assert (expected[:, 1] > expected[:, 0]).all()


def test_a_model_that_is_always_wrong_has_a_forecast_near_zero() -> None:
    vectors, outcomes, *_ = planted(400)
    outcomes[:, 1] = 0.0
    assert np.abs(small().fit(vectors, outcomes).predict(vectors)[:, 1]).max() < 0.1


def test_a_model_without_outcomes_gets_the_forecast_of_an_average_model() -> None:
    vectors, outcomes, *_ = planted(400)
    outcomes[:, 2] = np.nan
    stack = small().fit(vectors, outcomes)
    forecast = stack.predict(vectors)
    assert error(forecast[:, 2], np.delete(forecast, 2, axis=1).mean(axis=1)) < 0.05
    others = np.delete(stack.uncertainty_.residual_variance, 2)
    assert others.min() <= stack.uncertainty_.residual_variance[2] <= others.max()


def test_a_model_with_few_outcomes_follows_the_others() -> None:
    vectors, outcomes, *_ = planted(400)
    outcomes[MIN_ROWS // 2 :, 2] = np.nan
    forecast = small().fit(vectors, outcomes).predict(vectors)
    common = np.delete(forecast, 2, axis=1).mean(axis=1)
    assert np.corrcoef(forecast[:, 2], common)[0, 1] > 0.6
    assert abs(forecast[:, 2].mean() - common.mean()) < 0.2


def test_out_of_domain_the_forecasts_are_near_the_mean_scores() -> None:
    vectors, outcomes, _, topics = planted()
    stack = small().fit(vectors, outcomes, groups=topics)
    elsewhere = np.zeros((1, 12), np.float32)
    elsewhere[0, 10] = -40.0
    assert (
        stack.projector_(elsewhere).ood_probability[0]
        > stack.projector_(vectors.astype(np.float32)).ood_probability.mean()
    )
    assert error(stack.predict(elsewhere)[0], outcomes.mean(axis=0)) < 0.2


def test_the_uncertainty_out_of_domain_is_at_least_that_in_domain() -> None:
    vectors, outcomes, _, topics = planted(binary=True)
    for groups in (None, topics):
        shares = small().fit(vectors, outcomes, groups=groups).uncertainty_.shares
        assert ((shares > 0) & (shares <= 1)).all()
        assert (shares[1] >= shares[0]).all()


def test_the_uncertainty_out_of_domain_is_greater_if_topics_differ_much() -> None:
    vectors, outcomes, _, topics = planted(1200, binary=True)
    shares = small(landmarks=60).fit(vectors, outcomes, groups=topics).uncertainty_.shares
    assert (shares[1] > 2 * shares[0]).all()


def test_a_difficulty_that_all_models_share_does_not_add_to_the_independent_uncertainty() -> None:
    # The difficulties of the domains are independent.
    rng = np.random.default_rng(4)
    domains = np.arange(1200) % 8
    vectors = np.eye(8, 12)[domains] * 3 + rng.normal(0, 0.3, (1200, 12))
    chances = np.repeat(np.linspace(0.1, 0.9, 8)[rng.permutation(8)][domains, None], 4, axis=1)
    outcomes = (rng.random(chances.shape) < chances).astype(np.float64)
    (_, _), (total, independent) = small().fit(vectors, outcomes, groups=domains).uncertainty_.shares
    assert independent < total / 4


def test_with_two_domains_topics_are_left_out_as_without_domains() -> None:
    vectors, outcomes, _, topics = planted(binary=True)
    none, two = (small().fit(vectors, outcomes, groups=groups) for groups in (None, topics % 2))
    assert two.predict(vectors).tobytes() == none.predict(vectors).tobytes()
    (inside, outside), (of_two_inside, of_two_outside) = none.uncertainty_.shares, two.uncertainty_.shares
    np.testing.assert_array_equal(of_two_inside, inside)
    # Topics of two domains differ less than another domain would.
    assert (of_two_outside >= np.minimum(4 * outside, 0.25)).all()


def test_the_residual_variance_is_that_of_unseen_prompts() -> None:
    vectors, outcomes, clean, _ = planted(1200, binary=True)
    stack = small().fit(vectors[:600], outcomes[:600])
    unseen = np.square(stack.predict(vectors[600:]) - outcomes[600:]).mean(axis=0)
    np.testing.assert_allclose(stack.uncertainty_.residual_variance, unseen, rtol=0.15)
    assert (stack.uncertainty_.residual_variance >= 0.9 * (clean * (1 - clean)).mean(axis=0)).all()


def test_there_are_as_many_skills_as_needed_but_at_most_the_limit() -> None:
    vectors, outcomes, *_ = planted(300, models=8)
    assert small(skills=3).fit(vectors, outcomes).ability_.shape == (8, 3)
    assert small(skills=100).fit(vectors, outcomes).ability_.shape == (8, 8)


def test_the_forecast_is_bias_plus_skills_times_ability() -> None:
    vectors, outcomes, *_ = planted(100)
    stack = small().fit(vectors, outcomes)
    skills = stack.projector_(vectors.astype(np.float32)).skills
    np.testing.assert_allclose(stack.predict(vectors), stack.bias_ + skills @ stack.ability_.T)


def test_skills_have_a_common_scale() -> None:
    vectors, outcomes, *_ = planted()
    skills = small().fit(vectors, outcomes).projector_(vectors.astype(np.float32)).skills
    assert (np.sqrt(np.square(skills).mean(axis=0)) < 2).all()


def test_surface_features_are_not_part_of_the_topic() -> None:
    vectors, outcomes, *_ = planted(200)
    parameters = small(embedded=4).fit(vectors, outcomes).projector_.parameters
    assert parameters.landmarks.shape[1] == len(parameters.topic_center) == 4
    assert len(parameters.center) == 12


@pytest.mark.parametrize("width", [12, 90])
def test_the_mean_distance_is_exact_for_any_number_of_directions(width: int) -> None:
    scales = np.geomspace(3, 0.1, width)
    vectors = (np.random.default_rng(0).normal(size=(500, width)) * scales).astype(np.float32)
    projector = small().fit(vectors, vectors[:, :2]).projector_
    topics = (vectors - vectors.mean(axis=0)).astype(np.float64)
    covariance = topics.T @ topics / len(topics)
    shrunk = covariance + 0.1 * np.trace(covariance) / width * np.eye(width)
    exact = np.einsum("ij,ij->i", topics @ np.linalg.inv(shrunk), topics)
    assert projector.distance(vectors).mean() == pytest.approx(exact.mean(), rel=1e-3)
    assert np.corrcoef(projector.distance(vectors), exact)[0, 1] > 0.99


def test_the_novelty_of_training_prompts_is_uniform() -> None:
    vectors, outcomes, *_ = planted()
    novelty = small().fit(vectors, outcomes).projector_(vectors.astype(np.float32)).novelty
    np.testing.assert_allclose(np.quantile(novelty, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.03)


def test_a_prompt_unlike_all_training_prompts_is_novel_and_out_of_domain() -> None:
    vectors, outcomes, _, topics = planted()
    elsewhere = np.zeros((2, 12), np.float32)
    elsewhere[:, 9:] = 6.0
    elsewhere[1] = -6.0
    projector = small().fit(vectors, outcomes, groups=topics).projector_
    novel, training = projector(elsewhere), projector(vectors.astype(np.float32))
    assert (novel.novelty > 0.98).all()
    assert novel.ood_probability.min() > np.quantile(training.ood_probability, 0.95)


def test_the_forecast_of_one_column_has_the_shape_of_the_outcomes() -> None:
    vectors, outcomes, *_ = planted(100)
    assert small().fit(vectors, outcomes[:, 0]).predict(vectors).shape == (100,)
    assert small().fit(vectors, outcomes[:, :1]).predict(vectors).shape == (100, 1)


@pytest.mark.parametrize("grouped", [False, True], ids=["no groups", "groups"])
@pytest.mark.parametrize(
    ("vectors", "outcomes"),
    [
        (np.ones((1, 4)), np.array([[1.0, 0.0]])),
        (np.eye(2, 4), np.array([[1.0, 0.0], [0.0, 1.0]])),
        (np.eye(30), np.zeros((30, 3))),
        (np.eye(30), np.ones((30, 3))),
        (np.ones((30, 4)), np.tile([1.0, 0.0], (30, 1))),
        (np.zeros((40, 4)), np.random.default_rng(0).random((40, 2))),
        (np.eye(30), np.full((30, 2), np.nan)),
        (np.ones((1, 4)), np.full((1, 2), np.nan)),
        (np.random.default_rng(0).random((MIN_ROWS - 1, 4)), np.random.default_rng(1).random((MIN_ROWS - 1, 2))),
        (np.random.default_rng(0).random((MIN_ROWS, 4)), np.random.default_rng(1).random((MIN_ROWS, 1))),
        (np.eye(300)[:40], np.random.default_rng(1).random((40, 3))),
        (np.random.default_rng(0).random((50, 1)), np.random.default_rng(1).random((50, 3))),
    ],
    ids=[
        "one prompt",
        "two prompts",
        "all zero",
        "all one",
        "the same prompt many times",
        "vectors of zeros",
        "no outcomes",
        "one prompt without outcomes",
        "few prompts",
        "just enough prompts of one model",
        "more features than prompts",
        "one feature",
    ],
)
def test_a_degenerate_table_gives_finite_numbers(vectors: np.ndarray, outcomes: np.ndarray, grouped: bool) -> None:
    groups = np.array([f"domain {row % 4}" for row in range(len(vectors))]) if grouped else None
    stack = small().fit(vectors, outcomes, groups=groups)
    forecast = stack.predict(vectors)
    assert np.isfinite(forecast).all()
    assert np.isfinite(stack.uncertainty_.residual_variance).all()
    assert (stack.uncertainty_.residual_variance >= 0).all()
    if np.isfinite(outcomes).any():
        assert ((forecast > -0.1) & (forecast < 1.1)).all()


@given(st.integers(1, 60), st.integers(1, 4), st.integers(1, 5), st.floats(0, 1), st.integers(0, 100))
@settings(deadline=None, max_examples=40)
def test_any_small_table_gives_finite_numbers(prompts: int, models: int, width: int, missing: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(prompts, width)).round(int(rng.integers(0, 3)))
    outcomes = rng.integers(0, 2, (prompts, models)).astype(np.float64)
    outcomes[rng.random(outcomes.shape) < missing] = np.nan
    stack = small(landmarks=int(rng.integers(1, 9))).fit(vectors, outcomes, groups=rng.integers(0, 6, prompts))
    assert np.isfinite(stack.predict(vectors)).all()
    assert np.isfinite(stack.uncertainty_.residual_variance).all()


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_feature_that_is_not_finite_is_an_error(wrong: float) -> None:
    vectors, outcomes, *_ = planted(30)
    fitted = small().fit(vectors, outcomes)
    vectors[3, 2] = wrong
    with pytest.raises(ValueError, match="X contains"):
        small().fit(vectors, outcomes)
    with pytest.raises(ValueError, match="X contains"):
        fitted.predict(vectors)


def test_an_infinite_outcome_is_an_error() -> None:
    with pytest.raises(ValueError, match="infinity"):
        SkillStack().fit([[0.0], [1.0]], [[0.0], [np.inf]])


@pytest.mark.parametrize("groups", [None, [1, 2]], ids=["outcomes", "groups"])
def test_tables_of_different_length_are_an_error(groups: list[int] | None) -> None:
    outcomes = [[0.0]] if groups is None else [[0.0], [1.0], [0.0]]
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        SkillStack().fit(np.eye(3), outcomes, groups=groups)


def test_prompts_of_another_width_are_an_error() -> None:
    vectors, outcomes, *_ = planted(30)
    with pytest.raises(ValueError, match="12 features"):
        small().fit(vectors, outcomes).predict(vectors[:, :5])
