"""Requests that can wait go to cards with servers for throughput, and the others to the others."""

from __future__ import annotations

import pytest

from tests.decide.cards import as_json, card, choose

SLOW = card("b", profile="throughput")
BOTH = card("c", deployments=[{"base_url": "http://h:1/v1"}, {"base_url": "http://h:2/v1", "profile": "throughput"}])


@pytest.mark.parametrize(("is_batch", "expected"), [(False, "a"), (True, "b")])
def test_each_kind_of_request_goes_to_its_cards(is_batch: bool, expected: str) -> None:
    decision = choose([card("a"), SLOW], [0.8, 0.7] if is_batch else [0.7, 0.8], is_batch=is_batch)
    assert decision.card == expected
    assert len(decision.rejections) == 1


@pytest.mark.parametrize("is_batch", [False, True])
def test_a_card_with_servers_of_both_kinds_answers_both(is_batch: bool) -> None:
    assert choose([card("a"), SLOW, BOTH], [0.5, 0.5, 0.9], is_batch=is_batch).card == "c"


@pytest.mark.parametrize(("cards", "is_batch"), [([SLOW], False), ([card("a"), card("b")], True)])
def test_where_there_are_none_of_a_kind_the_others_answer(cards: list[object], is_batch: bool) -> None:
    assert choose(cards, is_batch=is_batch).card  # type: ignore[arg-type]


def test_without_servers_for_throughput_the_mark_changes_nothing() -> None:
    cards = [card("a"), card("b")]
    assert as_json(choose(cards, is_batch=True)) == as_json(choose(cards))


def test_a_limit_of_the_client_goes_before_the_kind_of_server() -> None:
    decision = choose([card("a"), card("b", profile="throughput", tags=["beta"])], flags="!beta", is_batch=True)
    assert decision.card == "a"
    assert decision.relaxed == ("profile=throughput",)
