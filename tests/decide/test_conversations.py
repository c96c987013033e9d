from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.decide.policy import Policy
from router.perceive.text.dependence import DEPENDENT, INDEPENDENT
from router.types import Decision, Forecast
from tests.decide.cards import card, choose, features, forecast

SURE = forecast([0.2, 0.9], std=[0.01, 0.01])
"""A forecast that is sure that `b` is better than `a`."""
GUARDED = Policy(id="guarded", description="with a guard", guard="on")


def turn(dependence: float, expected: Forecast = SURE, **options: Any) -> Decision:
    """The decision on a turn of a conversation that `a` answered so far."""
    return choose([card("a"), card("b")], expected, seen=features(dependence=dependence), kept="a", **options)


@pytest.mark.parametrize("policy", [None, GUARDED])
def test_a_follow_up_keeps_the_card_however_sure_the_forecast_is(policy: Policy | None) -> None:
    decision = turn(0.9) if policy is None else turn(0.9, policy=policy)
    assert decision.card == "a"
    assert decision.guard.state == "held"
    assert decision.guard.reason == (
        "the turn depends on what went before it (0.90), so the conversation's card a answers"
    )
    assert decision.plan.fallbacks == ("b",)


def test_a_follow_up_does_not_keep_a_card_that_fails_a_limit() -> None:
    assert turn(0.9, flags="card=b").card == "b"
    assert turn(0.9, unavailable={"a": "is down"}).card == "b"


def test_a_follow_up_is_decided_anew_where_the_policy_frees_conversations() -> None:
    free = Policy(id="free", description="every turn on its own", conversations="free")
    assert turn(0.9, policy=free).card == "b"


def test_an_ask_of_its_own_is_decided_by_the_policy_alone() -> None:
    unsure = forecast([0.60, 0.61], std=[0.3, 0.3])
    assert turn(0.1, unsure).card == "b"
    assert turn(0.1, unsure).guard.state == "off"
    guarded = turn(0.1, unsure, policy=Policy(id="guarded", description="b is safe", guard="on", default="b"))
    assert (guarded.card, guarded.guard.default) == ("b", "b")


def test_between_the_two_the_card_changes_only_for_a_clearly_better_one() -> None:
    between = (DEPENDENT + INDEPENDENT) / 2
    assert turn(between).card == "b"
    assert turn(between, forecast([0.60, 0.61], std=[0.3, 0.3])).card == "a"


def test_between_the_two_a_novel_turn_keeps_the_card() -> None:
    between = (DEPENDENT + INDEPENDENT) / 2
    assert turn(between, forecast([0.2, 0.9], std=[0.01, 0.01], novelty=0.97)).card == "a"


@given(st.floats(0, 1))
def test_without_a_card_of_the_conversation_dependence_changes_nothing(dependence: float) -> None:
    cards = [card("a"), card("b")]
    assert choose(cards, SURE, seen=features(dependence=dependence)).card == "b"


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_more_dependent_turn_never_leaves_where_a_less_dependent_one_stays(one: float, two: float) -> None:
    less, more = sorted((one, two))
    if turn(less).card == "a":
        assert turn(more).card == "a"
