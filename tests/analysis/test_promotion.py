from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.analysis.promotion import Budget, Pairs, Promotion, compare, flips_of
from router.errors import CallerError

outcomes = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)
graded = st.lists(st.tuples(st.floats(0, 1, width=16), st.floats(0, 1, width=16)), min_size=1, max_size=30)


def pairs(*rows: tuple[float, float], **fields: object) -> Pairs:
    old, new = (np.array([row[side] for row in rows], dtype=np.float64) for side in (0, 1))
    return Pairs("a set", old, new, **fields)  # type: ignore[arg-type]


def quadrants(both_right: int, negative: int, positive: int, both_wrong: int, **fields: object) -> Pairs:
    rows = [(1.0, 1.0)] * both_right + [(1.0, 0.0)] * negative + [(0.0, 1.0)] * positive + [(0.0, 0.0)] * both_wrong
    return pairs(*rows, **fields)


def promotion(outcomes: Pairs, budget: Budget = Budget(), **options: float) -> Promotion:  # noqa: B008 - frozen
    return compare("old", "new", outcomes, budget, draws=2000, **options)  # type: ignore[arg-type]


def test_ten_prompts_give_the_figures_computed_by_hand() -> None:
    flips = promotion(quadrants(4, 1, 2, 3)).flips
    assert (flips.old_accuracy, flips.new_accuracy) == (0.5, 0.6)
    assert (flips.negative, flips.positive, flips.difference) == (1, 2, 0.1)
    assert flips.btc == 4 / 5  # of five right before, four stay right
    assert flips.bec == 3 / 4  # of four mistakes now, three are old ones


@given(outcomes)
def test_the_counts_sum_to_the_prompts_and_the_shares_are_those_of_the_definitions(
    rows: list[tuple[bool, bool]],
) -> None:
    was_right, is_right = np.array(rows).T
    flips = flips_of(was_right, is_right, draws=50)
    assert flips.both_right + flips.negative + flips.positive + flips.both_wrong == flips.prompts == len(rows)
    assert flips.new_accuracy - flips.old_accuracy == pytest.approx(flips.positive_share - flips.negative_share)
    assert flips.difference == pytest.approx(flips.positive_share - flips.negative_share)
    if was_right.any():
        assert flips.btc == pytest.approx(1 - flips.negative_share / flips.old_accuracy)
    else:
        assert flips.btc is None
    if not is_right.all():
        assert flips.bec == pytest.approx(1 - flips.negative_share / (1 - flips.new_accuracy))
    else:
        assert flips.bec is None


@given(outcomes)
def test_going_back_turns_negative_flips_into_positive_ones(rows: list[tuple[bool, bool]]) -> None:
    was_right, is_right = np.array(rows).T
    there, back = flips_of(was_right, is_right, draws=50), flips_of(is_right, was_right, draws=50)
    assert (there.negative, there.positive) == (back.positive, back.negative)
    assert there.difference == pytest.approx(-back.difference)


@given(graded)
def test_the_mean_score_changes_by_the_gain_less_the_loss(rows: list[tuple[float, float]]) -> None:
    scores = promotion(pairs(*rows)).graded
    if scores is not None:
        assert scores.difference == pytest.approx(scores.gain - scores.loss)


@given(outcomes, st.floats(0, 1))
def test_a_promotion_is_refused_exactly_over_its_budget_or_without_a_gain_in_the_interval(
    rows: list[tuple[bool, bool]], budget: float
) -> None:
    result = promotion(pairs(*((float(old), float(new)) for old, new in rows)), Budget(budget))
    is_worse = result.flips.difference < 0 and result.flips.difference_ci95[1] <= 0
    assert result.promoted == (result.flips.negative_share <= budget + 1e-12 and not is_worse)


def test_a_budget_that_is_just_reached_is_kept() -> None:
    outcomes = quadrants(60, 2, 8, 30)
    assert promotion(outcomes, Budget(0.02)).promoted
    assert promotion(outcomes, Budget(0.0199)).refusals == (
        "2% negative flips (2 of 100 prompts), more than the budget of 1.99%",
    )


def test_a_gain_on_average_is_refused_where_too_much_breaks() -> None:
    result = promotion(quadrants(434, 82, 91, 393), Budget(0.05))
    assert result.flips.difference > 0
    assert not result.promoted


def test_a_measurable_loss_is_refused_without_any_budget() -> None:
    (reason,) = promotion(quadrants(50, 20, 2, 28)).refusals
    assert reason.startswith("the accuracy is lower, and its 95 % interval has no gain")


def test_an_exact_port_is_promoted_although_it_gains_nothing() -> None:
    assert promotion(quadrants(50, 0, 0, 50), Budget(0.0)).promoted


@pytest.mark.parametrize(("least", "granted"), [(-0.05, True), (0.0, False)])
def test_the_lower_end_of_the_interval_must_reach_the_least_change(least: float, granted: bool) -> None:
    result = promotion(quadrants(400, 50, 50, 500), Budget(None, least))
    assert result.promoted == granted


def test_a_handful_of_prompts_without_a_flip_is_no_proof_that_none_will_flip() -> None:
    outcomes = quadrants(5, 0, 0, 0)
    result = promotion(outcomes, Budget(0.02, -0.01))
    assert result.flips.negative_ci95 == (0.0, pytest.approx(0.4345, abs=1e-3))  # Wilson's bound for 0 of 5
    assert result.flips.difference_ci95[0] < -0.25
    (reason,) = result.refusals
    assert reason.endswith("and at least -1.00% was required")
    assert promotion(quadrants(900, 0, 0, 0), Budget(0.02, -0.01)).promoted


def test_one_prompt_that_breaks_does_not_mark_its_domain_as_worse() -> None:
    (lost, _) = promotion(quadrants(0, 1, 0, 40, domains=("law",) + ("maths",) * 40)).domains
    assert (lost.domain, lost.flips.negative, lost.is_worse) == ("law", 1, False)


def test_a_handful_of_graded_scores_that_stay_the_same_is_no_proof_either() -> None:
    (*_, reason) = promotion(pairs(*[(0.75, 0.75)] * 5), Budget(None, -0.01)).refusals
    assert reason.startswith("the mean score may change by -")


def test_the_interval_is_that_of_resampled_prompts_and_its_seed_repeats_it() -> None:
    outcomes = quadrants(40, 10, 20, 30)
    changes = outcomes.new - outcomes.old
    rng = np.random.default_rng(5)
    means = changes[rng.integers(0, len(changes), (4000, len(changes)))].mean(axis=1)
    result = compare("old", "new", outcomes)
    assert result.flips.difference_ci95 == pytest.approx(tuple(np.percentile(means, (2.5, 97.5))), abs=0.011)
    assert result == compare("old", "new", outcomes)


def test_graded_scores_are_right_from_the_stated_score_on() -> None:
    outcomes = pairs((0.4, 0.6), (0.9, 0.7), (0.7, 0.2))
    assert promotion(outcomes).flips.old_accuracy == pytest.approx(2 / 3)
    assert promotion(outcomes, right=0.8).flips.old_accuracy == pytest.approx(1 / 3)


def test_a_lower_mean_score_is_refused_although_as_many_are_right() -> None:
    (reason,) = promotion(pairs(*[(0.9, 0.6)] * 20)).refusals
    assert reason.startswith("the mean score is lower")


def test_domains_are_listed_by_their_negative_flips_and_marked_where_measurably_worse() -> None:
    outcomes = quadrants(30, 30, 30, 0, domains=("law",) * 60 + ("maths",) * 30)
    lines = promotion(outcomes).domains
    assert [(line.domain, line.flips.negative, line.is_worse) for line in lines] == [
        ("law", 30, True),
        ("maths", 0, False),
    ]


def test_costs_and_lengths_are_compared_where_both_are_known() -> None:
    nan = float("nan")
    fields = {"old_cost_usd": np.array([0.1, nan, 0.3]), "new_cost_usd": np.array([0.2, 0.2, 0.6])}
    means = promotion(pairs((1, 1), (1, 1), (0, 1), **fields)).cost_usd
    assert means is not None
    assert (means.prompts, means.old, means.new, means.change) == (2, *map(pytest.approx, (0.2, 0.4, 1.0)))


def test_only_prompts_that_both_have_wrong_count_as_wrong_with_another_answer() -> None:
    changed = np.array([False, True, True, True])
    assert promotion(pairs((1, 1), (1, 0), (0, 1), (0, 0), changed=changed)).wrong_changed == 1


def test_without_a_common_prompt_there_is_nothing_to_compare() -> None:
    with pytest.raises(CallerError, match="a set: no prompt has an outcome of both old and new"):
        promotion(pairs())
