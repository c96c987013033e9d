from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.perceive.ability.local import PRIOR_OUTCOMES, LocalEvidence, similarity, topics_of_vectors
from router.types import Doubles

RESIDUALS = st.lists(st.floats(-1, 1), min_size=1, max_size=40)
HERE, ELSEWHERE, OPPOSITE = np.eye(1, 6)[0], np.eye(1, 6, 1)[0], -np.eye(1, 6)[0]


def topics_of(count: int, seed: int = 0) -> Doubles:
    """Random topics, of length one."""
    topics = np.random.default_rng(seed).normal(size=(count, 6))
    return np.asarray(topics / np.linalg.norm(topics, axis=1, keepdims=True), dtype=np.float64)


def alike(count: int) -> Doubles:
    """Topics equal to HERE."""
    return np.tile(HERE, (count, 1))


@given(RESIDUALS, st.integers(0, 1000))
@settings(deadline=None)
def test_a_correction_is_at_most_the_largest_residual(residuals: list[float], seed: int) -> None:
    evidence = LocalEvidence.of(topics_of(len(residuals), seed), np.array(residuals))
    corrections = evidence.corrections(topics_of(50, seed + 1))
    assert np.abs(corrections).max() <= max(map(abs, residuals))


@given(st.integers(1, 50), st.floats(-1, 1))
@settings(deadline=None)
def test_probes_alike_give_their_mean_shrunk_by_their_number(count: int, residual: float) -> None:
    correction = LocalEvidence.of(alike(count), np.full(count, residual)).correction(HERE)
    assert correction == pytest.approx(residual * count / (count + PRIOR_OUTCOMES), abs=1e-9)


@pytest.mark.parametrize("topic", [ELSEWHERE, OPPOSITE])
def test_however_many_probes_of_another_topic_correct_nothing(topic: Doubles) -> None:
    assert LocalEvidence.of(alike(200), np.full(200, -0.9)).correction(topic) == pytest.approx(0.0, abs=1e-9)


def test_many_probes_of_a_remote_topic_do_not_add_up() -> None:
    remote = np.array([0.2, 0.96**0.5, 0, 0, 0, 0])
    few, many = (LocalEvidence.of(alike(count), np.full(count, -1.0)).correction(remote) for count in (10, 1000))
    assert -0.03 < many < few < 0


def test_outcomes_that_those_near_them_contradict_correct_little() -> None:
    there = np.array([0.9, 0.19**0.5, 0, 0, 0, 0])
    topics, residuals = np.array([*alike(20), *np.tile(there, (20, 1))]), np.tile([0.5, -0.5], 20)
    assert LocalEvidence.of(topics, residuals).correction(HERE) == pytest.approx(0.0, abs=0.005)
    agreeing = np.repeat([0.5, -0.5], 20)
    assert LocalEvidence.of(topics, agreeing).correction(HERE) > 0.2


@given(RESIDUALS, st.integers(0, 1000))
@settings(deadline=None)
def test_agreement_only_makes_corrections_smaller(residuals: list[float], seed: int) -> None:
    topics, new = topics_of(len(residuals), seed), topics_of(50, seed + 1)
    weights = np.linalg.solve(similarity(topics) + PRIOR_OUTCOMES * np.eye(len(topics)), np.array(residuals))
    bound = max(map(abs, residuals))
    plain = LocalEvidence(topics, np.asarray(weights), bound).corrections(new)
    shrunk = LocalEvidence.of(topics, np.array(residuals)).corrections(new)
    assert (np.abs(shrunk) <= np.abs(plain) + 1e-9).all()


def test_the_nearer_a_prompt_the_greater_its_correction() -> None:
    evidence = LocalEvidence.of(alike(8), np.full(8, -0.5))
    angles = np.linspace(0, np.pi / 2, 10)
    turned = np.outer(np.cos(angles), HERE) + np.outer(np.sin(angles), ELSEWHERE)
    assert (np.diff(evidence.corrections(turned)) > 0).all()


def test_probes_answered_as_expected_correct_nothing() -> None:
    assert not LocalEvidence.of(topics_of(5), np.zeros(5)).corrections(topics_of(20, 1)).any()


@given(st.integers(1, 60), st.integers(0, 1000))
@settings(deadline=None)
def test_similarity_is_1_for_equal_topics_and_positive_semi_definite(count: int, seed: int) -> None:
    matrix = similarity(topics_of(count, seed))
    np.testing.assert_allclose(np.diag(matrix), 1.0)
    assert np.linalg.eigvalsh(matrix).min() > -1e-9


def test_topics_are_of_length_one_without_what_all_prompts_share() -> None:
    vectors = np.random.default_rng(0).normal(size=(7, 10)).astype(np.float32)
    center = np.full(6, 3.0, dtype=np.float32)
    families = np.random.default_rng(1).random((7, 4))
    for topics in (topics_of_vectors(vectors, center, None), topics_of_vectors(vectors, center, families)):
        np.testing.assert_allclose(np.linalg.norm(topics, axis=1), 1.0, rtol=1e-6)
    shifted = topics_of_vectors(vectors + np.float32(2.0), center + np.float32(2.0), None)
    np.testing.assert_allclose(shifted, topics_of_vectors(vectors, center, None), atol=1e-5)


def test_prompts_of_one_family_are_more_alike_than_their_words() -> None:
    vectors = np.eye(2, 6, dtype=np.float32)
    same, other = np.array([[1.0, 0.0], [1.0, 0.0]]), np.eye(2)
    center = np.zeros(6, dtype=np.float32)
    near, far = (similarity(topics_of_vectors(vectors, center, families))[0, 1] for families in (same, other))
    assert near > far == pytest.approx(0.0)
