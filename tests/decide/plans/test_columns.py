"""A plan that was carried out on common answers is forecast by its outcomes."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.decide.plans.catalog import Plans
from router.decide.plans.forecast.columns import Columns, PlanColumn
from router.decide.plans.spec import Best, Cascade, Committee, FixedGate, PlanSpec
from router.errors import NoCandidateError
from router.types import Decision
from tests.decide.cards import PLAIN, as_json, card, choose, forecast

CARDS = [card("first", size="7B"), card("strong", size="70B"), card("third", size="8B")]
OUTLOOK = forecast([0.6, 0.8, 0.62], cost_usd=[0.001, 0.02, 0.001])
LADDER = Cascade(id="ladder", description="d", members=("first", "strong"))
# 0.9 where the second call is made for nothing, 0.5 where it is dear.
COLUMN = PlanColumn(
    kind="cascade",
    members=("first", "strong"),
    agree=0,
    threshold=None,
    prices=(0.0, 0.1),
    quality=((2.2, 0.0, 0.0), (0.0, 0.0, 0.0)),
    calls=((-1.0, 0.5),),
    asked=((2.0, -2.0),),
    error=0.003,
    prompts=500,
    source="exams",
)


def decided(plan: PlanSpec, columns: Columns, **facts: object) -> Decision:
    policy = msgspec.structs.replace(PLAIN, plans=(plan.id,), mistake_usd=1.0, **facts)
    return choose(CARDS, OUTLOOK, policy=policy, plans=Plans([plan], columns))


def test_a_plan_with_a_column_is_forecast_by_it_and_says_so() -> None:
    by_column = decided(LADDER, Columns([COLUMN])).plans["plan/ladder"]
    # λ · 0.02 $ is a fifth of the way from the first measured price to the second.
    assert by_column.quality == pytest.approx(1 / (1 + 2.718281828 ** (-2.2 * 0.8)), abs=1e-6)
    assert by_column.forecast_by == "column of 500 answered prompts of exams"
    assert decided(LADDER, Columns()).plans["plan/ladder"].forecast_by == "closed form"


@pytest.mark.parametrize(
    "plan",
    [
        Cascade(id="other", description="d", members=("third", "strong")),
        Cascade(id="turned", description="d", members=("strong", "first")),
        Cascade(id="prior", description="d", members=("first", "strong"), gate="prior"),
        Cascade(id="fixed", description="d", members=("first", "strong"), gate=FixedGate(0.7)),
        Committee(id="two", description="d", members=("first", "strong")),
    ],
    ids=lambda plan: plan.id,
)
def test_what_was_not_measured_is_forecast_by_the_closed_form(plan: PlanSpec) -> None:
    assert as_json(decided(plan, Columns([COLUMN]))) == as_json(decided(plan, Columns()))


def test_the_best_cards_by_forecast_are_forecast_by_the_column_that_was_measured_of_them() -> None:
    plan = Cascade(id="dynamic", description="d", members=(Best(1, ("size<7.5B",)), Best(1)))
    assert decided(plan, Columns([COLUMN])).plans["plan/dynamic"].forecast_by.startswith("column")


def test_with_plans_off_columns_change_nothing_to_the_bit() -> None:
    with_columns = choose(CARDS, OUTLOOK, plans=Plans([LADDER], Columns([COLUMN])))
    assert as_json(with_columns) == as_json(choose(CARDS, OUTLOOK))


@given(st.floats(0.0, 3.0), st.floats(0.0, 3.0))
def test_raising_cheapest_never_raises_the_calls_that_a_column_expects(low: float, more: float) -> None:
    calls = []
    for weight in (low, low + more):
        goals = {"cheapest": weight} if weight else {}
        try:
            found = choose(
                CARDS,
                OUTLOOK,
                policy=msgspec.structs.replace(PLAIN, plans=("ladder",), goals=goals),
                plans=Plans([LADDER], Columns([COLUMN])),
            )
        except NoCandidateError:
            return
        calls.append(found.plans["plan/ladder"].calls)
    assert calls[1] <= calls[0] + 1e-12


def test_the_doubt_of_a_measured_plan_counts_the_error_of_its_column() -> None:
    doubts = [
        decided(LADDER, Columns([msgspec.structs.replace(COLUMN, error=error)])).plans["plan/ladder"].quality_std
        for error in (0.0, 0.03)
    ]
    assert doubts[1] == pytest.approx((doubts[0] ** 2 + 0.03**2) ** 0.5)


def test_the_third_call_is_never_more_probable_than_the_second() -> None:
    column = msgspec.structs.replace(
        COLUMN,
        members=("first", "third", "strong"),
        quality=((0.0,) * 4,) * 2,
        calls=((0.0,) * 3, (0.0,) * 3),
        asked=((-1.0, -1.0), (3.0, 3.0)),
    )
    reach = column.expected([(0.5, 0.5, 0.5)], (0.0, 0.01, 0.01)).reach
    assert reach[0] == 1.0
    assert reach[2] == reach[1] < 0.3


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"quality": ((0.0, 0.0, 0.0),)}, "quality has 1 entries, expected 2"),
        ({"calls": ()}, "calls has 0 entries, expected 1"),
        ({"asked": ((0.0, 1.0),)}, "asked rises with the price"),
        ({"prices": (0.1, 0.1)}, "prices do not rise"),
        ({"error": -1.0}, "needs two members, a price and an error that is not negative"),
        ({"quality": ((0.0, 0.0, float("nan")),) * 2}, "has a number that is not finite"),
    ],
)
def test_a_column_of_other_sizes_or_numbers_has_a_problem(changes: dict[str, object], problem: str) -> None:
    assert COLUMN.problem() is None
    assert msgspec.structs.replace(COLUMN, **changes).problem() == problem
