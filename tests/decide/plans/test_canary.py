"""A canary answers the requests that it is to take of those that would go to its predecessor, and no others."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.cards import Card, Catalog
from router.cards.catalog import CatalogError
from router.errors import NoCandidateError
from router.trials import CanaryChoice
from router.types import Decision
from tests.decide.cards import card, choose


def canary(name: str = "new", of: str = "old", **facts: Any) -> Card:
    return card(name, lineage={"state": "canary", "of": of, "share": "5%"}, **facts)


# In the order of their ids: b, new, old.
CARDS = [card("b"), canary(), card("old")]
OLD_WINS, OTHER_WINS = [0.5, 0.6, 0.7], [0.9, 0.95, 0.2]


def decided(qualities: list[float], *admitted: str, cards: list[Card] = CARDS, **context: Any) -> Decision:
    return choose(cards, qualities, canaries=admitted, **context)


def test_a_canary_answers_what_would_go_to_its_predecessor_and_falls_back_to_it() -> None:
    decision = decided(OLD_WINS, "new")
    assert (decision.card, decision.plan.fallbacks[0]) == ("new", "old")
    assert decision.canary == CanaryChoice("new", "old", taken=True)
    assert [each.card for each in decision.candidates] == ["new", "old", "b"]
    assert "new" not in decision.rejections


def test_a_request_that_is_not_to_go_to_the_canary_is_answered_as_before_and_counts_for_comparison() -> None:
    decision = decided(OLD_WINS)
    assert decision.card == "old"
    assert decision.canary == CanaryChoice("new", "old", taken=False)
    assert decision.rejections["new"].reason == "takes 5% of the conversations of old (lineage.state: canary)"


def test_a_canary_takes_nothing_from_other_cards() -> None:
    decision = decided(OTHER_WINS, "new")
    assert (decision.card, decision.canary) == ("b", None)


@pytest.mark.parametrize("facts", [{"context": "8"}, {"tags": ["slow"]}])
def test_a_canary_that_does_not_meet_the_limits_takes_nothing(facts: dict[str, Any]) -> None:
    decision = decided(OLD_WINS, "new", cards=[card("b"), canary(**facts), card("old")], flags="!slow")
    assert (decision.card, decision.canary) == ("old", None)


def test_a_canary_that_cannot_be_called_takes_nothing_and_its_predecessor_still_counts() -> None:
    decision = decided(OLD_WINS, "new", unavailable={"new": "cooling down"})
    assert (decision.card, decision.canary) == ("old", CanaryChoice("new", "old", taken=False))


def test_a_conversation_that_the_canary_answered_counts_as_one_of_its_predecessor() -> None:
    kept = [0.75, 0.6, 0.7]
    assert decided(kept, "new", kept="new").card == "new"
    # Also where the canary was rolled back meanwhile.
    assert decided(kept, kept="new").card == "old"


def test_a_canary_answers_what_only_it_can() -> None:
    gone = {"b": "no", "old": "no"}
    assert decided(OLD_WINS, "new", unavailable=gone).card == "new"
    with pytest.raises(NoCandidateError):
        decided(OLD_WINS, unavailable=gone)


def test_the_efforts_of_a_canary_take_from_the_same_efforts() -> None:
    efforts = {"low": {}, "high": {}}
    cards = [canary(efforts=efforts), card("old", efforts=efforts)]
    qualities = [0.1, 0.1, 0.1, 0.2, 0.2, 0.9]  # new, new@high, new@low, old, old@high, old@low
    decision = decided(qualities, "new", "new@high", "new@low", cards=cards)
    assert (decision.card, decision.plan.fallbacks[0]) == ("new@low", "old@low")
    assert decision.canary == CanaryChoice("new", "old", taken=True)


@given(st.lists(st.floats(0.01, 0.99), min_size=3, max_size=3), st.booleans())
def test_without_admission_the_decision_is_that_without_the_canary(qualities: list[float], kept: bool) -> None:
    last = "old" if kept else None
    without = choose([CARDS[0], CARDS[2]], [qualities[0], qualities[2]], kept=last)
    with_canary = decided(qualities, kept=last)
    assert with_canary.plan == without.plan
    assert with_canary.guard == without.guard
    assert tuple(with_canary.candidates) == tuple(without.candidates)


@pytest.mark.parametrize(
    ("cards", "problem"),
    [
        ([canary(of="odl"), card("old")], 'there is no card "odl"; did you mean "old"?'),
        ([canary(of="new")], "names the card itself"),
        ([canary(), canary("newer", of="new"), card("old")], '"new" is never chosen itself'),
        (
            [canary(), card("base"), card("old", kind="adapter", base="base", tenant="acme")],
            '"old" exists for the key acme only (tenant); state `tenant: acme` here, too',
        ),
        ([canary(), canary("newer"), card("old")], '"new" is a canary of "old", too; try one at a time'),
    ],
)
def test_an_impossible_canary_is_rejected(cards: list[Card], problem: str) -> None:
    with pytest.raises(CatalogError, match=r"lineage\.of") as raised:
        Catalog(cards)
    assert problem in str(raised.value)


@pytest.mark.parametrize("key", ["of", "share"])
def test_a_canary_states_whose_place_it_may_take_and_the_share(key: str) -> None:
    lineage = {"state": "canary", "of": "old", "share": 0.05}
    del lineage[key]
    with pytest.raises(ValueError, match=f'the key "{key}"'):
        card("new", lineage=lineage)
