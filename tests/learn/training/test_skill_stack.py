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

from router.learn.training.skill_stack import MIN_ROWS, SkillStack, additive_effects, groups_with_same_rows

EXPECTED_FAILURES = {
    "check_supervised_y_no_nan": "NaN in y is a hole in the table: that model was not run on that prompt",
}
TOPICS = 6
Table = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def small(**parameters: Any) -> SkillStack:
    return SkillStack(**({"landmarks": 12, "skills": 6} | parameters))


def planted(prompts: int = 600, models: int = 5, binary: bool = False, holes: float = 0.0) -> Table:
    """Prompts of six topics at a random place about each, outcomes, what is expected of them, and the topics.

    A model is good at some topics and bad at others, and all do worse along one direction.
    """
    rng = np.random.default_rng(0)
    topics = rng.integers(0, TOPICS, prompts)
    middles = np.eye(TOPICS, 12) * 3
    vectors = middles[topics] + rng.normal(0, 0.5, (prompts, 12))
    chances = np.clip(0.5 + rng.uniform(-0.4, 0.4, (TOPICS, models)), 0.05, 0.95)[topics] + 0.1 * vectors[:, [-1]]
    chances = np.clip(chances, 0.0, 1.0)
    outcomes = (rng.random(chances.shape) < chances) if binary else chances + rng.normal(0, 0.05, chances.shape)
    outcomes = outcomes.astype(np.float64)
    outcomes[rng.random(outcomes.shape) < holes] = np.nan
    return vectors, outcomes, chances, topics


def error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.sqrt(np.square(found - expected).mean()))


def lens_of(stack: SkillStack) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in msgspec.structs.asdict(stack.reader_.lens).items()}


def test_it_passes_scikit_learns_own_checks() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(small(), expected_failed_checks=EXPECTED_FAILURES, on_skip=None, on_fail=None)
    assert len(results) > 30
    assert [result["check_name"] for result in results if result["status"] == "failed"] == []
    assert {result["check_name"] for result in results if result["status"] == "xfail"} == set(EXPECTED_FAILURES)


def test_parameters_can_be_read_set_and_cloned() -> None:
    stack = SkillStack(embedded=3, landmarks=7, sharpness=2.0, skills=5, folds=4, far_share=0.1, random_state=9)
    stated = {
        "embedded": 3,
        "landmarks": 7,
        "sharpness": 2.0,
        "skills": 5,
        "folds": 4,
        "far_share": 0.1,
        "random_state": 9,
    }
    assert stack.get_params() == stated
    assert clone(stack).set_params(skills=8).get_params() == stated | {"skills": 8}


def test_fit_returns_itself_and_learned_attributes_end_in_an_underscore() -> None:
    stack = small()
    before = set(vars(stack))
    vectors, outcomes, *_ = planted(60)
    assert stack.fit(vectors, outcomes) is stack
    assert all(name.endswith("_") for name in set(vars(stack)) - before)


def test_predicting_before_fitting_is_an_error() -> None:
    with pytest.raises(NotFittedError):
        SkillStack().predict([[1.0]])


def test_fitting_twice_gives_the_same_bits() -> None:
    vectors, outcomes, _, topics = planted(200, holes=0.2)
    one, two = (small().fit(vectors, outcomes, groups=topics) for _ in range(2))
    assert lens_of(one) == lens_of(two)
    assert one.predict(vectors).tobytes() == two.predict(vectors).tobytes()
    assert one.doubt_.residual_variance.tobytes() == two.doubt_.residual_variance.tobytes()


def test_the_random_state_chooses_the_landmarks_and_changes_the_forecasts_little() -> None:
    vectors, outcomes, *_ = planted()
    one, two = (small(landmarks=3, random_state=state).fit(vectors, outcomes) for state in (0, 1))
    assert lens_of(one)["landmarks"] != lens_of(two)["landmarks"]
    for name in ("center", "scale", "topic_center", "sharpness"):
        assert lens_of(one)[name] == lens_of(two)[name]
    assert error(one.predict(vectors), two.predict(vectors)) < 0.05


@pytest.mark.parametrize("grouped", [False, True], ids=["no groups", "groups"])
@pytest.mark.parametrize(("holes", "most"), [(0.0, 0.05), (0.5, 0.07)])
def test_a_planted_table_is_recovered_even_with_holes(holes: float, most: float, grouped: bool) -> None:
    vectors, outcomes, clean, topics = planted(1000, holes=holes)
    stack = small().fit(vectors[:600], outcomes[:600], groups=topics[:600] if grouped else None)
    constant = error(np.nanmean(outcomes[:600], axis=0)[None], clean[600:])
    assert error(stack.predict(vectors[600:]), clean[600:]) < most < constant / 2


def test_right_or_wrong_alone_tells_the_chances() -> None:
    vectors, outcomes, clean, _ = planted(1600, binary=True)
    found = small().fit(vectors[:1200], outcomes[:1200]).predict(vectors[1200:])
    assert error(found, clean[1200:]) < 0.09 < error(outcomes[:1200].mean(axis=0)[None], clean[1200:])


def test_scores_on_another_scale_are_learned_alike() -> None:
    vectors, outcomes, *_ = planted(400)
    plain = small().fit(vectors, outcomes).predict(vectors)
    scaled = small().fit(vectors, 0.25 + outcomes / 2).predict(vectors)
    assert error(scaled, 0.25 + plain / 2) < 0.01


def test_models_run_on_different_prompts_are_comparable() -> None:
    # The second model only saw the hard half and so has the lower mean, though it is the abler of the two.
    rng = np.random.default_rng(3)
    hard = np.repeat([0.0, 1.0], 200)
    vectors = np.column_stack([hard, 1 - hard, rng.normal(0, 0.1, 400)])
    outcomes = 0.8 - 0.6 * hard[:, None] + np.array([0.0, 0.15, 0.0]) + rng.normal(0, 0.02, (400, 3))
    outcomes[:180, 1] = np.nan
    outcomes[220:, 0] = np.nan
    assert np.nanmean(outcomes[:, 1]) < np.nanmean(outcomes[:, 0])
    expected = small().fit(vectors, outcomes).predict(vectors)
    assert (expected[:, 1] > expected[:, 0]).all()


def test_a_model_that_is_always_wrong_is_forecast_to_be_wrong() -> None:
    vectors, outcomes, *_ = planted(400)
    outcomes[:, 1] = 0.0
    assert np.abs(small().fit(vectors, outcomes).predict(vectors)[:, 1]).max() < 0.1


def test_a_model_without_outcomes_gets_an_average_models_forecast() -> None:
    vectors, outcomes, *_ = planted(400)
    outcomes[:, 2] = np.nan
    stack = small().fit(vectors, outcomes)
    found = stack.predict(vectors)
    assert error(found[:, 2], np.delete(found, 2, axis=1).mean(axis=1)) < 0.05
    others = np.delete(stack.doubt_.residual_variance, 2)
    assert others.min() <= stack.doubt_.residual_variance[2] <= others.max()


def test_many_models_without_outcomes_are_no_more_work_than_one() -> None:
    _, outcomes, *_ = planted(100)
    known = np.column_stack([~np.isnan(outcomes), np.zeros((100, 40), np.bool_)])
    assert len(groups_with_same_rows(known)) == 2


def test_a_model_with_few_outcomes_follows_the_others() -> None:
    vectors, outcomes, *_ = planted(400)
    outcomes[MIN_ROWS // 2 :, 2] = np.nan
    found = small().fit(vectors, outcomes).predict(vectors)
    common = np.delete(found, 2, axis=1).mean(axis=1)
    assert np.corrcoef(found[:, 2], common)[0, 1] > 0.6
    assert abs(found[:, 2].mean() - common.mean()) < 0.2


def test_far_from_the_training_the_models_keep_their_usual_ability() -> None:
    vectors, outcomes, _, topics = planted()
    stack = small().fit(vectors, outcomes, groups=topics)
    elsewhere = np.zeros((1, 12), np.float32)
    elsewhere[0, 10] = -40.0
    assert stack.reader_(elsewhere).farness[0] > stack.reader_(vectors.astype(np.float32)).farness.mean()
    assert error(stack.predict(elsewhere)[0], outcomes.mean(axis=0)) < 0.2


def test_the_doubt_far_from_the_training_is_no_less_than_near_it() -> None:
    vectors, outcomes, _, topics = planted(binary=True)
    for groups in (None, topics):
        shares = small().fit(vectors, outcomes, groups=groups).doubt_.shares
        assert ((shares > 0) & (shares <= 1)).all()
        assert (shares[1] >= shares[0]).all()


def test_where_topics_differ_much_the_doubt_far_from_the_training_is_greater() -> None:
    vectors, outcomes, _, topics = planted(1200, binary=True)
    shares = small(landmarks=60).fit(vectors, outcomes, groups=topics).doubt_.shares
    assert (shares[1] > 2 * shares[0]).all()


def test_what_all_models_find_hard_alike_is_no_doubt_about_their_difference() -> None:
    # Each domain has a difficulty of its own, which no domain tells about another.
    rng = np.random.default_rng(4)
    domains = np.arange(1200) % 8
    vectors = np.eye(8, 12)[domains] * 3 + rng.normal(0, 0.3, (1200, 12))
    chances = np.repeat(np.linspace(0.1, 0.9, 8)[rng.permutation(8)][domains, None], 4, axis=1)
    outcomes = (rng.random(chances.shape) < chances).astype(np.float64)
    (_, _), (every, own) = small().fit(vectors, outcomes, groups=domains).doubt_.shares
    assert own < every / 4


def test_two_domains_are_judged_by_topics_as_none_are() -> None:
    vectors, outcomes, _, topics = planted(binary=True)
    none, two = (small().fit(vectors, outcomes, groups=groups) for groups in (None, topics % 2))
    assert two.predict(vectors).tobytes() == none.predict(vectors).tobytes()
    near, far = two.doubt_.shares
    np.testing.assert_array_equal(far, np.maximum(near, none.doubt_.shares[1]))


def test_residuals_are_those_of_prompts_not_seen() -> None:
    vectors, outcomes, clean, _ = planted(1200, binary=True)
    stack = small().fit(vectors[:600], outcomes[:600])
    unseen = np.square(stack.predict(vectors[600:]) - outcomes[600:]).mean(axis=0)
    np.testing.assert_allclose(stack.doubt_.residual_variance, unseen, rtol=0.15)
    assert (stack.doubt_.residual_variance >= 0.9 * (clean * (1 - clean)).mean(axis=0)).all()


def test_the_skills_are_as_many_as_are_needed_and_no_more_than_allowed() -> None:
    vectors, outcomes, *_ = planted(300, models=8)
    assert small(skills=3).fit(vectors, outcomes).ability_.shape == (8, 3)
    assert small(skills=100).fit(vectors, outcomes).ability_.shape == (8, 8)


def test_the_forecast_is_bias_plus_skills_times_ability() -> None:
    vectors, outcomes, *_ = planted(100)
    stack = small().fit(vectors, outcomes)
    skills = stack.reader_(vectors.astype(np.float32)).skills
    np.testing.assert_allclose(stack.predict(vectors), stack.bias_ + skills @ stack.ability_.T)


def test_skills_have_a_common_scale() -> None:
    vectors, outcomes, *_ = planted()
    skills = small().fit(vectors, outcomes).reader_(vectors.astype(np.float32)).skills
    assert (np.sqrt(np.square(skills).mean(axis=0)) < 2).all()


def test_surface_features_are_no_topic() -> None:
    vectors, outcomes, *_ = planted(200)
    lens = small(embedded=4).fit(vectors, outcomes).reader_.lens
    assert lens.landmarks.shape[1] == len(lens.topic_center) == 4
    assert len(lens.center) == 12


@pytest.mark.parametrize("width", [12, 90])
def test_the_mean_distance_is_exact_however_few_directions_are_kept(width: int) -> None:
    scales = np.geomspace(3, 0.1, width)
    vectors = (np.random.default_rng(0).normal(size=(500, width)) * scales).astype(np.float32)
    reader = small().fit(vectors, vectors[:, :2]).reader_
    away = (vectors - vectors.mean(axis=0)).astype(np.float64)
    covariance = away.T @ away / len(away)
    shrunk = covariance + 0.1 * np.trace(covariance) / width * np.eye(width)
    exact = np.einsum("ij,ij->i", away @ np.linalg.inv(shrunk), away)
    assert reader.distance(vectors).mean() == pytest.approx(exact.mean(), rel=1e-3)
    assert np.corrcoef(reader.distance(vectors), exact)[0, 1] > 0.99


def test_training_prompts_are_evenly_spread_over_novelty() -> None:
    vectors, outcomes, *_ = planted()
    novelty = small().fit(vectors, outcomes).reader_(vectors.astype(np.float32)).novelty
    np.testing.assert_allclose(np.quantile(novelty, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.03)


def test_a_prompt_unlike_all_training_prompts_is_new_and_far() -> None:
    vectors, outcomes, _, topics = planted()
    elsewhere = np.zeros((2, 12), np.float32)
    elsewhere[:, 9:] = 6.0
    elsewhere[1] = -6.0
    reader = small().fit(vectors, outcomes, groups=topics).reader_
    strange, usual = reader(elsewhere), reader(vectors.astype(np.float32))
    assert (strange.novelty > 0.98).all()
    assert strange.farness.min() > np.quantile(usual.farness, 0.95)


def test_one_column_comes_back_as_one_column() -> None:
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
        "the same prompt over and over",
        "nothing but zeros",
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
    found = stack.predict(vectors)
    assert np.isfinite(found).all()
    assert np.isfinite(stack.doubt_.residual_variance).all()
    assert (stack.doubt_.residual_variance >= 0).all()
    if np.isfinite(outcomes).any():
        assert ((found > -0.1) & (found < 1.1)).all()


@given(st.integers(1, 60), st.integers(1, 4), st.integers(1, 5), st.floats(0, 1), st.integers(0, 100))
@settings(deadline=None, max_examples=40)
def test_any_small_table_gives_finite_numbers(prompts: int, models: int, width: int, holes: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(prompts, width)).round(int(rng.integers(0, 3)))
    outcomes = rng.integers(0, 2, (prompts, models)).astype(np.float64)
    outcomes[rng.random(outcomes.shape) < holes] = np.nan
    stack = small(landmarks=int(rng.integers(1, 9))).fit(vectors, outcomes, groups=rng.integers(0, 6, prompts))
    assert np.isfinite(stack.predict(vectors)).all()
    assert np.isfinite(stack.doubt_.residual_variance).all()


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


def test_models_run_on_much_the_same_prompts_share_a_group() -> None:
    known = np.zeros((100, 5), np.bool_)
    known[:50, :2] = True
    known[49:, 2:4] = True
    assert groups_with_same_rows(known)[:2] == [[0, 1], [2, 3]]


def test_there_are_few_groups_however_many_models_were_run_on_prompts_of_their_own() -> None:
    groups = groups_with_same_rows(np.eye(50, dtype=np.bool_))
    assert len(groups) <= 8
    assert sorted(model for group in groups for model in group) == list(range(50))


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
