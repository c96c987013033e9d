from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.learn.training.decisions import particular_factors
from router.learn.training.members import Blended
from router.learn.training.outcome_table import OutcomeTable
from router.perceive.predictor import Predictor
from tests.conftest import StaticEncoder


def blended(specific: np.ndarray, chances: np.ndarray, seed: int = 0, far: float = 0.0) -> Blended:
    """Forecasts whose particular part is `specific`, of outcomes with these `chances`."""
    scores = (np.random.default_rng(seed).random(chances.shape) < chances).astype(np.float32)
    table = OutcomeTable(scores)
    return Blended(table, table.ability + specific, np.full(len(scores), far))


def topics(models: int = 4, prompts: int = 800) -> np.ndarray:
    return np.where(np.arange(prompts)[:, None] % models == np.arange(models), 0.3, -0.1)


def nothing() -> Blended:
    return Blended(OutcomeTable(np.zeros((0, 4), np.float32)), np.zeros((0, 4)), np.zeros(0))


NO_GROUPS = np.zeros(0, np.intp)


def test_a_particular_part_that_is_true_counts_in_choices() -> None:
    factors = particular_factors(blended(topics(), 0.5 + topics()), nothing(), NO_GROUPS)
    assert factors[0] > 0


@pytest.mark.parametrize("seed", range(5))
def test_a_particular_part_that_is_noise_leaves_the_choice_to_the_best_model(seed: int) -> None:
    noise = np.random.default_rng(seed).normal(0, 0.2, (800, 4))
    chances = np.tile([0.8, 0.5, 0.5, 0.5], (800, 1))
    assert particular_factors(blended(noise, chances, seed), nothing(), NO_GROUPS)[0] == 0.0


def test_what_loses_where_domains_are_left_out_does_not_count() -> None:
    chances = np.tile([0.8, 0.5, 0.5, 0.5], (800, 1))
    wrong = blended(3 * topics(), chances)
    groups = np.arange(800) // 100
    assert particular_factors(blended(topics(), 0.5 + topics()), wrong, groups)[1] == 0.0


def vectors(predictor: Predictor, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(3, predictor.width)).astype(np.float32)


def with_factors(predictor: Predictor, encoder: StaticEncoder, *factors: float) -> Predictor:
    head = msgspec.structs.replace(predictor.head, particular=np.array(factors) if factors else None)
    return Predictor(head, encoder, predictor.manifest)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_with_factors_of_one_every_number_is_the_same_to_the_bit(
    seed: int, predictor: Predictor, encoder: StaticEncoder
) -> None:
    prompts = vectors(predictor, seed)
    plain = with_factors(predictor, encoder).expect_all(prompts)
    ones = with_factors(predictor, encoder, 1.0, 1.0, 1.0).expect_all(prompts)
    for before, after in zip(plain, ones, strict=True):
        assert before.tobytes() == after.tobytes()


def test_factors_change_what_is_compared_and_no_forecast(predictor: Predictor, encoder: StaticEncoder) -> None:
    prompts = vectors(predictor, 0)
    plain = with_factors(predictor, encoder).expect_all(prompts)
    zeros = with_factors(predictor, encoder, 0.0, 0.0, 1.0).expect_all(prompts)
    assert plain.quality.tobytes() == zeros.quality.tobytes()
    best = int(predictor.head.ability[:, 0].argmax())
    assert (zeros.compared[:, :-1].argmax(axis=1) == best).all()
