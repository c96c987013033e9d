"""Which card answers which task of a prompt, against brute force."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.decide.plans.segments import Group, SegmentPlan, plan_segments

MATHS = {"a": 0.1, "b": 0.5}
PROSE = {"a": 0.6, "b": 0.2}


def planned(*tables: Mapping[str, float], depends: Sequence[bool] | None = None, **options: float) -> SegmentPlan:
    stated = [False] * len(tables) if depends is None else depends
    whole = min(tables[0], key=lambda card: (sum(table[card] for table in tables), card))
    return plan_segments(stated, lambda number: tables[number], whole, **options)  # type: ignore[arg-type]


def test_each_task_goes_to_the_card_that_is_best_for_it() -> None:
    assert planned(MATHS, PROSE).groups == (Group("a", (0,)), Group("b", (1,)))


def test_neighbours_of_one_card_are_one_call() -> None:
    assert planned(MATHS, MATHS, PROSE).groups == (Group("a", (0, 1)), Group("b", (2,)))


def test_a_prompt_whose_tasks_want_one_card_is_not_split() -> None:
    plan = planned(MATHS, MATHS)
    assert (plan.is_split, plan.groups, plan.reason) == (
        False,
        (Group("a", (0, 1)),),
        "one card is best for all tasks",
    )


def test_a_prompt_is_not_split_for_a_gain_below_the_least() -> None:
    plan = planned({"a": 0.10, "b": 0.11}, {"a": 0.11, "b": 0.10}, min_gain=0.02)
    assert not plan.is_split
    assert plan.reason == "the expected gain 0.005 does not exceed 0.02"


def test_the_calls_are_limited() -> None:
    tables = (MATHS, PROSE, MATHS, PROSE)
    assert len(planned(*tables).groups) == 4
    assert planned(*tables, most_calls=2).groups == (Group("a", (0, 1, 2)), Group("b", (3,)))
    assert not planned(*tables, most_calls=1).is_split


def test_a_further_call_must_be_worth_the_instructions_that_it_repeats() -> None:
    assert not planned(MATHS, PROSE, call_score=0.5).is_split


def test_a_task_that_points_back_waits_for_the_call_before_it() -> None:
    plan = planned(MATHS, PROSE, MATHS, depends=[False, True, False])
    assert [group.after for group in plan.groups] == [None, 0, None]


def test_a_task_that_no_card_may_answer_leaves_the_prompt_whole() -> None:
    plan = plan_segments([False, False], lambda number: (MATHS, {})[number], "a")
    assert (plan.is_split, plan.reason) == (False, "no cards answer the tasks in 8 calls")


def test_one_task_is_not_routed_again() -> None:
    def never(number: int) -> Mapping[str, float]:
        raise AssertionError(number)

    assert plan_segments([False], never, "a").groups == (Group("a", (0,)),)


tables = st.lists(st.fixed_dictionaries({name: st.integers(0, 8) for name in "abc"}), min_size=2, max_size=5)


@given(tables, st.integers(1, 5), st.integers(0, 3))
def test_the_plan_has_the_least_score_of_all_assignments(
    table: list[dict[str, int]], most_calls: int, call_score: int
) -> None:
    best = min(
        sum(table[number][card] for number, card in enumerate(cards))
        + call_score * sum(one != two for one, two in itertools.pairwise(cards))
        for cards in itertools.product("abc", repeat=len(table))
        if 1 + sum(one != two for one, two in itertools.pairwise(cards)) <= most_calls
    )
    scores = [{card: float(score) for card, score in row.items()} for row in table]
    plan = planned(*scores, most_calls=most_calls, call_score=float(call_score))
    reached = sum(scores[number][group.card] for group in plan.groups for number in group.segments)
    assert len(plan.groups) <= most_calls
    assert reached + call_score * (len(plan.groups) - 1) == pytest.approx(best)
    assert [number for group in plan.groups for number in group.segments] == list(range(len(table)))
