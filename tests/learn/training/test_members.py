"""The features and sums that training takes at once are those of the served forecasts, and of row after row."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from router.learn.training.landmarks import (
    distances,
    features_of,
    initial_parameters,
    select_landmarks,
    softmax,
    standardise_without,
    with_topic_statistics,
)
from router.learn.training.members import MemberMoments, members_of
from router.learn.training.outcome_table import OutcomeTable
from router.learn.training.ridge import Moments
from router.perceive.skills import SkillParameters, SkillProjector, topics_of

EMBEDDED = 6


def prompts(count: int = 400) -> tuple[np.ndarray, SkillParameters]:
    """Feature vectors and the parameters that are fitted to them before any outcome is seen."""
    rng = np.random.default_rng(0)
    vectors = (rng.normal(0, 1, (count, 9)) + 3 * np.eye(4, 9)[rng.integers(0, 4, count)]).astype(np.float32)
    return vectors, initial_parameters(vectors, EMBEDDED, 20, 5.0, rng)


def test_features_are_those_of_served_forecasts() -> None:
    vectors, parameters = prompts()
    projector = SkillProjector(parameters)
    standardised, similarities, _ = projector.features(vectors)
    expected = np.concatenate([standardised, similarities], axis=1)
    np.testing.assert_allclose(features_of(vectors, projector), expected, atol=2e-5)
    topics = topics_of(vectors, parameters)
    np.testing.assert_allclose(distances(topics, parameters), projector.distance(vectors), rtol=1e-4)


def test_similarities_without_some_rows_and_landmarks_are_as_if_those_had_never_been() -> None:
    vectors, parameters = prompts()
    left_out, kept = np.split(np.random.default_rng(1).permutation(len(vectors)), [90])
    landmarks = np.array([0, 3, 4, 11, 17])
    cosines = SkillProjector(parameters).cosine(vectors)[:, landmarks]
    similarities = softmax(cosines, parameters)
    standardise_without(similarities, left_out)
    fitted = with_topic_statistics(select_landmarks(parameters, landmarks), vectors[kept], cosines[kept])
    np.testing.assert_allclose(similarities, SkillProjector(fitted).similarity(cosines), atol=2e-5)


@given(st.integers(1, 60), st.integers(1, 12), st.floats(0.0, 0.95), st.integers(0, 1000))
@settings(deadline=None, max_examples=40)
def test_rows_summed_once_for_all_groups_give_the_sums_of_each_group(
    rows: int, models: int, missing: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.random((rows, models)).astype(np.float32)
    scores[rng.random(scores.shape) < missing] = np.nan
    table, features, some = OutcomeTable(scores), rng.normal(size=(rows, 4)), np.flatnonzero(rng.random(rows) < 0.8)
    moments = MemberMoments.of(features[some], table, some)
    known = some[table.any_known[some]]
    expected = [Moments.of(features[known], table.targets(known, []))]
    for group in table.groups:
        run = some[table.known[some][:, group].any(axis=1)]
        expected.append(Moments.of(features[run], table.targets(run, group)))
    for actual, reference in zip((moments.common, *moments.groups), expected, strict=True):
        for name in Moments._fields:
            np.testing.assert_allclose(getattr(actual, name), getattr(reference, name), atol=1e-6)


def test_members_use_columns_that_follow_one_another() -> None:
    _, parameters = prompts()
    columns = np.arange(9 + 20)
    used = [columns[member.features].tolist() for member in members_of(EMBEDDED, parameters)]
    assert used == [list(range(9)), list(range(EMBEDDED, 29)), list(range(9, 29))]
