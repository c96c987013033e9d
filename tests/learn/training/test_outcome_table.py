from __future__ import annotations

import numpy as np

from router.learn.training.outcome_table import OutcomeTable, additive_effects, groups_with_same_rows


def test_targets_are_scores_less_abilities_and_the_ease_where_a_model_was_not_run() -> None:
    table = OutcomeTable(
        np.array([[1.0, np.nan], [0.0, 1.0]], np.float32), np.array([0.25, 0.5]), np.array([0.1, -0.2])
    )
    np.testing.assert_allclose(table.targets(np.arange(2), [0, 1]), [[0.75, 0.1, 0.1], [-0.25, 0.5, -0.2]])


def test_models_without_outcomes_share_one_group() -> None:
    known = np.column_stack([np.ones((100, 5), np.bool_), np.zeros((100, 40), np.bool_)])
    assert len(groups_with_same_rows(known)) == 2


def test_models_run_on_nearly_the_same_prompts_share_a_group() -> None:
    known = np.zeros((100, 5), np.bool_)
    known[:50, :2] = True
    known[49:, 2:4] = True
    assert groups_with_same_rows(known)[:2] == [[0, 1], [2, 3]]


def test_there_are_at_most_eight_groups_even_if_no_models_share_prompts() -> None:
    groups = groups_with_same_rows(np.eye(50, dtype=np.bool_))
    assert len(groups) <= 8
    assert sorted(model for group in groups for model in group) == list(range(50))


def test_additive_effects_of_a_complete_additive_table_are_recovered() -> None:
    ability = np.array([0.2, 0.5, 0.8])
    ease = np.linspace(-0.1, 0.1, 200)
    fitted_ability, fitted_ease = additive_effects(ability + ease[:, None])
    np.testing.assert_allclose(fitted_ability, ability, atol=0.02)
    assert np.corrcoef(fitted_ease, ease)[0, 1] > 0.999


def test_additive_effects_correct_for_missing_outcomes() -> None:
    ease = np.repeat([-0.3, 0.3], 300)
    outcomes = np.full(12, 0.5) + ease[:, None]
    outcomes[:290, 0] = np.nan
    outcomes[310:, 1] = np.nan
    ability, _ = additive_effects(outcomes)
    raw_gap = np.nanmean(outcomes[:, 0]) - np.nanmean(outcomes[:, 1])
    assert abs(ability[0] - ability[1]) < 0.3 * raw_gap


def test_additive_effects_without_outcomes_are_zero() -> None:
    ability, ease = additive_effects(np.full((4, 2), np.nan))
    assert not ability.any()
    assert not ease.any()


def test_additive_effects_are_those_of_fitting_abilities_and_ease_in_turns() -> None:
    rng = np.random.default_rng(0)
    outcomes = rng.random((40, 5)) + rng.normal(0, 0.3, (40, 1))
    outcomes[rng.random(outcomes.shape) < 0.4] = np.nan
    known, mean, ease = ~np.isnan(outcomes), np.nanmean(outcomes), np.zeros(40)
    for _ in range(30):
        ability = (np.nansum(outcomes - ease[:, None], axis=0) + 5.0 * mean) / (known.sum(axis=0) + 5.0)
        ease = np.nansum(outcomes - ability, axis=1) / (known.sum(axis=1) + 1.0)
    fitted_ability, fitted_ease = additive_effects(outcomes)
    np.testing.assert_allclose(fitted_ability, ability, rtol=1e-12)
    np.testing.assert_allclose(fitted_ease, ease, atol=1e-12)
