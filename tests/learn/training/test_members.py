"""The features and sums that training takes at once are those of the served forecasts, and of row after row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.learn.training.landmarks import (
    distances,
    features_of,
    initial_parameters,
    select_landmarks,
    softmax,
    standardise_without,
    with_topic_axes,
    with_topic_statistics,
)
from router.learn.training.members import (
    CrossValidation,
    MemberMoments,
    fit_members,
    fit_penalties,
    members_of,
    moments_of,
)
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


@given(st.integers(1, 1000), st.integers(1, 12), st.floats(0.0, 0.95), st.integers(0, 1000))
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


@pytest.mark.parametrize("domains", [[15, 15, 15], [6000, 60, 60, 60]], ids=["few prompts", "one large domain"])
def test_a_domain_is_forecast_from_the_sums_over_the_other_domains(domains: list[int]) -> None:
    rng = np.random.default_rng(0)
    domain = np.repeat(np.arange(len(domains)), domains)
    vectors = (rng.normal(0, 1, (len(domain), 90)) + 4 * np.eye(4, 90)[domain]).astype(np.float32)
    table = OutcomeTable((vectors @ rng.normal(0, 0.2, (90, 3))).astype(np.float32))
    parameters, embedded = initial_parameters(vectors, 80, 40, 5.0, rng), 80
    _, forecasts = CrossValidation(vectors, table, parameters, embedded).out_of_fold(domain, 5, 0)

    features = features_of(vectors, SkillProjector(parameters)).astype(np.float64)
    members, all_cosines = members_of(embedded, parameters), SkillProjector(parameters).cosine(vectors)
    moments = moments_of(features, table, np.arange(len(vectors)), members)
    penalties = [fit_penalties(moments, table, member) for member in members]
    nearest = all_cosines.argmax(axis=1)
    for left_out in range(len(domains)):
        train, test = np.flatnonzero(domain != left_out), np.flatnonzero(domain == left_out)
        count = np.bincount(nearest, minlength=all_cosines.shape[1])
        kept = np.flatnonzero(np.bincount(nearest[test], minlength=len(count)) < 0.5 * np.maximum(count, 1))
        cosines = all_cosines[:, kept]
        fitted = with_topic_statistics(select_landmarks(parameters, kept), vectors[train], cosines[train])
        projector, members = SkillProjector(fitted), members_of(embedded, fitted)
        features = np.concatenate([projector.standardised(vectors), projector.similarity(cosines)], axis=1)
        moments = moments_of(features[train], table, train, members)
        weights = fit_members(moments, table, members, penalties, features.shape[1])
        for number, of_member in enumerate(weights):
            expected = of_member[0] + features[test] @ of_member[1:]
            np.testing.assert_allclose(forecasts.common[number, test], expected[:, -1], atol=4e-5)
            np.testing.assert_allclose(forecasts.specific[number, test], expected[:, :-1], atol=4e-5)
        scores = projector.ood_score(projector.distance(vectors[test]), cosines[test].max(axis=1))
        np.testing.assert_allclose(forecasts.ood_score[test], scores, rtol=1e-4, atol=1e-4)


def test_directions_in_which_no_prompt_varies_have_the_precision_of_small_variances() -> None:
    _, parameters = prompts()
    topics = np.random.default_rng(0).normal(size=(30, 90))
    topics[:, 50:] *= 1e-5
    small_variances = with_topic_axes(parameters, np.diag(np.square(topics).mean(axis=0)))
    topics[:, 50:] = 0.0
    no_variance = with_topic_axes(parameters, np.diag(np.square(topics).mean(axis=0)))
    assert len(small_variances.directions) > 50
    np.testing.assert_allclose(no_variance.precision, small_variances.precision, rtol=1e-3)


@pytest.mark.parametrize("sharpness", [5.0, 200.0])
def test_forecasts_without_some_landmarks_are_finite_however_sharp_the_similarity(sharpness: float) -> None:
    rng = np.random.default_rng(0)
    domain = np.arange(300) % 3
    vectors = (rng.normal(0, 1, (300, 20)) + 9 * np.eye(3, 20)[domain]).astype(np.float32)
    table = OutcomeTable(rng.random((300, 3)).astype(np.float32))
    parameters = initial_parameters(vectors, 20, 30, sharpness, rng)
    _, forecasts = CrossValidation(vectors, table, parameters, 20).out_of_fold(domain, 5, 0)
    assert len(forecasts.rows) == 300
    for values in (forecasts.common, forecasts.specific, forecasts.ood_score):
        assert np.isfinite(values).all()
