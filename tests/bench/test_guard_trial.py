from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import pytest

from bench.guard_trial import Interval, RuleResult, Trial, apply_rules, first_safe_rule, try_out
from router.decide.guard import GuardRule
from router.errors import CallerError
from router.learn.data import RoutingSet
from router.learn.data.vectors import vectors_of
from router.learn.evaluation.splits import Split, k_folds
from router.perceive.text.encoder import StaticEncoder

LEAST_CAUTIOUS, MOST_CAUTIOUS = GuardRule(0.5, 1.0), GuardRule(0.99, 1.0)


def trial(
    best: Sequence[float],
    default: Sequence[float],
    *,
    confidence: Sequence[float],
    novelty: Sequence[float] | None = None,
    single: Sequence[float] | None = None,
) -> Trial:
    """A trial with these measured scores; the forecast advantage is 0.2 where the confidence is above 0.5."""
    confidences = np.array(confidence, dtype=np.float64)
    return Trial(
        data_set="set",
        protocol="folds",
        best_score=np.array(best, dtype=np.float64),
        default_score=np.array(default, dtype=np.float64),
        single_score=np.array(default if single is None else single, dtype=np.float64),
        advantage=np.where(confidences > 0.5, 0.2, 0.0),
        confidence=confidences,
        novelty=np.zeros(len(confidences)) if novelty is None else np.array(novelty, dtype=np.float64),
    )


def line(rule: GuardRule, low: float, high: float) -> RuleResult:
    return RuleResult(rule, 0.5, 0.5, Interval((low + high) / 2, low, high), 0.0, Interval(0.0, 0.0, 0.0))


def test_the_quality_is_that_of_the_cards_that_answer() -> None:
    (half,) = apply_rules(trial([1, 1, 0, 0], [0, 0, 1, 1], confidence=[0.9, 0.9, 0.6, 0.6]), [GuardRule(0.8, 1.0)])
    assert (half.quality, half.released) == (1.0, 0.5)
    assert half.over_default.value == 0.5
    assert half.promised == pytest.approx(0.1)


def test_a_prompt_above_the_novelty_threshold_is_answered_by_the_default_card() -> None:
    tried = trial([1, 1], [0, 0], confidence=[0.9, 0.9], novelty=[0.5, 0.999])
    (some,) = apply_rules(tried, [GuardRule(0.8, 0.99)])
    assert (some.quality, some.released) == (0.5, 0.5)


def test_nothing_is_released_where_best_and_default_are_the_same_card() -> None:
    (same,) = apply_rules(trial([1, 0], [1, 0], confidence=[0.5, 0.5]), [LEAST_CAUTIOUS])
    assert (same.released, same.over_default) == (0.0, Interval(0.0, 0.0, 0.0))


def test_a_gain_on_every_prompt_has_an_interval_of_zero_width() -> None:
    (gain,) = apply_rules(trial([1] * 9, [0] * 9, confidence=[0.9] * 9), [LEAST_CAUTIOUS])
    assert gain.over_default == Interval(1.0, 1.0, 1.0)


def test_an_interval_contains_its_mean_and_narrows_with_more_prompts() -> None:
    widths = []
    for count in (40, 4_000):
        (mixed,) = apply_rules(trial([1, 0] * count, [0, 0] * count, confidence=[0.9] * (2 * count)), [LEAST_CAUTIOUS])
        assert mixed.over_default.low < mixed.over_default.value < mixed.over_default.high
        widths.append(mixed.over_default.high - mixed.over_default.low)
    # The width is proportional to one over the square root of the number of prompts.
    assert widths[0] / widths[1] == pytest.approx(10, rel=0.25)


def test_prompts_on_which_the_best_single_model_was_not_run_are_ignored() -> None:
    tried = trial([1, 0], [1, 0], confidence=[0.5, 0.5], single=[0.5, float("nan")])
    (some,) = apply_rules(tried, [LEAST_CAUTIOUS])
    assert some.over_single.value == 0.5


def test_the_least_cautious_rule_that_never_loses_is_chosen() -> None:
    middle = GuardRule(0.8, 1.0)
    one = [line(LEAST_CAUTIOUS, -0.2, -0.1), line(middle, -0.1, 0.1), line(MOST_CAUTIOUS, 0.0, 0.0)]
    two = [line(LEAST_CAUTIOUS, 0.1, 0.2), line(middle, 0.0, 0.1), line(MOST_CAUTIOUS, 0.0, 0.0)]
    assert first_safe_rule([one, two]) == middle
    assert first_safe_rule([two]) == LEAST_CAUTIOUS


def test_no_rule_is_chosen_where_every_rule_loses() -> None:
    one = [line(LEAST_CAUTIOUS, -0.2, -0.1), line(MOST_CAUTIOUS, 0.0, 0.1)]
    two = [line(LEAST_CAUTIOUS, 0.0, 0.1), line(MOST_CAUTIOUS, -0.2, -0.1)]
    assert first_safe_rule([one, two]) is None


@pytest.fixture(scope="module")
def tried(planted_set: RoutingSet, encoder: StaticEncoder) -> Trial:
    vectors = vectors_of(planted_set.prompts, encoder)
    return try_out(planted_set, vectors, encoder, tuple(k_folds(planted_set, 3, 0)), "3 folds")


def test_every_prompt_is_tried_once(planted_set: RoutingSet, tried: Trial) -> None:
    assert (tried.data_set, tried.protocol) == ("planted", "3 folds")
    arrays = [value for value in msgspec.structs.astuple(tried) if isinstance(value, np.ndarray)]
    assert [array.shape for array in arrays] == [(len(planted_set.prompts),)] * 6
    assert ((tried.confidence >= 0.5) & (tried.confidence <= 1)).all()
    assert ((tried.novelty >= 0) & (tried.novelty <= 1)).all()


def test_leaving_the_default_card_pays_where_models_differ_by_domain(tried: Trial) -> None:
    bold, cautious = apply_rules(tried, [LEAST_CAUTIOUS, GuardRule(1 - 1e-12, 1.0)])
    assert bold.over_default.low > 0.1
    assert (cautious.released, cautious.over_default.value) == (0.0, 0.0)


def test_only_models_that_were_run_on_a_prompt_take_part(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    scores = planted_set.scores.copy()
    scores[:40] = np.nan
    scores[40:80, 0] = np.nan
    incomplete = msgspec.structs.replace(planted_set, scores=scores)
    rows = np.arange(len(scores))
    split = Split(rows[80:], rows[:80], rows)
    trial = try_out(incomplete, vectors_of(incomplete.prompts, encoder), encoder, [split], "one split")
    assert len(trial.best_score) == 40
    assert np.isfinite(trial.best_score).all()
    assert np.isfinite(trial.default_score).all()


def test_a_set_without_outcomes_is_an_error(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    scores = planted_set.scores.copy()
    scores[:40] = np.nan
    empty = msgspec.structs.replace(planted_set, scores=scores)
    rows = np.arange(len(scores))
    with pytest.raises(CallerError, match="planted has no outcomes to try the guard on"):
        try_out(empty, vectors_of(empty.prompts, encoder), encoder, [Split(rows[40:], rows[:40], rows)], "one split")
