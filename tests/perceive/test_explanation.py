"""Domains of prompts, and qualities of many prompts at once."""

from __future__ import annotations

import numpy as np
import pytest

from router import Router
from router.perceive.explanation import families_of

PROMPTS = {
    "Solve x^2 - 3x + 2 = 0": "maths",
    "Write a python function that sorts a list": "coding",
    "Who wrote Faust?": "knowledge",
    "Translate to German: good morning": "languages",
}


@pytest.fixture(scope="module")
def router() -> Router:
    return Router.default()


def test_the_domain_is_the_family_that_the_reader_sees_most(router: Router) -> None:
    vectors = router.predictor.vectors([(prompt,) for prompt in PROMPTS])
    assert families_of(router.predictor, vectors) == [*PROMPTS.values()]


def test_a_prompt_of_no_family_is_general(router: Router) -> None:
    vectors = router.predictor.vectors([("Who wrote Faust?",)])
    assert router.predictor.acceptance is not None
    vectors[:, router.predictor.width - len(router.predictor.acceptance.families) :] = 0.05
    assert families_of(router.predictor, vectors) == ["general"]


def test_qualities_are_the_same_to_the_bit_alone_and_among_others(router: Router) -> None:
    vectors = router.predictor.vectors([(prompt,) for prompt in PROMPTS])
    forecaster = router.predictor.bind(router.catalog, router.evidence)
    alone = np.vstack([forecaster.qualities(vector[None]) for vector in vectors])
    assert np.array_equal(forecaster.qualities(vectors), alone)
