"""Plans beside cards in one decision."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from router.decide.flags import Flags
from router.decide.guard import GuardRule
from router.decide.plans.catalog import Plans
from router.decide.plans.forecast.expected import CONSTANTS
from router.decide.plans.spec import (
    Best,
    BestOf,
    Caps,
    Cascade,
    Committee,
    Panel,
    Reroute,
    Samples,
    Segments,
    Validators,
)
from router.decide.policy import Policy
from router.errors import NoCandidateError
from router.types import ComposedPlan, Decision
from tests.decide.cards import PLAIN, as_json, card, choose, features, forecast, limit_texts, situations
from tests.decide.test_invariants import Situation, flags_of, goal_weights, limit_lists

FIRST, STRONG, THIRD = card("first", size="7B"), card("strong", size="70B"), card("third", size="8B")
CARDS = [FIRST, STRONG, THIRD]
OUTLOOK = forecast([0.6, 0.8, 0.62], cost_usd=[0.001, 0.02, 0.001])
LADDER = Cascade(id="ladder", description="d", members=("first", "strong"))
TWO = Committee(id="two", description="d", members=("first", "third", "strong"))
PLANS = Plans(
    [
        LADDER,
        TWO,
        Samples(id="again", description="d", member="first"),
        Panel(id="panel", description="d", members=("first", "third"), writer="strong"),
        BestOf(id="valid", description="d", members=("first", "strong"), validators=Validators(syntax="json")),
        Cascade(id="dynamic", description="d", members=(Best(1, ("size<10B",)), Best(1))),
        Reroute(id="close", description="d", members=("first", "third"), margin=0.05),
        Reroute(id="wide", description="d", members=("first", "third", "strong"), margin=0.3, handovers=2),
    ]
)
WITH = msgspec.structs.replace(PLAIN, plans=PLANS.ids, mistake_usd=1.0)


def policy(*names: str, **facts: Any) -> Policy:
    return msgspec.structs.replace(WITH, plans=names, **facts)


def decided(*names: str, flags: str = "", expected: Any = OUTLOOK, **named: Any) -> Decision:
    facts = named.pop("facts", {})
    return choose(CARDS, expected, flags, policy=policy(*names, **facts), plans=PLANS, **named)


def reason(decision: Decision, name: str) -> str:
    return decision.rejections[f"plan/{name}"].reason


@given(situations(), goal_weights, limit_lists)
def test_with_plans_off_every_decision_is_the_same_to_the_bit(
    situation: Situation, goals: dict[str, float], limits: list[str]
) -> None:
    try:
        without = choose(*situation, flags_of(limits, goals))
    except NoCandidateError:
        assume(False)
    assert as_json(without) == as_json(choose(*situation, flags_of(limits, goals), plans=PLANS))


qualities = st.lists(st.floats(0.05, 0.95), min_size=3, max_size=3)
prices = st.lists(st.sampled_from([0.0, 0.0001, 0.001, 0.02, 0.3, float("nan")]), min_size=3, max_size=3)
guards = st.sampled_from(["off", GuardRule(0.6)])


@given(qualities, prices, goal_weights, guards)
def test_one_call_at_most_is_the_same_as_no_plans(
    quality: list[float], cost: list[float], goals: dict[str, float], guard: Any
) -> None:
    expected = forecast(quality, cost_usd=cost)
    facts = {"goals": goals, "guard": guard}
    limited = decided(*PLANS.ids, flags="calls<=1", expected=expected, facts=facts)
    off = decided(expected=expected, facts=facts)
    assert (limited.plan, limited.guard) == (off.plan, off.guard)
    assert tuple(limited.candidates) == tuple(off.candidates)


@given(qualities, prices, st.floats(0, 3), st.floats(0, 3), goal_weights)
def test_raising_cheapest_never_raises_the_calls_that_a_plan_is_expected_to_make(
    quality: list[float], cost: list[float], low: float, more: float, goals: dict[str, float]
) -> None:
    expected = forecast(quality, cost_usd=cost)
    light, heavy = (
        decided(*PLANS.ids, expected=expected, flags=Flags(goals={**goals, "cheapest": weight}))  # type: ignore[arg-type]
        for weight in (low, low + more)
    )
    for name, plan in light.plans.items():
        assert heavy.plans[name].calls <= plan.calls + 1e-9


@given(qualities, prices, limit_lists, limit_texts)
def test_a_limit_only_shrinks_the_candidates(
    quality: list[float], cost: list[float], limits: list[str], added: str
) -> None:
    named = ("ladder", "two", "again", "panel", "valid")
    expected = forecast(quality, cost_usd=cost)

    def names(texts: list[str]) -> set[str]:
        try:
            return {each.card for each in decided(*named, expected=expected, flags=flags_of(texts)).candidates}  # type: ignore[arg-type]
        except NoCandidateError:
            return set()

    assert names([*limits, added]) <= names(limits)


@given(qualities, prices, goal_weights)
def test_every_plan_is_a_candidate_or_rejected_with_a_reason(
    quality: list[float], cost: list[float], goals: dict[str, float]
) -> None:
    decision = decided(*PLANS.ids, expected=forecast(quality, cost_usd=cost), facts={"goals": goals})
    names = [each.card for each in decision.candidates]
    assert sorted([*names, *decision.rejections]) == sorted(["first", "strong", "third", *(f"plan/{x}" for x in PLANS)])
    for each in decision.candidates:
        assert each.score == pytest.approx(sum(each.parts.values()), abs=1e-9)


def test_a_cascade_is_chosen_where_a_perfect_price_makes_it_worth_its_calls() -> None:
    # The strong card is dear: to ask it only where the cheap one is probably wrong costs half.
    decision = decided("ladder", expected=forecast([0.7, 0.9, 0.1], cost_usd=[0.001, 0.21, 0.3]))
    assert isinstance(decision.plan, ComposedPlan)
    assert (decision.plan.id, decision.plan.method) == ("plan/ladder", "cascade")
    assert decision.plan.members == ("first", "strong")
    assert decision.plan.fallbacks == ("third",)
    assert decision.plan.quality_per_usd == pytest.approx(1.0)
    assert decision.outlook is not None
    assert 1 < decision.outlook.calls < 2


def test_costs_are_added_before_they_are_scaled_and_may_exceed_the_dearest_card() -> None:
    decision = decided("panel", facts={"goals": {"cheapest": 1.0}, "mistake_usd": None})
    parts = {each.card: each.parts["cheapest"] for each in decision.candidates}
    assert parts["plan/panel"] > parts["strong"] == 1.0


def test_a_limit_on_cost_holds_for_every_call_together() -> None:
    decision = decided("ladder", flags="cost<=0.0205$")
    assert "strong" not in decision.rejections
    assert reason(decision, "ladder") == "cost 0.021$ > 0.0205$ if every call is made"


def test_a_plan_is_rejected_with_the_reason_of_the_member_that_fails() -> None:
    decision = decided("ladder", flags="size<10B")
    assert reason(decision, "ladder") == "strong: size 70B > 10B"
    assert decision.rejections["plan/ladder"].limit == "size<10B"


def test_a_member_that_cannot_be_called_rejects_its_plan() -> None:
    decision = decided("two", unavailable={"third": "no key"})
    assert reason(decision, "two") == "third: no key"


def test_the_best_members_are_those_of_the_policy_and_pass_the_limits_of_the_request() -> None:
    names = {step.card: step.role for step in decided("dynamic").plans["plan/dynamic"].steps}
    assert list(names) == ["third", "strong"]
    limited = decided("dynamic", flags="card!=third").plans["plan/dynamic"]
    assert [step.card for step in limited.steps] == ["first", "strong"]


def test_goals_of_a_client_do_not_change_the_best_members() -> None:
    plain, hasty = (decided("dynamic", flags=flags).plans["plan/dynamic"] for flags in ("", "smallest*9"))
    assert [step.card for step in plain.steps] == [step.card for step in hasty.steps]


def test_a_plan_without_enough_members_says_so() -> None:
    decision = decided("dynamic", flags="size>50B")
    assert reason(decision, "dynamic") == "best 1 with size<10B: 0 of 1 cards pass the limits"


@pytest.mark.parametrize(
    ("flags", "left"),
    [
        ("plan=cascade", {"plan/ladder", "plan/dynamic"}),
        ("plan=ladder", {"plan/ladder"}),
        ("plan=single", {"first", "strong", "third"}),
        ("plan!=panel,plan!=cascade,plan!=committee,plan!=reroute,plan!=single", {"plan/again", "plan/valid"}),
        ("calls<=2,plan!=single", {"plan/ladder", "plan/dynamic", "plan/valid", "plan/close"}),
    ],
)
def test_flags_choose_among_kinds_and_names_of_plans(flags: str, left: set[str]) -> None:
    assert {each.card for each in decided(*PLANS.ids, flags=flags).candidates} == left


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("plan=cascde", 'there is no plan cascde; did you mean "cascade"?'),
        ("plan=panel", "the plans of the policy are ladder; name one as the model plan/NAME"),
        ("plan=cascade,calls<=1", "plan/ladder: calls 2 > 1"),
    ],
)
def test_a_limit_that_no_plan_meets_is_explained(flags: str, expected: str) -> None:
    with pytest.raises(NoCandidateError, match="no card meets every limit") as caught:
        decided("ladder", flags=flags)
    assert expected in str(caught.value)


def test_a_plan_that_the_client_names_is_the_only_candidate() -> None:
    decision = decided(plan="panel")
    assert [each.card for each in decision.candidates] == ["plan/panel"]
    assert isinstance(decision.plan, ComposedPlan)
    assert (decision.plan.writer, decision.plan.card) == ("strong", "strong")
    assert decision.plan.members == ("first", "third")


def test_a_named_plan_that_cannot_answer_is_an_error_with_the_reason() -> None:
    with pytest.raises(NoCandidateError, match=r"plan/panel cannot answer this request: strong: size 70B > 10B"):
        decided(plan="panel", flags="size<10B")


@pytest.mark.parametrize(
    ("seen", "name", "expected"),
    [
        (features(needs=["tools"]), "two", "the request has tools (tools): only cascade, best_of and reroute"),
        (features(needs=["multiple_choices"]), "ladder", "the request asks for several answers at once"),
        (features(needs=["logprobs"]), "ladder", "the request asks for log probabilities"),
        (features(modalities=["text", "audio"]), "ladder", "the request contains audio"),
    ],
)
def test_what_several_calls_cannot_serve_rejects_plans(seen: Any, name: str, expected: str) -> None:
    able = [card(each.id, modalities=["text", "audio"], capabilities=["tools", "logprobs"]) for each in CARDS]
    decision = choose(able, OUTLOOK, policy=policy(name), plans=PLANS, seen=seen)
    assert reason(decision, name).startswith(expected)


@pytest.mark.parametrize("field", ["seed", "store", "previous_response_id"])
def test_fields_that_bind_a_request_to_one_call_reject_plans(field: str) -> None:
    seen = msgspec.structs.replace(features(), indivisible=frozenset({field}))
    assert (
        reason(decided("ladder", seen=seen), "ladder")
        == f"the request sets `{field}`, which only a single call can serve"
    )


def test_after_calls_of_tools_only_plans_that_take_one_answer_whole_are_possible() -> None:
    seen = msgspec.structs.replace(features(), indivisible=frozenset({"tool_turns"}))
    decision = decided("ladder", "two", "valid", seen=seen)
    assert [name for name in decision.rejections if name.startswith("plan/")] == ["plan/two"]


def test_in_a_kept_conversation_a_plan_must_begin_with_the_conversations_card() -> None:
    seen = features(dependence=0.4)
    assert reason(decided("ladder", kept="strong", seen=seen), "ladder").startswith("the conversation's card strong is")
    assert "plan/ladder" not in decided("ladder", kept="first", seen=seen).rejections


def test_the_guard_holds_the_default_where_a_plan_is_not_surely_better() -> None:
    expected = forecast([0.6, 0.8, 0.62], cost_usd=[0.001, 0.02, 0.001], std=[0.4, 0.4, 0.4])
    decision = decided("ladder", expected=expected, facts={"guard": GuardRule(0.95), "default": "strong"})
    assert decision.guard.state in ("held", "same")
    assert decision.card == "strong"


BY_SCHEMA = Plans(
    [BestOf(id="json", description="d", members=("first", "strong"), validators=Validators("request", syntax="json"))]
)


def test_a_reroute_begins_with_the_member_of_the_best_forecast() -> None:
    decision = decided("close", plan="close")
    assert isinstance(decision.plan, ComposedPlan)
    assert (decision.plan.members, decision.plan.card) == (("third", "first"), "third")
    assert [step.role for step in decision.plans["plan/close"].steps] == ["member", "handover"]


def test_a_member_that_leads_by_more_than_the_margin_answers_alone() -> None:
    expected = forecast([0.6, 0.8, 0.7], cost_usd=[0.001, 0.02, 0.001])
    decision = decided("close", plan="close", expected=expected)
    assert (decision.plan.kind, decision.card) == ("single", "third"), "the strong card is no member"
    assert reason(decision, "close") == "third is better than the next member by 0.100, more than the margin of 0.05"


def test_a_member_that_fails_a_limit_rejects_a_reroute_whatever_the_margin() -> None:
    expected = forecast([0.6, 0.8, 0.7], cost_usd=[0.001, 0.02, 0.001])
    with pytest.raises(NoCandidateError, match=r"plan/close cannot answer this request: .*third: size 8B > 7B"):
        decided(plan="close", expected=expected, flags="size<=7B")


def test_a_reroute_counts_the_calls_that_its_handovers_allow() -> None:
    close = forecast([0.79, 0.8, 0.795], cost_usd=[0.001, 0.02, 0.004])
    for handovers, most_usd in ((1, 0.024), (2, 0.025)):
        spec = Reroute(id="all", description="d", members=("first", "third", "strong"), handovers=handovers)
        plan = choose(CARDS, close, policy=policy("all"), plans=Plans([spec])).plans["plan/all"]
        assert plan.most_calls == 1 + handovers
        assert 1.0 < plan.calls < 1.5
        assert plan.quality == pytest.approx(0.8)
        assert plan.cost_usd is not None
        assert 0.02 < plan.cost_usd < 0.022
        assert plan.most_cost_usd == pytest.approx(most_usd)


def test_a_plan_that_checks_json_needs_a_request_for_json() -> None:
    decision = choose(CARDS, OUTLOOK, policy=policy("json"), plans=BY_SCHEMA)
    why = "the request asks for no JSON, with a schema or without, by which the plan checks answers"
    assert reason(decision, "json") == why


@pytest.mark.parametrize("need", ["json_schema", "json_object"])
def test_a_request_for_json_can_be_checked_with_a_schema_and_without(need: str) -> None:
    cards = [card(name, capabilities=["json_schema"]) for name in ("first", "strong", "third")]
    decision = choose(cards, OUTLOOK, policy=policy("json"), plans=BY_SCHEMA, seen=features(needs=[need]), plan="json")
    assert (decision.plan.kind, "plan/json" in decision.rejections) == ("composed", False)


def test_a_request_for_any_json_asks_no_capability_of_cards() -> None:
    plain = [card("first", capabilities=["tools"]), card("strong", capabilities=[])]
    decision = choose(plain, seen=features(needs=["json_object"]))
    assert not decision.rejections


SEGMENTS = Plans(
    [
        Segments(id="split", description="d", min_gain=0.02),
        Segments(id="pair", description="d", members=("first", "strong")),
    ]
)


def test_a_prompt_with_an_image_is_not_split_into_texts() -> None:
    cards = [card(name, modalities=["text", "image"]) for name in ("first", "strong", "third")]
    seen = features(modalities=["text", "image"])
    decision = choose(cards, OUTLOOK, policy=policy("split"), plans=SEGMENTS, seen=seen)
    assert reason(decision, "split") == "the request contains image, which the parts of a prompt would be without"


def split(parts: list[list[float]], name: str = "split", **named: Any) -> Decision:
    expected = msgspec.structs.replace(OUTLOOK, parts=tuple(forecast(each, cost_usd=[0.001] * 3) for each in parts))
    return choose(CARDS, expected, policy=policy(name), plans=SEGMENTS, **named)


def test_each_part_of_a_prompt_goes_to_its_best_card() -> None:
    decision = split([[0.9, 0.2, 0.1], [0.1, 0.2, 0.9], [0.9, 0.1, 0.1]])
    assert isinstance(decision.plan, ComposedPlan)
    assert decision.plan.members == ("first", "third", "first")
    assert decision.outlook is not None
    assert decision.outlook.quality == pytest.approx(0.9)
    assert (decision.outlook.calls, decision.outlook.cost_usd) == (3.0, pytest.approx(0.003))
    assert [step.role for step in decision.outlook.steps] == ["part"] * 3


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([], "the prompt is a single task"),
        ([[0.9, 0.2, 0.1]] * 2, "all parts want the same card, first"),
        ([[0.51, 0.5, 0.1], [0.5, 0.51, 0.1]], "splitting gains 0.005, not more than 0.02"),
        ([[0.9, 0.2, 0.1]] * 9, "the prompt has 9 parts, more than the 8 calls of its caps"),
    ],
)
def test_a_prompt_is_split_only_where_that_gains_something(parts: list[list[float]], expected: str) -> None:
    decision = split(parts)
    assert reason(decision, "split") == expected
    assert split(parts, plan="split").plan.kind == "single"


def test_only_the_stated_members_answer_parts() -> None:
    decision = split([[0.9, 0.2, 0.1], [0.1, 0.2, 0.9]], "pair")
    assert decision.plans["plan/pair"].steps[1].card == "strong"


def test_the_document_has_the_tree_of_every_plan() -> None:
    document = decided("ladder").document()
    assert [step.card for step in document["plans"]["plan/ladder"].steps] == ["first", "strong"]
    assert "plans" not in decided().document()


def test_the_doubt_of_a_plan_follows_from_that_of_its_members() -> None:
    doubtful = forecast([0.6, 0.8, 0.62], std=[0.0, 0.3, 0.0])
    sure = forecast([0.6, 0.8, 0.62], std=[0.0, 0.0, 0.0])
    wide, narrow = (decided("ladder", expected=each).plans["plan/ladder"].quality_std for each in (doubtful, sure))
    assert narrow == pytest.approx(CONSTANTS.form_error)
    assert narrow < wide <= 0.31
    assert np.isfinite(wide)


def test_a_plan_with_a_member_that_was_ported_and_not_probed_is_rejected() -> None:
    ported = card("first", size="7B", lineage={"state": "ported"})
    decision = choose([ported, STRONG, THIRD], OUTLOOK, policy=policy("two", "dynamic"), plans=PLANS)
    assert "first" in reason(decision, "two")
    assert "ported to another base" in decision.rejections["first"].reason
    assert "first" not in decision.plan.fallbacks
    dynamic = decision.plans.get("plan/dynamic")
    assert dynamic is None or all(step.card != "first" for step in dynamic.steps)


@pytest.mark.parametrize(("parallel", "rounds"), [(4, 1), (2, 2), (1, 3)])
def test_the_samples_that_are_needed_in_any_case_take_the_time_of_one_call(parallel: int, rounds: int) -> None:
    # Three of five equal answers decide, so three are asked at once.
    again = Samples(id="again", description="d", member="first", n=5, caps=Caps(parallel=parallel))
    expected = forecast([0.6, 0.8, 0.62], cost_usd=[0.001, 0.02, 0.001], latency_ms=[1000.0, 1000.0, 1000.0])
    decision = choose(CARDS, expected, "", policy=policy("again"), plans=Plans([again]))
    outlook = decision.plans["plan/again"]
    assert outlook.most_latency_ms == pytest.approx((rounds + 2) * 1000)
    assert outlook.latency_ms is not None
    assert rounds * 1000 < outlook.latency_ms < (rounds + 2) * 1000
    assert outlook.calls == pytest.approx(3 + outlook.latency_ms / 1000 - rounds)


def test_a_limit_on_members_is_read_from_the_catalogue_of_the_request() -> None:
    def member_with_price(first: str, third: str) -> str:
        cards = [card("first", price={"input": first, "output": first}), STRONG]
        cards.append(card("third", price={"input": third, "output": third}))
        plan = Cascade(id="low", description="d", members=(Best(1, ("price<1$",)), "strong"))
        decision = choose(cards, OUTLOOK, plan="low", plans=Plans([plan]))
        assert isinstance(decision.plan, ComposedPlan)
        return decision.plan.members[0]

    assert [member_with_price("0.5$", "5$"), member_with_price("5$", "0.5$")] == ["first", "third"]
