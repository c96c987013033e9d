from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from router.decide.flags import Flags
from tests.decide.cards import card, choose, forecast

SMALL, LARGE = card("small", size="1B", aliases=["tiny"]), card("large", size="70B")


def ranked() -> Any:
    return choose([card(name) for name in "abcd"], [0.2, 0.9, 0.4, 0.6])


def test_a_ranking_behaves_like_a_tuple() -> None:
    candidates = ranked().candidates
    whole = tuple(candidates)
    assert isinstance(candidates, Sequence)
    assert [one.card for one in candidates] == ["b", "d", "c", "a"]
    assert len(candidates) == 4
    assert candidates[0] == whole[0]
    assert candidates[-1] == whole[-1]
    assert candidates[1:3] == whole[1:3]
    assert candidates[::-1] == whole[::-1]
    assert candidates == whole
    assert candidates == list(whole)
    assert candidates != whole[:3]
    assert candidates != "bdca"
    assert whole[2] in candidates
    assert candidates.index(whole[2]) == 2
    assert tuple(reversed(candidates)) == whole[::-1]
    assert candidates.cards == ("b", "d", "c", "a")


@pytest.mark.parametrize("index", [4, -5])
def test_an_index_outside_a_ranking_is_an_index_error(index: int) -> None:
    with pytest.raises(IndexError):
        ranked().candidates[index]


def test_a_ranking_prints_its_best_three() -> None:
    assert repr(ranked().candidates).count("Candidate(") == 3


def test_rejections_behave_like_a_dict() -> None:
    rejections = choose([SMALL, LARGE, card("zz")], flags="size<7B").rejections
    whole = dict(rejections)
    assert isinstance(rejections, Mapping)
    assert list(rejections) == ["large", "zz"]
    assert len(rejections) == 2
    assert rejections == whole
    assert dict(rejections.items()) == whole
    assert "large" in rejections
    assert rejections.get("unknown") is None
    assert "Rejection(" in repr(rejections)


@pytest.mark.parametrize("name", ["small", "tiny", "unknown", ""])
def test_only_the_ids_of_rejected_cards_are_keys(name: str) -> None:
    rejections = choose([SMALL, LARGE], flags="size<7B").rejections
    assert name not in rejections
    with pytest.raises(KeyError):
        rejections[name]


def test_an_alias_of_a_rejected_card_is_not_a_key() -> None:
    rejections = choose([SMALL, LARGE], flags="size>7B").rejections
    assert ("small" in rejections, "tiny" in rejections) == (True, False)


def test_without_limits_nothing_is_rejected() -> None:
    rejections = choose([SMALL]).rejections
    assert (len(rejections), dict(rejections)) == (0, {})


def test_ten_thousand_cards_are_ranked_without_building_every_candidate() -> None:
    cards = [card(f"m{number:05}", size="7B") for number in range(10_000)]
    expected = forecast(np.linspace(0, 1, 10_000))
    decision = choose(cards, expected, Flags())
    assert (len(decision.candidates), decision.card) == (10_000, "m09999")
    assert decision.candidates[9_999].card == "m00000"
