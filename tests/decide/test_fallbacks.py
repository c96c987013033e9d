"""The fallbacks of a decision do not all fail for the reason for which the chosen card does."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.cards import Card
from router.cards.servers import Place
from tests.decide.cards import PLAIN, card, choose, features

SAME = {"provider": "acme"}
OTHER: tuple[dict[str, Any], ...] = (
    {"provider": "other"},
    {"provider": "acme", "base_url": "https://elsewhere.example/v1"},
    {"provider": "acme", "api_key_env": "SECOND_KEY"},
)


def fallbacks(*facts: dict[str, Any], count: int = 3, tokens: int = 10) -> tuple[str, ...]:
    """The fallbacks of the first card; the cards `a`, `b`, `c` … are the better the earlier."""
    cards = [card(chr(97 + number), **fact) for number, fact in enumerate(facts)]
    quality = [0.9 - number / 20 for number in range(len(cards))]
    return choose(
        cards, quality, policy=msgspec.structs.replace(PLAIN, fallbacks=count), seen=features(tokens=tokens)
    ).plan.fallbacks


@pytest.mark.parametrize("other", OTHER)
def test_the_last_fallback_has_another_account_where_all_would_share_one(other: dict[str, Any]) -> None:
    assert fallbacks(SAME, SAME, SAME, SAME, SAME, other) == ("b", "c", "f")


def test_a_single_fallback_has_another_account() -> None:
    assert fallbacks(SAME, SAME, OTHER[0], count=1) == ("c",)


def test_the_order_by_score_is_kept_where_a_fallback_has_another_account() -> None:
    assert fallbacks(SAME, SAME, OTHER[0], SAME, OTHER[1]) == ("b", "c", "d")


def test_fallbacks_share_an_account_where_no_other_card_is_eligible() -> None:
    assert fallbacks(SAME, SAME, SAME, SAME, SAME) == ("b", "c", "d")


def test_a_card_with_a_server_elsewhere_does_not_share_the_account() -> None:
    places = (Place("https://a.example/v1"), Place("https://b.example/v1"))
    first, second = (card(name, base_url=places[0].base_url) for name in "ab")
    both = msgspec.structs.replace(card("c"), base_url=None, deployments=places)
    cards: list[Card] = [first, second, both]
    assert choose(cards, [0.9, 0.8, 0.7], policy=msgspec.structs.replace(PLAIN, fallbacks=1)).plan.fallbacks == ("c",)


def test_one_fallback_is_another_model_where_all_are_variants_of_the_first() -> None:
    variants = [{"provider": name, "model": f"{name}/llama-70b"} for name in ("one", "two", "three")]
    assert fallbacks(*variants, {"provider": "four", "model": "qwen"}, count=2) == ("b", "d")


def test_the_first_fallback_is_no_adapter_of_the_server_of_the_chosen_one() -> None:
    server = {"base_url": "https://one.example/v1"}
    adapters = [card(name, kind="adapter", base="d", **server) for name in "abc"]
    cards = [*adapters, card("d", **server), card("e", base_url="https://two.example/v1")]
    found = choose(cards, [0.9, 0.8, 0.7, 0.6, 0.5], policy=msgspec.structs.replace(PLAIN, fallbacks=3))
    assert (found.card, found.plan.fallbacks) == ("a", ("e", "b", "c"))


def test_the_same_model_at_another_host_keeps_its_place_among_the_fallbacks() -> None:
    here, there = ({"model": "llama", "base_url": f"https://{name}.example/v1"} for name in ("one", "two"))
    assert fallbacks(here, there, {"provider": "acme"}, count=2) == ("b", "c")


def test_a_prompt_near_the_limit_has_a_fallback_with_more_context() -> None:
    small, large = {"provider": "other", "context": "8k"}, {"provider": "other", "context": "100k"}
    assert fallbacks(small, small, small, large, count=2, tokens=7_000) == ("b", "d")
    assert fallbacks(small, small, small, large, count=2, tokens=1_000) == ("b", "c")


def test_both_wishes_are_met_in_the_order_of_the_scores() -> None:
    small, large = {**SAME, "context": "8k"}, {**SAME, "context": "100k"}
    assert fallbacks(small, small, small, large, {**small, **OTHER[0]}, count=2, tokens=7_000) == ("d", "e")


OURS, AZURE = {"provider": "openai", "model": "openai/gpt"}, {"provider": "azure", "model": "azure/gpt"}
OUR_OTHER, AZURE_OTHER = {"provider": "openai", "model": "openai/small"}, {"provider": "azure", "model": "azure/large"}


def test_the_only_fallback_with_another_account_gives_way_to_one_that_is_another_model_too() -> None:
    assert fallbacks(OURS, OURS, OURS, AZURE, OUR_OTHER, AZURE_OTHER) == ("f", "b", "c")


def test_the_only_fallback_with_another_account_stays_where_no_card_is_another_model_too() -> None:
    assert fallbacks(OURS, OURS, OURS, AZURE, OUR_OTHER) == ("d", "e", "b")


def test_a_single_fallback_is_another_model_with_another_account_where_one_is() -> None:
    assert fallbacks(OURS, OURS, AZURE, OUR_OTHER, AZURE_OTHER, count=1) == ("e",)
    assert fallbacks(OURS, OURS, AZURE, OUR_OTHER, count=1) == ("c",)


@given(st.lists(st.sampled_from([SAME, *OTHER]), min_size=2, max_size=8), st.integers(0, 8))
def test_fallbacks_are_in_order_and_one_has_another_account_if_any_card_has(
    facts: list[dict[str, Any]], count: int
) -> None:
    found = fallbacks(*facts, count=count)
    assert list(found) == sorted(found)
    assert len(found) == min(count, len(facts) - 1)
    if count and any(fact != facts[0] for fact in facts):
        assert any(facts[ord(name) - 97] != facts[0] for name in found)
