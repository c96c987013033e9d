"""The goal `load`: of equal cards the one whose servers are less busy."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from router.cards import Catalog
from router.decide.fields import DecisionInputs
from router.decide.flags import Flags
from router.decide.goals import GOALS
from tests.decide.cards import TODAY, as_json, card, choose, forecast, situations

loads = st.dictionaries(st.sampled_from(["a", "b", "c", "card-0", "card-1", "gone"]), st.floats(0, 1))


def costs(cards: list, load: dict[str, float]) -> dict[str, float]:  # type: ignore[type-arg]
    catalog = Catalog(cards)
    inputs = DecisionInputs(catalog, forecast([0.5] * len(catalog)), TODAY, 10, load)
    return dict(zip(catalog.ids, GOALS["load"](inputs).tolist(), strict=True))


def test_of_equal_cards_the_one_with_the_less_busy_servers_answers() -> None:
    cards = [card("a"), card("b")]
    assert choose(cards, flags="load*0.3").card == "a"
    assert choose(cards, flags="load*0.3", load={"a": 0.5, "b": 0.25}).card == "b"


def test_a_better_card_answers_until_its_servers_are_too_busy() -> None:
    cards = [card("a"), card("b")]
    chosen = [choose(cards, [0.8, 0.7], "load*0.2", load={"a": share}).card for share in (0.4, 0.6)]
    assert chosen == ["a", "b"]


def test_adapters_and_efforts_are_as_busy_as_the_servers_that_they_share() -> None:
    cards = [
        card("base", base_url="http://127.0.0.1:1/v1", efforts={"low": {}, "high": {}}),
        card("there", kind="adapter", base="base"),
        card("elsewhere", kind="adapter", base="base", base_url="http://127.0.0.1:2/v1"),
        card("other"),
    ]
    found = costs(cards, {"base": 0.5})
    assert found == {"base": 0.5, "base@high": 0.5, "base@low": 0.5, "there": 0.5, "elsewhere": 0.0, "other": 0.0}
    assert costs(cards, {"elsewhere": 0.25})["elsewhere"] == 0.25


@given(situations(), loads)
def test_a_decision_that_does_not_weigh_load_is_the_same_to_the_bit(situation: tuple, load: dict[str, float]) -> None:  # type: ignore[type-arg]
    cards, expected = situation
    for flags in (Flags(), Flags(goals={"load": 0.0}), Flags(goals={"cheapest": 0.5})):
        assert as_json(choose(cards, expected, flags, load=load)) == as_json(choose(cards, expected, flags))


@given(loads)
def test_the_cost_is_between_zero_and_one_for_any_load(load: dict[str, float]) -> None:
    wild = {name: 10 * share - 5 for name, share in load.items()}
    assert all(0 <= cost <= 1 for cost in costs([card("a"), card("b")], wild).values())
