from __future__ import annotations

import functools

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.perceive.features import feature_vector
from router.perceive.predictor import Predictor
from router.perceive.skills import CLIP, SkillParameters, SkillProjection, SkillProjector, levels, quantised, row_by_row
from router.perceive.text.encoder import StaticEncoder
from router.types import Floats

WIDTH, EMBEDDED, LANDMARKS, DIRECTIONS, SKILLS = 70, 64, 24, 10, 7
SUM, POEM = "What is 123 plus 456?", "Write a poem about the river in spring."


@functools.cache
def parameters() -> SkillParameters:
    """Plausible numbers; the vectors of `prompts` are in domain."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(LANDMARKS, EMBEDDED))
    centers /= np.linalg.norm(centers, axis=1, keepdims=True)
    integers, step = quantised(centers.astype(np.float32), levels(EMBEDDED))
    arrays = {
        "center": rng.normal(0, 0.1, WIDTH),
        "scale": rng.uniform(0.1, 2.0, WIDTH),
        "topic_center": rng.normal(0, 0.05, EMBEDDED),
        "landmark_scale": step[:, 0],
        "sharpness": np.array([5.0]),
        "similarity_center": np.full(LANDMARKS, 1 / LANDMARKS),
        "similarity_scale": np.full(LANDMARKS, 0.02),
        "ood_logit": np.array([-1.0, 2.0]),
        "in_domain": rng.normal(0, 0.1, (1 + WIDTH + LANDMARKS, SKILLS)),
        "out_of_domain": rng.normal(0, 0.1, (1 + WIDTH + LANDMARKS, SKILLS)),
        "directions": np.linalg.qr(rng.normal(size=(EMBEDDED, DIRECTIONS)))[0].T,
        "precision": np.append(np.geomspace(1.0, 8.0, DIRECTIONS), 10.0),
        "ood_score": np.array([1.0, 0.02, -3.0]),
        "ood_score_quantiles": np.linspace(-2.0, 2.0, 101),
    }
    return SkillParameters(
        landmarks=integers.astype(np.int8), **{name: array.astype(np.float32) for name, array in arrays.items()}
    )


@functools.cache
def projector() -> SkillProjector:
    return SkillProjector(parameters())


@functools.cache
def prompts(count: int = 80) -> Floats:
    return np.random.default_rng(1).normal(0, 0.3, (count, WIDTH)).astype(np.float32)


def same_bits(left: SkillProjection, right: SkillProjection) -> bool:
    return all(one.tobytes() == other.tobytes() for one, other in zip(left, right, strict=True))


def row(projection: SkillProjection, position: int) -> SkillProjection:
    return SkillProjection(*(array[position : position + 1] for array in projection))


@given(st.lists(st.integers(0, 79), min_size=1, max_size=80))
@settings(deadline=None)
def test_a_prompt_has_the_same_skills_to_the_bit_alone_and_anywhere_in_any_batch(rows: list[int]) -> None:
    batch = projector()(prompts()[rows])
    for position, prompt in enumerate(rows):
        assert same_bits(row(batch, position), projector()(prompts()[[prompt]]))


@given(st.integers(1, 200), st.integers(0, 1000))
@settings(deadline=None, max_examples=30)
def test_the_other_prompts_of_a_batch_do_not_change_any_bit(others: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    other_prompts = rng.normal(0, 10.0 ** rng.uniform(-3, 3), (others, WIDTH)).astype(np.float32)
    position = int(rng.integers(0, others + 1))
    batch = np.insert(other_prompts, position, prompts()[0], axis=0)
    assert same_bits(row(projector()(batch), position), projector()(prompts()[:1]))


def test_real_prompts_have_the_same_skills_to_the_bit_alone_and_in_a_batch(
    predictor: Predictor, encoder: StaticEncoder
) -> None:
    texts = [f"{text} {number}" for number in range(40) for text in (SUM, POEM)]
    vectors = np.stack([feature_vector(encoder, (text,)) for text in texts])
    batch = predictor.projector(vectors)
    for position in range(len(texts)):
        assert same_bits(row(batch, position), predictor.projector(vectors[position : position + 1]))


@given(st.integers(1, 30), st.integers(1, 90), st.integers(1, 40), st.integers(0, 100))
@settings(deadline=None, max_examples=40)
def test_a_product_row_by_row_is_the_product_and_the_same_for_each_row(
    count: int, width: int, columns: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rows, matrix = rng.normal(size=(count, width)), rng.normal(size=(width, columns))
    product = row_by_row(rows, matrix)
    np.testing.assert_allclose(product, rows @ matrix, rtol=1e-9, atol=1e-12)
    for position in range(count):
        assert row_by_row(rows[[position]], matrix).tobytes() == product[position].tobytes()


@given(st.integers(1, 2000), st.integers(0, 1000))
@settings(deadline=None, max_examples=60)
def test_products_of_integers_of_the_greatest_size_add_up_exactly_in_single_precision(width: int, seed: int) -> None:
    greatest = levels(width)
    rng = np.random.default_rng(seed)
    first, second = (rng.choice([-greatest, greatest], width) for _ in range(2))
    for left, right in ((first, second), (first, first)):
        assert int(left.astype(np.float32) @ right.astype(np.float32)) == int(left.astype(np.int64) @ right)


def test_levels_fit_into_a_byte_and_are_at_least_one() -> None:
    assert levels(1) == 127
    assert levels(10**9) == 1
    assert [levels(width) for width in (64, 1500)] == sorted((levels(64), levels(1500)), reverse=True)


def test_the_cosine_is_the_exact_sum_of_products_of_integers() -> None:
    topics = prompts()[:, :EMBEDDED] - parameters().topic_center
    topics = topics / np.linalg.norm(topics, axis=1, keepdims=True)
    integers, step = quantised(topics, levels(EMBEDDED))
    exact = integers.astype(np.int64) @ parameters().landmarks.T.astype(np.int64)
    ratio = projector().cosine(prompts()) / (step.astype(np.float64) * parameters().landmark_scale)
    np.testing.assert_allclose(ratio, exact, atol=1e-9)


def test_the_quantised_cosine_is_the_cosine_up_to_rounding() -> None:
    topics = prompts()[:, :EMBEDDED].astype(np.float64) - parameters().topic_center
    landmarks = parameters().landmarks * parameters().landmark_scale[:, None].astype(np.float64)
    cosines = topics @ landmarks.T / np.linalg.norm(topics, axis=1, keepdims=True) / np.linalg.norm(landmarks, axis=1)
    assert np.abs(projector().cosine(prompts()) - cosines).max() < 0.01


@given(st.integers(0, LANDMARKS - 1), st.floats(0.125, 100, width=32))
@settings(deadline=None, max_examples=30)
def test_a_topic_in_the_direction_of_a_landmark_is_nearest_to_it_at_any_length(landmark: int, length: float) -> None:
    vector = np.zeros((1, WIDTH), np.float32)
    vector[0, :EMBEDDED] = (
        parameters().topic_center + length * parameters().landmarks[landmark] * parameters().landmark_scale[landmark]
    )
    cosines = projector().cosine(vector)[0]
    assert cosines.argmax() == landmark
    assert cosines[landmark] == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("greatest", [1, 50, 127])
def test_quantised_rows_times_their_step_are_the_rows_up_to_half_a_step(greatest: int) -> None:
    rows = prompts()
    integers, step = quantised(rows, greatest)
    assert np.abs(integers).max() == greatest
    assert (integers == np.rint(integers)).all()
    assert (np.abs(integers * step - rows) <= step * 0.5001).all()


def test_the_similarities_to_all_landmarks_sum_to_one_before_standardisation() -> None:
    plain = msgspec.structs.replace(
        parameters(),
        similarity_center=np.zeros(LANDMARKS, np.float32),
        similarity_scale=np.ones(LANDMARKS, np.float32),
    )
    similarities = SkillProjector(plain).similarity(projector().cosine(prompts()))
    assert (similarities > 0).all()
    np.testing.assert_allclose(similarities.sum(axis=1), 1.0, rtol=1e-12)


def test_the_nearest_landmark_has_the_greatest_similarity() -> None:
    plain = msgspec.structs.replace(parameters(), similarity_scale=np.ones(LANDMARKS, np.float32))
    cosines = projector().cosine(prompts())
    assert (SkillProjector(plain).similarity(cosines).argmax(axis=1) == cosines.argmax(axis=1)).all()


def test_the_distance_is_a_mahalanobis_distance_with_one_precision_for_all_other_directions() -> None:
    directions = parameters().directions.astype(np.float64)
    precision = parameters().precision.astype(np.float64)
    matrix = precision[-1] * np.eye(EMBEDDED) + (directions.T * (precision[:-1] - precision[-1])) @ directions
    topics = (prompts()[:, :EMBEDDED] - parameters().topic_center).astype(np.float64)
    expected = np.einsum("ij,jk,ik->i", topics, matrix, topics)
    np.testing.assert_allclose(projector().distance(prompts()), expected, rtol=1e-6)


def test_the_ood_score_rises_with_the_distance_and_falls_with_the_cosine() -> None:
    steps = np.linspace(0, 1, 11)
    assert (np.diff(projector().ood_score(100 * steps, np.zeros(11))) > 0).all()
    assert (np.diff(projector().ood_score(np.ones(11), steps)) < 0).all()
    np.testing.assert_allclose(projector().ood_score(np.array([50.0]), np.array([0.5])), [0.5], atol=1e-6)


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=30))
@settings(deadline=None)
def test_the_ood_probability_rises_with_the_ood_score(ood_scores: list[float]) -> None:
    probability = projector().ood_probability(np.array(sorted(ood_scores)))
    assert ((probability >= 0) & (probability <= 1)).all()
    assert (np.diff(probability) >= 0).all()


def test_the_ood_probability_is_logistic_in_the_ood_score() -> None:
    intercept, slope = parameters().ood_logit.astype(np.float64)
    ood_scores = np.linspace(-3, 3, 21)
    np.testing.assert_allclose(
        projector().ood_probability(ood_scores), 1 / (1 + np.exp(-(intercept + slope * ood_scores)))
    )


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=30))
@settings(deadline=None)
def test_novelty_is_a_share_that_rises_with_the_ood_score(ood_scores: list[float]) -> None:
    novelty = projector()._novelty(np.array(sorted(ood_scores)))
    assert ((novelty >= 0) & (novelty <= 1)).all()
    assert (np.diff(novelty) >= 0).all()


def test_novelty_is_the_share_of_training_prompts_with_a_lower_ood_score() -> None:
    assert projector()._novelty(np.array([-9.0, 0.0, 9.0])).tolist() == pytest.approx([0.0, 0.5, 1.0], abs=0.01)


def test_ood_probability_and_novelty_rise_as_a_prompt_moves_away_from_all_landmarks() -> None:
    direction = np.linalg.svd(parameters().landmarks.astype(np.float64))[2][-1]
    vectors = np.zeros((6, WIDTH), np.float32)
    vectors[:, :EMBEDDED] = parameters().topic_center + 0.3 * parameters().landmarks[0] * parameters().landmark_scale[0]
    vectors[:, :EMBEDDED] += (np.arange(6)[:, None] * direction).astype(np.float32)
    projection = projector()(vectors)
    assert (np.diff(projection.ood_probability) > 0).all()
    assert (np.diff(projection.novelty) >= 0).all()
    assert projection.novelty[-1] > projection.novelty[0]


def test_in_domain_one_matrix_gives_the_skills_and_out_of_domain_the_other() -> None:
    for intercept, matrix in ((-30.0, parameters().in_domain), (30.0, parameters().out_of_domain)):
        fixed = msgspec.structs.replace(parameters(), ood_logit=np.array([intercept, 0.0], np.float32))
        projection = SkillProjector(fixed)(prompts())
        np.testing.assert_allclose(projection.skills, projection.regressors @ matrix.astype(np.float64), atol=1e-9)


def test_skills_interpolate_between_the_two_matrices_by_the_ood_probability() -> None:
    projection = projector()(prompts())
    in_domain, out_of_domain = (
        projection.regressors @ matrix.astype(np.float64)
        for matrix in (parameters().in_domain, parameters().out_of_domain)
    )
    t = projection.ood_probability[:, None]
    np.testing.assert_allclose(projection.skills, (1 - t) * in_domain + t * out_of_domain, atol=1e-9)


def test_the_regressors_are_one_then_standardised_features_then_similarities() -> None:
    standardised, similarities, ood_scores = projector().features(prompts())
    projection = projector()(prompts())
    assert (projection.regressors[:, 0] == 1).all()
    assert np.array_equal(projection.regressors[:, 1 : 1 + WIDTH], standardised)
    assert np.array_equal(projection.regressors[:, 1 + WIDTH :], similarities)
    nearest = projector().cosine(prompts()).max(axis=1)
    assert np.array_equal(ood_scores, projector().ood_score(projector().distance(prompts()), nearest))


def test_standardised_features_are_in_deviations_from_the_mean() -> None:
    vectors = (parameters().center + parameters().scale * np.array([[-2.0], [0.0], [3.0], [50.0]])).astype(np.float32)
    np.testing.assert_allclose(projector().standardised(vectors)[:3], np.tile([[-2.0], [0.0], [3.0]], WIDTH), atol=1e-4)
    assert (projector().standardised(vectors)[3] == CLIP).all()


@given(
    st.lists(
        st.sampled_from([0.0, 1e-30, 1e-12, 1.0, -1.0, 1e6, -1e12, 1e18, -1e18]) | st.floats(-1e3, 1e3, width=32),
        min_size=1,
        max_size=WIDTH,
    )
)
@settings(deadline=None)
def test_any_vector_gives_finite_numbers(values: list[float]) -> None:
    projection = projector()(np.resize(np.array(values, np.float32), (1, WIDTH)))
    assert all(np.isfinite(array).all() for array in projection)
    assert np.abs(projection.regressors[:, 1:]).max() <= CLIP


def test_a_prompt_without_a_topic_has_the_cosine_zero_to_all_landmarks() -> None:
    vector = np.zeros((1, WIDTH), np.float32)
    vector[0, :EMBEDDED] = parameters().topic_center
    assert (projector().cosine(vector) == 0).all()


def test_no_prompts_give_no_skills() -> None:
    projection = projector()(np.zeros((0, WIDTH), np.float32))
    assert projection.skills.shape == (0, SKILLS)
    assert len(projection.ood_probability) == len(projection.novelty) == 0
