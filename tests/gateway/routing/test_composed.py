"""The calls of a plan that a budget reserves for, and what they may cost together."""

from __future__ import annotations

import pytest

from router.decide.plans.spec import BestOf, Caps, Cascade, Chain, Committee, Panel, PlanSpec, Samples, Segments, Stage
from router.dispatch.costs import Bounds
from router.gateway.routing.composed import PlannedCall, bounds_of_plan, calls_of_plan, rejected_for_parts
from router.types import ComposedPlan, Rejection

BODY = {"messages": [{"role": "user", "content": "Answer the questions:\n1. What is 2 + 2?\n2. Who wrote Faust?"}]}
POINTS_BACK = "1. Write a poem about rain.\n2. Translate it into French."
CASCADE = Cascade(id="p", description="x", members=("a", "b"))
COMMITTEE = Committee(id="p", description="x", members=("a", "b"))
BEST_OF = BestOf(id="p", description="x", members=("a", "b"))
CHAIN = Chain(
    id="p",
    description="x",
    stages=(Stage("image", "text", prompt="Look."), Stage("text", "text", prompt="Plan."), Stage("text", "text")),
)
PANEL = Panel(id="p", description="x", members=("a", "b"), writer="w")
COSTS = {"a": Bounds(1, 2, 3), "b": Bounds(10, 20, 30), "c": Bounds(100, 200, 300), "d": Bounds(5, 5, 5)}


def plan(*members: str, writer: str | None = None, fallbacks: tuple[str, ...] = ()) -> ComposedPlan:
    return ComposedPlan("plan/p", "x", members[0], members, writer=writer, fallbacks=fallbacks)


def bounds(spec: PlanSpec, *fallbacks: str, calls: int = 8) -> Bounds:
    """The bounds of a plan of the members a and b."""
    made = plan("a", "b", fallbacks=fallbacks)
    called = calls_of_plan(made, spec, BODY)
    return bounds_of_plan(made, spec, Caps(calls=calls), called, lambda call: COSTS[call.card])


@pytest.mark.parametrize("spec", [CASCADE, COMMITTEE, BEST_OF])
def test_every_member_may_be_called_once(spec: PlanSpec) -> None:
    assert calls_of_plan(plan("a", "b"), spec, BODY) == (PlannedCall("a"), PlannedCall("b"))


def test_one_card_is_called_for_every_sample() -> None:
    spec = Samples(id="p", description="x", member="a", n=3)
    assert calls_of_plan(plan("a"), spec, BODY) == (PlannedCall("a"),) * 3


def test_the_stages_of_a_chain_are_without_the_limit_of_the_client_and_read_all_before_them() -> None:
    calls = calls_of_plan(plan("eyes", "mind", "voice"), CHAIN, BODY)
    assert [call.card for call in calls] == ["eyes", "mind", "voice"]
    assert [call.is_stage for call in calls] == [True, True, False]
    assert [[read.card for read in call.reads] for call in calls] == [[], ["eyes"], ["eyes", "mind"]]
    assert calls[0].added == "Look."
    assert calls[1].added.endswith("Plan.")
    assert "The image that was attached" in calls[2].added


def test_the_prompt_of_a_writer_contains_the_answers_of_all_members_and_its_task() -> None:
    *members, writer = calls_of_plan(plan("a", "b", writer="w"), PANEL, BODY)
    assert members == [PlannedCall("a"), PlannedCall("b")]
    assert (writer.card, writer.reads, writer.is_stage) == ("w", tuple(members), False)
    assert "2 assistants" in writer.added


def test_each_part_of_a_prompt_is_a_call() -> None:
    spec = Segments(id="p", description="x")
    assert [call.card for call in calls_of_plan(plan("a", "b"), spec, BODY)] == ["a", "b"]


def test_a_part_that_points_back_reads_the_answer_before_it() -> None:
    body = {"messages": [{"role": "user", "content": POINTS_BACK}]}
    first, second = calls_of_plan(plan("a", "b"), Segments(id="p", description="x"), body)
    assert (first.reads, second.reads) == ((), (PlannedCall("a"),))


@pytest.mark.parametrize("spec", [CASCADE, COMMITTEE, BEST_OF])
def test_of_calls_one_after_the_other_the_first_is_likely_and_all_are_reserved(spec: PlanSpec) -> None:
    assert bounds(spec) == Bounds(1, 22, 33)


def test_of_calls_at_the_same_time_all_are_likely() -> None:
    assert bounds(BestOf(id="p", description="x", members=("a", "b"), parallel=True)).likely_usd == 11


def test_the_dearest_fallback_is_reserved_in_addition() -> None:
    assert bounds(CASCADE, "d", "c") == Bounds(1, 222, 333)


def test_no_fallback_is_reserved_where_the_members_use_all_calls() -> None:
    assert bounds(CASCADE, "d", "c", calls=2) == bounds(CASCADE)


def test_a_card_that_only_a_limit_on_plans_rejects_may_answer_a_part() -> None:
    rejections = {
        "alone": Rejection("plan=tasks", "does not have plan tasks"),
        "dear": Rejection("plan=tasks", "does not have plan tasks", ("cost 2$ > 1$",)),
        "down": Rejection("available", "no server responds"),
    }
    assert dict(rejected_for_parts(rejections)) == {"dear": "cost 2$ > 1$", "down": "no server responds"}
