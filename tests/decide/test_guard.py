from __future__ import annotations

import math
import statistics
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.cards import Card
from router.decide.flags import Flags, parse_flags
from router.decide.goals import GOALS
from router.decide.guard import GuardRule, confidence_of
from router.decide.policy import Policy
from router.errors import NoCandidateError
from router.types import NO_GUARD, Decision, Forecast
from tests.decide.cards import PLAIN, as_json, card, choose, forecast, limit_texts, situations
from tests.decide.test_invariants import goal_costs, goal_weights, limit_lists, spans

CARDS = [card("able", size="70B"), card("safe", size="8B"), card("tiny", size="1B")]
MEAN_QUALITY = [0.5, 0.8, 0.3]


def guarded(confidence: float = 0.8, novelty: float = 0.99, **facts: Any) -> Policy:
    return msgspec.structs.replace(PLAIN, guard=GuardRule(confidence, novelty), **facts)


def outlook(able: float, std: float = 0.1, **facts: Any) -> Forecast:
    """`safe` is the best on an average prompt; on this prompt its quality is 0.7, and `able` may be better."""
    return forecast([able, 0.7, 0.2], **{"std": [std] * 3, "mean_quality": MEAN_QUALITY, **facts})


def test_a_policy_without_a_guard_takes_the_best_forecast_however_uncertain() -> None:
    decision = choose(CARDS, outlook(0.71, 0.5, novelty=1.0))
    assert (decision.card, decision.guard) == ("able", NO_GUARD)


def test_with_a_small_advantage_the_default_card_answers() -> None:
    decision = choose(CARDS, outlook(0.75), policy=guarded())
    assert (decision.card, decision.guard.state) == ("safe", "held")
    assert (decision.guard.default, decision.guard.best) == ("safe", "able")


def test_a_confident_advantage_releases_the_decision() -> None:
    decision = choose(CARDS, outlook(0.95), policy=guarded())
    assert (decision.card, decision.guard.state) == ("able", "released")


def test_the_numbers_are_those_of_a_difference_of_two_normal_variables() -> None:
    guard = choose(
        CARDS, forecast([0.8, 0.7, 0.2], mean_quality=MEAN_QUALITY, std=[0.03, 0.04, 0.5]), policy=guarded()
    ).guard
    assert guard.advantage == pytest.approx(0.1)
    assert guard.advantage_std == pytest.approx(0.05)
    assert guard.confidence == pytest.approx(statistics.NormalDist().cdf(2.0))
    assert (guard.confidence_needed, guard.novelty, guard.novelty_allowed) == (0.8, 0.0, 0.99)


def test_the_reason_for_low_confidence_states_the_numbers() -> None:
    guard = choose(CARDS, outlook(0.75), policy=guarded()).guard
    assert guard.reason == (
        "able scores 0.050 ± 0.141 better than the default card safe: confidence 63.8 %, more than 80 % is required"
    )


def test_on_a_prompt_that_is_too_novel_the_default_card_answers_however_confident_the_forecast() -> None:
    decision = choose(CARDS, outlook(1.0, 0.0, novelty=0.995), policy=guarded())
    assert (decision.card, decision.guard.state, decision.guard.confidence) == ("safe", "held", 1.0)
    assert decision.guard.reason == (
        "the prompt is more novel than 99.5 % of the training prompts; above 99 % the default card answers"
    )


def test_a_prompt_of_exactly_the_allowed_novelty_is_not_too_novel() -> None:
    assert choose(CARDS, outlook(0.95, novelty=0.99), policy=guarded()).card == "able"
    assert choose(CARDS, outlook(0.95, novelty=1.0), policy=guarded(novelty=1.0)).card == "able"


def test_where_the_default_card_is_the_best_the_guard_has_no_effect() -> None:
    decision = choose(CARDS, outlook(0.6, novelty=1.0), policy=guarded())
    assert (decision.card, decision.guard.state, decision.guard.reason) == (
        "safe",
        "same",
        "the default card is the best",
    )
    assert (decision.guard.default, decision.guard.best) == ("safe", "safe")


def test_a_held_decision_has_the_other_cards_in_their_order_as_fallbacks() -> None:
    expected = forecast([0.75, 0.7, 0.74], mean_quality=MEAN_QUALITY)
    decision = choose(CARDS, expected, policy=guarded())
    assert (decision.plan.card, decision.plan.fallbacks) == ("safe", ("able", "tiny"))
    assert [candidate.card for candidate in decision.candidates] == ["safe", "able", "tiny"]


def test_the_default_card_is_best_for_the_policys_goals_not_for_quality_alone() -> None:
    expected = forecast([0.5, 0.5, 0.5], mean_quality=[0.8, 0.75, 0.3])
    default = choose(CARDS, expected, policy=guarded()).guard.default
    frugal = choose(CARDS, expected, policy=guarded(goals={"smallest": 0.2})).guard.default
    assert (default, frugal) == ("able", "safe")


def test_the_goals_of_the_flags_choose_the_default_card_too() -> None:
    expected = forecast([0.5, 0.5, 0.5], mean_quality=[0.8, 0.75, 0.3])
    assert choose(CARDS, expected, "smallest*0.2", policy=guarded()).guard.default == "safe"


def test_the_id_breaks_ties_between_default_cards() -> None:
    assert (
        choose(CARDS, forecast([0.5, 0.5, 0.9], mean_quality=[0.8, 0.8, 0.8]), policy=guarded()).guard.default == "able"
    )


def test_an_uncertain_card_is_not_a_safe_default() -> None:
    expected = forecast([0.5, 0.5, 0.9], mean_quality=[0.85, 0.8, 0.3], std=[0.5, 0.1, 0.1])
    assert choose(CARDS, expected, policy=guarded()).guard.default == "safe"


def test_an_unknown_forecast_makes_a_card_neither_a_default_nor_confident() -> None:
    nan = float("nan")
    expected = forecast([0.95, 0.7, 0.5], mean_quality=[nan, 0.7, 0.6], std=[nan, 0.0, 0.0])
    guard = choose(CARDS, expected, policy=guarded()).guard
    assert (guard.default, guard.best, guard.state) == ("safe", "able", "held")
    assert guard.advantage_std == 0.5


def test_the_goal_best_raises_uncertainty_and_advantage_alike() -> None:
    once = choose(CARDS, outlook(0.8), policy=guarded()).guard
    twice = choose(CARDS, outlook(0.8), "best*1", policy=guarded()).guard
    assert twice.advantage == pytest.approx(2 * once.advantage)
    assert twice.confidence == pytest.approx(once.confidence)


def test_a_stated_default_card_replaces_the_derived_one() -> None:
    decision = choose(CARDS, outlook(0.75, 0.5), policy=guarded(default="tiny"))
    assert (decision.card, decision.guard.default) == ("tiny", "tiny")


def test_a_default_card_may_be_stated_by_an_alias() -> None:
    cards = [CARDS[0], card("safe", aliases=["mini"]), CARDS[2]]
    assert (
        choose(cards, outlook(0.75, mean_quality=[0.9, 0.1, 0.1]), policy=guarded(default="mini")).guard.default
        == "safe"
    )


@pytest.mark.parametrize(
    ("request_context", "why"),
    [
        ({"flags": "size>2B"}, "the policy's default card tiny is rejected (size 1B < 2B)"),
        ({"unavailable": {"tiny": "no API key"}}, "the policy's default card tiny is rejected (no API key)"),
    ],
)
def test_a_stated_default_card_that_is_not_a_candidate_is_replaced_with_a_reason(
    request_context: dict[str, Any], why: str
) -> None:
    decision = choose(CARDS, outlook(0.75), policy=guarded(default="tiny"), **request_context)
    assert (decision.card, decision.guard.default) == ("safe", "safe")
    assert decision.guard.reason.startswith(f"{why}; able scores")


def test_a_stated_default_card_that_is_not_in_the_catalogue_is_replaced_with_a_reason() -> None:
    decision = choose(CARDS, outlook(0.6), policy=guarded(default="gone"))
    assert (decision.card, decision.guard.default) == ("safe", "safe")
    assert decision.guard.reason == (
        "the policy's default card gone is not in the catalogue; the default card is the best"
    )


def test_limits_apply_to_the_default_card() -> None:
    decision = choose(CARDS, forecast([0.75, 0.7, 0.72], mean_quality=MEAN_QUALITY), "size!=8B", policy=guarded())
    assert (decision.card, decision.guard.default) == ("able", "able")


def test_a_limit_that_rejects_the_default_card_binds() -> None:
    assert choose(CARDS, outlook(0.75), "size!=8B", policy=guarded()).binding == ("size!=8B",)
    assert choose(CARDS, outlook(0.99), "size!=8B", policy=guarded()).binding == ()


def test_a_limit_that_rejects_a_card_which_would_not_have_been_released_does_not_bind() -> None:
    assert choose(CARDS, outlook(0.75), "size<70B", policy=guarded()).binding == ()
    assert choose(CARDS, outlook(0.99), "size<70B", policy=guarded()).binding == ("size<70B",)


@pytest.mark.parametrize(
    ("advantage", "std", "confidence"),
    [(0.0, 0.0, 0.5), (0.1, 0.0, 1.0), (0.0, 0.3, 0.5), (1e-300, 0.3, 0.5), (1.0, 1e-300, 1.0), (0.1, math.inf, 0.5)],
)
def test_the_confidence_for_extreme_numbers(advantage: float, std: float, confidence: float) -> None:
    assert confidence_of(advantage, std) == confidence


@given(st.floats(0, 2), st.floats(1e-3, 1))
def test_the_confidence_is_the_normal_distributions(advantage: float, std: float) -> None:
    assert confidence_of(advantage, std) == pytest.approx(statistics.NormalDist(0, std).cdf(advantage), abs=2e-9)


shares = st.sampled_from([0.0, 0.01, 0.1, 0.3, 0.5, float("nan")])
confidences = st.sampled_from([0.5, 0.55, 0.6, 0.7, 0.8, 0.9, 0.99])
Situation = tuple[list[Card], Forecast]


@st.composite
def uncertain_situations(draw: st.DrawFn) -> Situation:
    """Cards with uncertainty, and with other mean qualities than on this prompt."""
    cards, expected = draw(situations())
    count = len(cards)
    twentieths = st.integers(0, 20).map(lambda number: number / 20)
    return cards, msgspec.structs.replace(
        expected,
        independent_std=np.array(draw(st.lists(shares, min_size=count, max_size=count))),
        mean_quality=np.array(draw(st.lists(twentieths, min_size=count, max_size=count))),
        novelty=draw(st.sampled_from([0.0, 0.5, 0.97, 0.99, 1.0])),
    )


stated_defaults = st.one_of(st.none(), st.integers(0, 29).map(lambda number: f"card-{number:02}"))


def decided(situation: Situation, limits: list[str], goals: dict[str, float], policy: Policy) -> Decision | None:
    flags = Flags(tuple(limit for text in limits for limit in parse_flags(text).limits), goals)
    try:
        return choose(*situation, flags, policy=policy)
    except NoCandidateError:
        return None


@given(uncertain_situations(), limit_lists, goal_weights, confidences, stated_defaults)
def test_the_chosen_card_is_the_argmin_or_the_default(
    situation: Situation, limits: list[str], goals: dict[str, float], confidence: float, default: str | None
) -> None:
    plain = decided(situation, limits, goals, PLAIN)
    decision = decided(situation, limits, goals, guarded(confidence, default=default))
    if plain is None or decision is None:
        assert plain is decision is None
        return
    expected = {"same": plain.card, "released": plain.card, "held": decision.guard.default}
    assert decision.card == expected[decision.guard.state]
    assert decision.guard.best == plain.card
    if default in {candidate.card for candidate in plain.candidates}:
        assert decision.guard.default == default


@given(uncertain_situations(), limit_lists, goal_weights, confidences)
def test_the_guard_changes_neither_candidates_nor_scores_nor_the_order_of_the_others(
    situation: Situation, limits: list[str], goals: dict[str, float], confidence: float
) -> None:
    plain = decided(situation, limits, goals, PLAIN)
    decision = decided(situation, limits, goals, guarded(confidence))
    if plain is None or decision is None:
        return
    # As JSON, in which an unknown uncertainty equals itself.
    before, after = ({one.card: msgspec.json.encode(one) for one in either.candidates} for either in (plain, decision))
    assert after == before
    others = [candidate.card for candidate in plain.candidates if candidate.card != decision.card]
    assert [candidate.card for candidate in decision.candidates] == [decision.card, *others]
    assert dict(decision.rejections) == dict(plain.rejections)
    names = tuple(candidate.card for candidate in decision.candidates)
    assert (decision.plan.card, *decision.plan.fallbacks) == names[: 1 + PLAIN.fallbacks]


@given(uncertain_situations(), limit_lists, goal_weights, st.tuples(confidences, confidences), stated_defaults)
def test_a_higher_confidence_never_releases_what_a_lower_one_held(
    situation: Situation,
    limits: list[str],
    goals: dict[str, float],
    pair: tuple[float, float],
    default: str | None,
) -> None:
    daring, careful = (
        decided(situation, limits, goals, guarded(bound, default=default)) for bound in (min(pair), max(pair))
    )
    if daring is not None and careful is not None and daring.guard.state == "held":
        assert (careful.guard.state, careful.card) == ("held", daring.card)


@given(uncertain_situations(), limit_lists, goal_weights)
def test_at_the_lowest_confidence_only_novelty_can_hold_a_decision(
    situation: Situation, limits: list[str], goals: dict[str, float]
) -> None:
    plain = decided(situation, limits, goals, PLAIN)
    decision = decided(situation, limits, goals, guarded(0.5, 1.0))
    if plain is not None and decision is not None:
        assert decision.candidates[0].score == pytest.approx(plain.candidates[0].score, abs=1e-8)


@given(uncertain_situations(), limit_lists, limit_texts, goal_weights, confidences)
def test_with_a_guard_too_adding_a_limit_never_adds_a_candidate(
    situation: Situation, limits: list[str], added: str, goals: dict[str, float], confidence: float
) -> None:
    before = decided(situation, limits, goals, guarded(confidence))
    after = decided(situation, [*limits, added], goals, guarded(confidence))
    if after is not None:
        assert before is not None
        assert {one.card for one in after.candidates} <= {one.card for one in before.candidates}
        assert after.guard.default in {one.card for one in after.candidates}


@settings(max_examples=100)
@given(
    uncertain_situations(), goal_weights, st.lists(limit_texts, min_size=1, max_size=4, unique=True), stated_defaults
)
def test_with_a_guard_too_a_limit_binds_exactly_where_without_it_another_card_is_chosen(
    situation: Situation, goals: dict[str, float], limits: list[str], default: str | None
) -> None:
    policy = guarded(default=default)
    decision = decided(situation, limits, goals, policy)
    if decision is None:
        return
    for text in limits:
        without = decided(situation, [other for other in limits if other != text], goals, policy)
        assert without is not None
        assert (without.card != decision.card) == (text in decision.binding), text


@settings(max_examples=150)
@given(
    goal=st.sampled_from(sorted(GOALS)),
    situation=uncertain_situations(),
    others=goal_weights,
    limits=limit_lists,
    span=spans,
    default=stated_defaults,
)
def test_raising_a_weight_never_raises_the_chosen_cost_above_that_of_both_finalists(
    goal: str,
    situation: Situation,
    others: dict[str, float],
    limits: list[str],
    span: tuple[float, float],
    default: str | None,
) -> None:
    low, high = span
    others.pop(goal, None)
    policy = guarded(default=default)
    light = decided(situation, limits, {**others, goal: low}, policy)
    heavy = decided(situation, limits, {**others, goal: high}, policy)
    if light is None or heavy is None or _rounding_decides(light) or _rounding_decides(heavy):
        return
    costs = goal_costs(situation, goal)
    assert costs[heavy.card] <= max(costs[str(light.guard.best)], costs[str(light.guard.default)])
    finalists = {light.guard.best, light.guard.default}
    if finalists == {heavy.guard.best, heavy.guard.default} and goal != "best":
        assert costs[heavy.card] <= costs[light.card]


def _rounding_decides(decision: Decision) -> bool:
    """Whether two scores are so close that rounding decides between them."""
    scores = sorted(candidate.score for candidate in decision.candidates)
    return len(scores) > 1 and scores[1] - scores[0] < 1e-9


@given(uncertain_situations(), goal_weights, limit_lists, st.randoms())
def test_with_a_guard_too_the_order_in_which_cards_are_given_changes_nothing(
    situation: Situation, goals: dict[str, float], limits: list[str], random: Any
) -> None:
    cards, expected = situation
    shuffled = list(cards)
    random.shuffle(shuffled)
    one = decided(situation, limits, goals, guarded())
    two = decided((shuffled, expected), limits, goals, guarded())
    assert one is two is None or (one is not None and two is not None and as_json(one) == as_json(two))
