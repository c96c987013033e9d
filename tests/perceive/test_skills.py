from __future__ import annotations

import functools

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.perceive.encoder import StaticEncoder
from router.perceive.features import feature_vector
from router.perceive.predictor import Predictor
from router.perceive.skills import CLIP, SkillParameters, SkillProjection, SkillProjector, levels, quantised, row_by_row
from router.types import Floats

WIDTH, EMBEDDED, LANDMARKS, DIRECTIONS, SKILLS = 70, 64, 24, 10, 7
SUM, POEM = "What is 123 plus 456?", "Write a poem about the river in spring."


@functools.cache
def lens() -> SkillParameters:
    """A lens of plausible numbers, near which prompts of `prompts` lie."""
    rng = np.random.default_rng(0)
    middles = rng.normal(size=(LANDMARKS, EMBEDDED))
    middles /= np.linalg.norm(middles, axis=1, keepdims=True)
    whole, step = quantised(middles.astype(np.float32), levels(EMBEDDED))
    arrays = {
        "center": rng.normal(0, 0.1, WIDTH),
        "scale": rng.uniform(0.1, 2.0, WIDTH),
        "topic_center": rng.normal(0, 0.05, EMBEDDED),
        "landmark_scale": step[:, 0],
        "sharpness": np.array([5.0]),
        "likeness_center": np.full(LANDMARKS, 1 / LANDMARKS),
        "likeness_scale": np.full(LANDMARKS, 0.02),
        "gate": np.array([-1.0, 2.0]),
        "near": rng.normal(0, 0.1, (1 + WIDTH + LANDMARKS, SKILLS)),
        "far": rng.normal(0, 0.1, (1 + WIDTH + LANDMARKS, SKILLS)),
        "directions": np.linalg.qr(rng.normal(size=(EMBEDDED, DIRECTIONS)))[0].T,
        "precision": np.append(np.geomspace(1.0, 8.0, DIRECTIONS), 10.0),
        "strangeness": np.array([1.0, 0.02, -3.0]),
        "strangeness_quantiles": np.linspace(-2.0, 2.0, 101),
    }
    return SkillParameters(
        landmarks=whole.astype(np.int8), **{name: each.astype(np.float32) for name, each in arrays.items()}
    )


@functools.cache
def reader() -> SkillProjector:
    return SkillProjector(lens())


@functools.cache
def prompts(count: int = 80) -> Floats:
    return np.random.default_rng(1).normal(0, 0.3, (count, WIDTH)).astype(np.float32)


def same_bits(one: SkillProjection, other: SkillProjection) -> bool:
    return all(ours.tobytes() == theirs.tobytes() for ours, theirs in zip(one, other, strict=True))


def row(reading: SkillProjection, position: int) -> SkillProjection:
    return SkillProjection(*(each[position : position + 1] for each in reading))


@given(st.lists(st.integers(0, 79), min_size=1, max_size=80))
@settings(deadline=None)
def test_a_prompt_is_read_alike_alone_and_anywhere_in_any_batch_to_the_last_bit(rows: list[int]) -> None:
    batch = reader()(prompts()[rows])
    for position, own in enumerate(rows):
        assert same_bits(row(batch, position), reader()(prompts()[[own]]))


@given(st.integers(1, 200), st.integers(0, 1000))
@settings(deadline=None, max_examples=30)
def test_the_other_prompts_of_a_batch_change_no_bit(others: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    company = rng.normal(0, 10.0 ** rng.uniform(-3, 3), (others, WIDTH)).astype(np.float32)
    position = int(rng.integers(0, others + 1))
    batch = np.insert(company, position, prompts()[0], axis=0)
    assert same_bits(row(reader()(batch), position), reader()(prompts()[:1]))


def test_real_prompts_are_read_alike_alone_and_in_a_batch(predictor: Predictor, encoder: StaticEncoder) -> None:
    texts = [f"{text} {number}" for number in range(40) for text in (SUM, POEM)]
    vectors = np.stack([feature_vector(encoder, (text,)) for text in texts])
    batch = predictor.reader(vectors)
    for position in range(len(texts)):
        assert same_bits(row(batch, position), predictor.reader(vectors[position : position + 1]))


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
def test_whole_numbers_of_the_greatest_size_add_up_exactly_in_single_precision(width: int, seed: int) -> None:
    greatest = levels(width)
    rng = np.random.default_rng(seed)
    one, other = (rng.choice([-greatest, greatest], width) for _ in range(2))
    for left, right in ((one, other), (one, one)):
        assert int(left.astype(np.float32) @ right.astype(np.float32)) == int(left.astype(np.int64) @ right)


def test_levels_fit_into_a_byte_and_are_never_none() -> None:
    assert levels(1) == 127
    assert levels(10**9) == 1
    assert [levels(width) for width in (64, 1500)] == sorted((levels(64), levels(1500)), reverse=True)


def test_closeness_is_the_sum_of_products_of_whole_numbers() -> None:
    topics = prompts()[:, :EMBEDDED] - lens().topic_center
    topics = topics / np.linalg.norm(topics, axis=1, keepdims=True)
    whole, step = quantised(topics, levels(EMBEDDED))
    exact = whole.astype(np.int64) @ lens().landmarks.T.astype(np.int64)
    ratio = reader().closeness(prompts()) / (step.astype(np.float64) * lens().landmark_scale)
    np.testing.assert_allclose(ratio, exact, atol=1e-9)


def test_closeness_is_the_cosine_but_for_rounding() -> None:
    topics = prompts()[:, :EMBEDDED].astype(np.float64) - lens().topic_center
    marks = lens().landmarks * lens().landmark_scale[:, None].astype(np.float64)
    cosines = topics @ marks.T / np.linalg.norm(topics, axis=1, keepdims=True) / np.linalg.norm(marks, axis=1)
    assert np.abs(reader().closeness(prompts()) - cosines).max() < 0.01


@given(st.integers(0, LANDMARKS - 1), st.floats(0.125, 100, width=32))
@settings(deadline=None, max_examples=30)
def test_a_topic_of_any_length_lies_nearest_to_its_own_landmark(own: int, length: float) -> None:
    vector = np.zeros((1, WIDTH), np.float32)
    vector[0, :EMBEDDED] = lens().topic_center + length * lens().landmarks[own] * lens().landmark_scale[own]
    closeness = reader().closeness(vector)[0]
    assert closeness.argmax() == own
    assert closeness[own] == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("greatest", [1, 50, 127])
def test_whole_numbers_with_their_step_give_the_row_back(greatest: int) -> None:
    rows = prompts()
    whole, step = quantised(rows, greatest)
    assert np.abs(whole).max() == greatest
    assert (whole == np.rint(whole)).all()
    assert (np.abs(whole * step - rows) <= step * 0.5001).all()


def test_likeness_to_all_landmarks_sums_to_one() -> None:
    plain = msgspec.structs.replace(
        lens(),
        likeness_center=np.zeros(LANDMARKS, np.float32),
        likeness_scale=np.ones(LANDMARKS, np.float32),
    )
    likeness = SkillProjector(plain).likeness(reader().closeness(prompts()))
    assert (likeness > 0).all()
    np.testing.assert_allclose(likeness.sum(axis=1), 1.0, rtol=1e-12)


def test_the_nearest_landmark_has_the_greatest_likeness() -> None:
    plain = msgspec.structs.replace(lens(), likeness_scale=np.ones(LANDMARKS, np.float32))
    closeness = reader().closeness(prompts())
    assert (SkillProjector(plain).likeness(closeness).argmax(axis=1) == closeness.argmax(axis=1)).all()


def test_the_distance_is_mahalanobis_along_the_directions_and_alike_along_all_others() -> None:
    directions = lens().directions.astype(np.float64)
    precision = lens().precision.astype(np.float64)
    matrix = precision[-1] * np.eye(EMBEDDED) + (directions.T * (precision[:-1] - precision[-1])) @ directions
    away = (prompts()[:, :EMBEDDED] - lens().topic_center).astype(np.float64)
    expected = np.einsum("ij,jk,ik->i", away, matrix, away)
    np.testing.assert_allclose(reader().distance(prompts()), expected, rtol=1e-6)


def test_strangeness_rises_with_the_distance_and_falls_with_closeness() -> None:
    steps = np.linspace(0, 1, 11)
    assert (np.diff(reader().strangeness(100 * steps, np.zeros(11))) > 0).all()
    assert (np.diff(reader().strangeness(np.ones(11), steps)) < 0).all()
    np.testing.assert_allclose(reader().strangeness(np.array([50.0]), np.array([0.5])), [0.5], atol=1e-6)


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=30))
@settings(deadline=None)
def test_farness_rises_with_strangeness(strangeness: list[float]) -> None:
    farness = reader().farness(np.array(sorted(strangeness)))
    assert ((farness >= 0) & (farness <= 1)).all()
    assert (np.diff(farness) >= 0).all()


def test_farness_is_the_logistic_curve_of_the_gate() -> None:
    offset, slope = lens().gate.astype(np.float64)
    strangeness = np.linspace(-3, 3, 21)
    np.testing.assert_allclose(reader().farness(strangeness), 1 / (1 + np.exp(-(offset + slope * strangeness))))


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=30))
@settings(deadline=None)
def test_novelty_is_a_share_that_rises_with_strangeness(strangeness: list[float]) -> None:
    novelty = reader()._novelty(np.array(sorted(strangeness)))
    assert ((novelty >= 0) & (novelty <= 1)).all()
    assert (np.diff(novelty) >= 0).all()


def test_novelty_is_the_share_of_training_prompts_that_are_less_strange() -> None:
    assert reader()._novelty(np.array([-9.0, 0.0, 9.0])).tolist() == pytest.approx([0.0, 0.5, 1.0], abs=0.01)


def test_a_prompt_that_moves_away_from_all_landmarks_becomes_farther_and_newer() -> None:
    direction = np.linalg.svd(lens().landmarks.astype(np.float64))[2][-1]
    vectors = np.zeros((6, WIDTH), np.float32)
    vectors[:, :EMBEDDED] = lens().topic_center + 0.3 * lens().landmarks[0] * lens().landmark_scale[0]
    vectors[:, :EMBEDDED] += (np.arange(6)[:, None] * direction).astype(np.float32)
    reading = reader()(vectors)
    assert (np.diff(reading.farness) > 0).all()
    assert (np.diff(reading.novelty) >= 0).all()
    assert reading.novelty[-1] > reading.novelty[0]


def test_near_the_training_a_prompt_is_read_through_one_matrix_and_far_from_it_through_the_other() -> None:
    for offset, matrix in ((-30.0, lens().near), (30.0, lens().far)):
        fixed = msgspec.structs.replace(lens(), gate=np.array([offset, 0.0], np.float32))
        reading = SkillProjector(fixed)(prompts())
        np.testing.assert_allclose(reading.skills, reading.read @ matrix.astype(np.float64), atol=1e-9)


def test_skills_lie_between_the_two_matrices_by_farness() -> None:
    reading = reader()(prompts())
    near, far = (reading.read @ matrix.astype(np.float64) for matrix in (lens().near, lens().far))
    t = reading.farness[:, None]
    np.testing.assert_allclose(reading.skills, (1 - t) * near + t * far, atol=1e-9)


def test_a_reading_is_one_then_standard_features_then_likeness() -> None:
    standard, likeness, strangeness = reader().features(prompts())
    reading = reader()(prompts())
    assert (reading.read[:, 0] == 1).all()
    assert np.array_equal(reading.read[:, 1 : 1 + WIDTH], standard)
    assert np.array_equal(reading.read[:, 1 + WIDTH :], likeness)
    nearest = reader().closeness(prompts()).max(axis=1)
    assert np.array_equal(strangeness, reader().strangeness(reader().distance(prompts()), nearest))


def test_a_standard_feature_is_counted_in_deviations_from_the_mean() -> None:
    vectors = (lens().center + lens().scale * np.array([[-2.0], [0.0], [3.0], [50.0]])).astype(np.float32)
    np.testing.assert_allclose(reader().standard(vectors)[:3], np.tile([[-2.0], [0.0], [3.0]], WIDTH), atol=1e-4)
    assert (reader().standard(vectors)[3] == CLIP).all()


@given(
    st.lists(
        st.sampled_from([0.0, 1e-30, 1e-12, 1.0, -1.0, 1e6, -1e12, 1e18, -1e18]) | st.floats(-1e3, 1e3, width=32),
        min_size=1,
        max_size=WIDTH,
    )
)
@settings(deadline=None)
def test_any_vector_gives_finite_numbers(values: list[float]) -> None:
    reading = reader()(np.resize(np.array(values, np.float32), (1, WIDTH)))
    assert all(np.isfinite(each).all() for each in reading)
    assert np.abs(reading.read[:, 1:]).max() <= CLIP


def test_a_prompt_without_a_topic_is_equally_close_to_all() -> None:
    vector = np.zeros((1, WIDTH), np.float32)
    vector[0, :EMBEDDED] = lens().topic_center
    assert (reader().closeness(vector) == 0).all()


def test_no_prompts_give_no_readings() -> None:
    reading = reader()(np.zeros((0, WIDTH), np.float32))
    assert reading.skills.shape == (0, SKILLS)
    assert len(reading.farness) == len(reading.novelty) == 0
