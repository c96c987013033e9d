from __future__ import annotations

import msgspec
import numpy as np
import pytest

from router.cards.benchmarks import FAMILIES
from router.learn.training.reader import FittedReader, OtherWordings, fit_reader, graded_difficulty, saturated
from router.learn.training.rewording import reworded
from router.perceive.features import feature_vectors
from router.perceive.reader import Context, Reader, corrected
from router.perceive.text.encoder import StaticEncoder
from router.types import Mask
from tests.graded_prompts import EASY, HARD, graded_prompts


def fitted(encoder: StaticEncoder) -> FittedReader:
    graded = graded_prompts()
    vectors = feature_vectors(encoder, [prompt.turns for prompt in graded.outcomes.prompts])
    return fit_reader(graded, vectors, encoder.dimensions)


@pytest.fixture(scope="module")
def of_graded(encoder: StaticEncoder) -> FittedReader:
    return fitted(encoder)


def test_difficulty_and_strengths_are_recovered_from_expected_shares() -> None:
    strengths, difficulty = np.array([-1.0, 0.0, 1.5, 3.0]), np.random.default_rng(0).normal(size=200)
    difficulty -= difficulty.mean()
    shares = 1 / (1 + np.exp(difficulty[:, None] - strengths))
    found = graded_difficulty(np.clip(shares, 0.03, 0.97))
    assert found[0] == pytest.approx(strengths, abs=0.2)
    assert np.corrcoef(found[1], difficulty)[0, 1] > 0.98


def test_the_mean_difficulty_is_zero_and_stronger_models_have_greater_strengths(of_graded: FittedReader) -> None:
    assert of_graded.difficulty.mean() == pytest.approx(0, abs=1e-9)
    assert (np.diff(of_graded.strengths) > 0).all()


def test_prompts_that_were_left_out_are_ordered_by_difficulty(of_graded: FittedReader) -> None:
    easy, hard = of_graded.out_of_fold[::2], of_graded.out_of_fold[1::2]
    assert easy.max() < hard.min()


def test_readings_are_corrected_to_the_difficulties_that_prompts_read_alike_have(of_graded: FittedReader) -> None:
    parts = np.array_split(np.argsort(of_graded.out_of_fold), 4)
    read, true = ([values[part].mean() for part in parts] for values in (of_graded.out_of_fold, of_graded.difficulty))
    assert read == pytest.approx(true, abs=0.15)


def test_the_weakest_strength_is_trusted_with_what_reads_as_easy_as_nine_of_ten_trivial_prompts() -> None:
    curve = np.array([np.linspace(-3, 3, 16), np.linspace(-2, 2, 16)], dtype=np.float32)
    read = np.linspace(-3, 3, 301)
    trivial, strength = read < -0.5, 0.2
    after = corrected(read, saturated(curve, read, trivial, strength))
    chance = 1 / (1 + np.exp(after - strength))
    assert (chance[trivial] >= 0.85).mean() >= 0.9
    assert (np.diff(after) > 0).all()
    before = corrected(read, curve)
    unchanged = (before >= strength) | (before < -1.8)
    np.testing.assert_allclose(after[unchanged], before[unchanged], atol=0.05)
    assert (after <= before + 1e-6).all()


@pytest.mark.parametrize("trivial", [np.zeros(301, np.bool_), np.ones(301, np.bool_)])
def test_the_curve_stays_without_a_border_between_trivial_and_hard(trivial: Mask) -> None:
    curve = np.array([np.linspace(-3, 3, 16), np.linspace(-2, 2, 16)], dtype=np.float32)
    np.testing.assert_array_equal(saturated(curve, np.linspace(-3, 3, 301), trivial, 0.2), curve)


def test_a_new_prompt_is_read_like_its_kind(of_graded: FittedReader, encoder: StaticEncoder) -> None:
    reader, thing = Reader(of_graded.parameters), "kettle of Rome"
    texts = [EASY.format(thing=thing), HARD.format(thing=thing)]
    rows = feature_vectors(encoder, [(text,) for text in texts])
    easy, hard = (reader((text,), row) for text, row in zip(texts, rows, strict=True))
    assert hard[0] > easy[0] + 2
    maths = FAMILIES.index("maths")
    assert hard[maths] > 0.7
    assert easy[maths] < 0.3


def test_the_same_prompts_give_the_same_bits(of_graded: FittedReader, encoder: StaticEncoder) -> None:
    again = fitted(encoder)
    for name in of_graded.parameters.__struct_fields__:
        assert getattr(of_graded.parameters, name).tobytes() == getattr(again.parameters, name).tobytes()
    assert of_graded.out_of_fold.tobytes() == again.out_of_fold.tobytes()


def test_pairs_are_not_needed(encoder: StaticEncoder) -> None:
    graded = msgspec.structs.replace(graded_prompts(), pairs=())
    vectors = feature_vectors(encoder, [prompt.turns for prompt in graded.outcomes.prompts])
    found = fit_reader(graded, vectors, encoder.dimensions)
    assert found.out_of_fold[::2].max() < found.out_of_fold[1::2].min()


def test_another_wording_of_a_prompt_is_read_nearly_as_the_prompt_itself(encoder: StaticEncoder) -> None:
    graded = graded_prompts()
    prompts = [prompt.turns for prompt in graded.outcomes.prompts]
    vectors = feature_vectors(encoder, prompts)
    others = reworded(prompts, graded.languages, ("wordy",))
    assert others
    worded = OtherWordings(
        np.array([other.row for other in others]),
        [other.turns for other in others],
        feature_vectors(encoder, [other.turns for other in others]),
        [Context(len(other.turns[0])) for other in others],
    )
    change = {}
    for name, known in (("without", None), ("with", worded)):
        reader = Reader(fit_reader(graded, vectors, encoder.dimensions, known).parameters)
        # Phrases that are not among those of the training.
        texts = [f"Well, one more thing, if I may. {own[0]} Cheers, and see you soon." for own in prompts]
        rows = feature_vectors(encoder, [(text,) for text in texts])
        read = [reader((text,), row)[0] for text, row in zip(texts, rows, strict=True)]
        own = [reader(turns, row)[0] for turns, row in zip(prompts, vectors, strict=True)]
        change[name] = float(np.abs(np.subtract(read, own)).mean())
    assert change["with"] < 0.6 * change["without"]


def test_difficulties_of_prompts_that_all_get_right_or_wrong_are_finite_and_in_order() -> None:
    shares = np.array([[1.0, 1.0], [0.9, 1.0], [0.5, 0.8], [0.0, 0.1], [0.0, 0.0]])
    strengths, difficulty = graded_difficulty(shares)
    assert np.isfinite(difficulty).all()
    assert (np.diff(difficulty) > 0).all()
    assert strengths[0] < strengths[1]
