"""Invariants of every decision, for any cards, forecast and flags."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from router.cards import Card, Catalog
from router.decide.fields import DecisionInputs
from router.decide.flags import Flags, parse_flags
from router.decide.goals import GOALS, LOSS
from router.decide.policy import Policy
from router.errors import NoCandidateError
from router.types import Decision, Forecast
from tests.decide.cards import (
    BOUNDS,
    PLAIN,
    POOL,
    TODAY,
    as_json,
    card,
    choose,
    features,
    forecast,
    limit_texts,
    situations,
)

weights = st.integers(0, 3000).map(lambda thousandths: thousandths / 1000)
goal_weights = st.dictionaries(st.sampled_from(sorted(GOALS)), weights, max_size=4)
spans = st.tuples(weights, weights).map(lambda pair: (pair[0], pair[0] + pair[1] + 1e-3))
limit_lists = st.lists(limit_texts, max_size=3, unique=True)
Situation = tuple[list[Card], Forecast]


def flags_of(limits: Sequence[str], goals: dict[str, float] | None = None) -> Flags:
    """Parsed one by one, so that contradictions reach the engine."""
    return Flags(tuple(limit for text in limits for limit in parse_flags(text).limits), goals or {})


def decision_or_none(situation: Situation, flags: Flags, policy: Policy = PLAIN) -> Decision | None:
    try:
        return choose(*situation, flags, policy=policy)
    except NoCandidateError:
        return None


def candidates(situation: Situation, flags: Flags, policy: Policy = PLAIN) -> list[str]:
    decision = decision_or_none(situation, flags, policy)
    return [] if decision is None else [candidate.card for candidate in decision.candidates]


def goal_costs(situation: Situation, goal: str) -> dict[str, float]:
    cards, expected = situation
    catalog = Catalog(cards)
    inputs = DecisionInputs(catalog, expected, TODAY, features().input_tokens)
    return dict(zip(catalog.ids, GOALS[goal](inputs).tolist(), strict=True))


@given(situations(), st.sampled_from(sorted(BOUNDS)), limit_lists, st.data())
def test_tightening_a_limit_never_adds_a_candidate(
    situation: Situation, bound: str, others: list[str], data: st.DataObject
) -> None:
    values = BOUNDS[bound]
    loose = data.draw(st.integers(0, len(values) - 2))
    tight = data.draw(st.integers(loose + 1, len(values) - 1))
    before = candidates(situation, flags_of([f"{bound}{values[loose]}", *others]))
    after = candidates(situation, flags_of([f"{bound}{values[tight]}", *others]))
    assert set(after) <= set(before)


@given(situations(), limit_lists, limit_texts, st.sampled_from(["reject", "allow"]))
def test_adding_a_limit_never_adds_a_candidate(
    situation: Situation, limits: list[str], added: str, unknown: str
) -> None:
    policy = msgspec.structs.replace(PLAIN, unknown=unknown)
    before = candidates(situation, flags_of(limits), policy)
    after = candidates(situation, flags_of([*limits, added]), policy)
    assert set(after) <= set(before)


@given(situations(), limit_lists, goal_weights)
def test_a_limit_never_reorders_the_remaining_candidates(
    situation: Situation, limits: list[str], goals: dict[str, float]
) -> None:
    everything = candidates(situation, flags_of([], goals))
    left = candidates(situation, flags_of(limits, goals))
    assert left == [name for name in everything if name in left]


@settings(max_examples=150)
@given(
    goal=st.sampled_from(sorted(GOALS)),
    situation=situations(),
    others=goal_weights,
    limits=limit_lists,
    span=spans,
)
def test_raising_a_weight_never_raises_the_chosen_cost(
    goal: str, situation: Situation, others: dict[str, float], limits: list[str], span: tuple[float, float]
) -> None:
    low, high = span
    others.pop(goal, None)
    light = decision_or_none(situation, flags_of(limits, {**others, goal: low}))
    heavy = decision_or_none(situation, flags_of(limits, {**others, goal: high}))
    assume(light is not None and heavy is not None)
    costs = goal_costs(situation, goal)
    # Two scores that are equal on paper may differ in their last bit.
    assert costs[heavy.card] <= costs[light.card] or tied(situation, light, heavy)


def tied(situation: Situation, light: Decision, heavy: Decision) -> bool:
    """Whether, for either decision, the two chosen cards score the same but for rounding."""
    for decision in (light, heavy):
        score = {candidate.card: candidate.score for candidate in decision.candidates}
        if abs(score[light.card] - score[heavy.card]) < 1e-12:
            return True
    return False


@given(situations(), limit_lists)
def test_with_every_weight_at_zero_the_choice_is_the_plain_argmin_of_loss(
    situation: Situation, limits: list[str]
) -> None:
    decision = decision_or_none(situation, flags_of(limits, dict.fromkeys(GOALS, 0.0)))
    assume(decision is not None)
    ids = Catalog(situation[0]).ids
    passing = {candidate.card for candidate in decision.candidates}
    losses = dict(zip(ids, (1 - situation[1].quality).tolist(), strict=True))
    losses = {name: loss for name, loss in losses.items() if name in passing}
    assert decision.card == min(losses, key=lambda name: (losses[name], name))
    assert decision.card == choose(*situation, flags_of(limits)).card


@settings(max_examples=80)
@given(goal=st.sampled_from(sorted(GOALS)), situation=situations(), limits=limit_lists)
def test_with_a_large_weight_the_choice_is_the_best_in_that_goal(
    goal: str, situation: Situation, limits: list[str]
) -> None:
    decision = decision_or_none(situation, flags_of(limits, {goal: 1e7}))
    assume(decision is not None)
    costs = goal_costs(situation, goal)
    best = min(costs[candidate.card] for candidate in decision.candidates)
    # Beyond 1e-6 the weight exceeds any difference in loss.
    assert costs[decision.card] <= best + 1e-6


@given(goal=st.sampled_from(sorted(GOALS)), situation=situations())
def test_the_cost_of_a_goal_is_between_zero_and_one(goal: str, situation: Situation) -> None:
    assert all(0 <= cost <= 1 for cost in goal_costs(situation, goal).values())


@given(situations(), goal_weights)
def test_a_score_is_the_sum_of_its_parts(situation: Situation, goals: dict[str, float]) -> None:
    for candidate in choose(*situation, flags_of([], goals)).candidates:
        assert candidate.score == pytest.approx(sum(candidate.parts.values()), abs=1e-12)
        assert set(candidate.parts) == {LOSS} | {goal for goal, weight in goals.items() if weight and goal != "best"}


@given(situations(), goal_weights, limit_lists)
def test_candidates_are_ordered_by_score_then_by_id(
    situation: Situation, goals: dict[str, float], limits: list[str]
) -> None:
    decision = decision_or_none(situation, flags_of(limits, goals))
    assume(decision is not None)
    ranked = [(candidate.score, candidate.card) for candidate in decision.candidates]
    assert ranked == sorted(ranked)


@given(situations(), goal_weights, limit_lists, st.randoms())
def test_the_order_in_which_cards_are_given_changes_nothing(
    situation: Situation, goals: dict[str, float], limits: list[str], random: st.DataObject
) -> None:
    cards, expected = situation
    shuffled = list(cards)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one = decision_or_none(situation, flags_of(limits, goals))
    two = decision_or_none((shuffled, expected), flags_of(limits, goals))
    assert one is two is None or as_json(one) == as_json(two)


def test_equal_scores_are_broken_by_card_id() -> None:
    cards = [card(name) for name in ("c", "a", "b")]
    assert choose(cards, [0.5, 0.5, 0.5]).plan.fallbacks == ("b", "c")
    assert choose(cards, [0.5, 0.5, 0.5]).card == "a"


@given(situations(), goal_weights, limit_lists)
def test_the_same_inputs_give_the_same_decision(
    situation: Situation, goals: dict[str, float], limits: list[str]
) -> None:
    one, two = (decision_or_none(situation, flags_of(limits, goals)) for _ in range(2))
    assert one is two is None or as_json(one) == as_json(two)


@given(situations(), limit_lists, st.sets(st.sampled_from([member.id for member in POOL])))
def test_every_card_is_either_a_candidate_or_a_rejection(
    situation: Situation, limits: list[str], down: set[str]
) -> None:
    unavailable = dict.fromkeys(down, "down")
    try:
        decision = choose(*situation, flags_of(limits), unavailable=unavailable)
    except NoCandidateError:
        return
    names = [candidate.card for candidate in decision.candidates]
    assert sorted([*names, *decision.rejections]) == sorted(card.id for card in situation[0])
    assert all(rejection.reason for rejection in decision.rejections.values())


@given(situations(), goal_weights, limit_lists)
def test_the_plan_is_the_head_of_the_ranking(situation: Situation, goals: dict[str, float], limits: list[str]) -> None:
    decision = decision_or_none(situation, flags_of(limits, goals))
    assume(decision is not None)
    names = tuple(candidate.card for candidate in decision.candidates)
    assert (decision.plan.card, *decision.plan.fallbacks) == names[: 1 + PLAIN.fallbacks]


@given(situations(), goal_weights, st.lists(limit_texts, min_size=1, max_size=4, unique=True))
def test_a_limit_binds_exactly_where_without_it_another_card_is_chosen(
    situation: Situation, goals: dict[str, float], limits: list[str]
) -> None:
    decision = decision_or_none(situation, flags_of(limits, goals))
    assume(decision is not None)
    for text in limits:
        without = choose(*situation, flags_of([other for other in limits if other != text], goals))
        assert (without.card != decision.card) == (text in decision.binding), text


@given(
    situations(),
    st.lists(limit_texts, max_size=4, unique=True),
    st.permutations(["size", "license", "cost", "tag"]),
)
def test_relaxing_drops_fields_in_the_stated_order_until_a_card_passes(
    situation: Situation, limits: list[str], order: list[str]
) -> None:
    policy = Policy(id="r", description="relaxes", on_empty="relax", relax=tuple(order))
    flags = flags_of(limits)
    decision = decision_or_none(situation, flags, policy)
    for stage in range(len(order) + 1):
        left = [limit for limit in flags.limits if limit.field not in order[:stage]]
        plain = decision_or_none(situation, Flags(tuple(left)))
        if plain is not None:
            dropped = [limit.text for name in order[:stage] for limit in flags.limits if limit.field == name]
            assert decision is not None
            assert decision.relaxed == tuple(dropped)
            assert decision.card == plain.card
            return
    assert decision is None


@given(situations(), limit_texts)
def test_an_unknown_fact_fails_a_limit_unless_the_policy_allows_it(situation: Situation, text: str) -> None:
    catalog = Catalog(situation[0])
    (limit,) = parse_flags(text).limits
    strict = candidates(situation, flags_of([text]))
    lenient = candidates(situation, flags_of([text]), msgspec.structs.replace(PLAIN, unknown="allow"))
    assert set(strict) <= set(lenient)
    decision = decision_or_none(situation, flags_of([text]))
    assume(decision is not None)
    for name in set(lenient) - set(strict):
        assert decision.rejections[name].reason == f"{limit.field} unknown"
        assert catalog.position(name) is not None


def test_a_lower_quality_card_wins_only_by_its_goals() -> None:
    cards = [card("large", size="70B"), card("small", size="1B")]
    expected = forecast([0.9, 0.6])
    assert choose(cards, expected).card == "large"
    assert choose(cards, expected, "smallest*0.2").card == "large"
    assert choose(cards, expected, "smallest*0.4").card == "small"


def test_the_choices_along_one_weight_are_a_pareto_front() -> None:
    cards = [card(f"m{number}", size=f"{size}B") for number, size in enumerate((1, 3, 8, 70, 400))]
    expected = forecast([0.3, 0.5, 0.55, 0.8, 0.81])
    costs = goal_costs((cards, expected), "smallest")
    quality = dict(zip(Catalog(cards).ids, expected.quality.tolist(), strict=True))
    chosen = [choose(cards, expected, Flags(goals={"smallest": w})).card for w in np.linspace(0, 3, 301)]
    assert [costs[name] for name in chosen] == sorted((costs[name] for name in chosen), reverse=True)
    for name in set(chosen):
        assert not any(
            quality[other] >= quality[name] and costs[other] < costs[name] for other in costs if other != name
        )
