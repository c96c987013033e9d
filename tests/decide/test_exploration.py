"""Exploration: who may be drawn, how probably, and that nothing else of a decision changes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.cards import Card, Catalog
from router.cards.adapter.facts import Lineage
from router.decide.engine import RequestContext, decide
from router.decide.exploration.drawing import MOST_DRAWN
from router.decide.exploration.rule import Draw, ExplorationRule, draw_again
from router.decide.flags import Flags, parse_flags
from router.decide.policy import Policy, load_policies
from router.errors import ConfigurationError, NoCandidateError
from router.formats.quantities import Share
from router.propensities import Exploration
from router.store.records.snapshots import policy_snapshot
from router.types import Decision, Features, Forecast
from tests.decide.cards import PLAIN, TODAY, as_json, card, features, forecast, limit_texts, situations

RULE = ExplorationRule(share=0.2)
EXPLORING = msgspec.structs.replace(PLAIN, explore=RULE)
CLOSE = forecast([0.9, 0.85, 0.84, 0.2], cost_usd=[0.01, 0.002, 0.02, 0.001])
CARDS = [card(name, capabilities=["tools", "web_search"]) for name in "abcd"]


def decided(
    draw: Draw | None,
    cards: list[Card] = CARDS,
    expected: Forecast = CLOSE,
    *,
    policy: Policy = EXPLORING,
    flags: Flags | None = None,
    seen: Features | None = None,
    kept: str | None = None,
) -> Decision:
    context = RequestContext({}, TODAY, kept, draw=draw)
    return decide(Catalog(cards), seen or features(), expected, policy, flags or Flags(), "artifact", context)


def exploration(*arguments: object, **options: object) -> Exploration:
    found = decided(*arguments, **options).exploration  # type: ignore[arg-type]
    assert found is not None
    return found


def test_only_cards_that_may_be_better_are_drawn_and_the_better_ones_more_often() -> None:
    shares = exploration(Draw(0.99)).propensities
    assert list(shares) == ["a", "b", "c"]
    assert shares["b"] > shares["c"] > 0
    assert shares["a"] == pytest.approx(0.8)
    assert sum(shares.values()) == pytest.approx(1.0)


def test_numbers_draw_every_card_as_often_as_its_propensity_says() -> None:
    shares = exploration(Draw(0.99)).propensities
    counts = Counter(decided(Draw(number / 2000)).card for number in range(2000))
    assert {name: count / 2000 for name, count in counts.items()} == pytest.approx(shares, abs=0.001)


def test_an_explored_card_answers_and_the_choice_follows_it() -> None:
    decision = decided(Draw(0.0))
    assert decision.exploration is not None
    assert (decision.card, decision.exploration.explored, decision.exploration.choice) == ("b", "b", "a")
    assert decision.plan.fallbacks[0] == "a"
    assert [each.card for each in decision.candidates] == ["b", "a", "c", "d"]


def test_what_cannot_be_paid_is_answered_by_the_choice() -> None:
    decision = decided(Draw(0.0, refused=True))
    assert (decision.card, decision.exploration.result if decision.exploration else "") == ("a", "refused")


def test_a_key_with_a_budget_explores_no_dearer_card() -> None:
    assert list(exploration(Draw(0.99, no_dearer=True)).propensities) == ["a", "b"]


def test_at_most_eight_cards_are_drawn_for_one_request() -> None:
    many = [card(f"c{number:02}") for number in range(20)]
    shares = exploration(Draw(0.99), many, forecast([0.5] * 20)).propensities
    assert len(shares) == 1 + MOST_DRAWN


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"kept": "a"}, "the conversation goes on"),
        ({"seen": features(needs=("tools",))}, "the request has tools"),
        ({"seen": features(needs=("web_search",))}, "the request has tools"),
        ({"seen": msgspec.structs.replace(features(), indivisible=frozenset({"tool_turns"}))}, "only one call"),
        ({"expected": forecast([0.9, 0.1, 0.1, 0.1])}, "no other candidate may be better"),
        ({"cards": CARDS[:1], "expected": forecast([0.9])}, "no other card is a candidate"),
        (
            {
                "flags": parse_flags("cost<0.0001$"),
                "policy": msgspec.structs.replace(EXPLORING, on_empty="relax", relax=("cost",)),
            },
            "no candidate meets every limit",
        ),
    ],
)
def test_nothing_is_drawn_where_it_would_do_harm(options: dict[str, object], why: str) -> None:
    decided_so = decided(Draw(0.0), **options)  # type: ignore[arg-type]
    found = decided_so.exploration
    assert found is not None
    assert found.prevented.startswith(why)
    assert found.propensities == {decided_so.card: 1.0}


def test_nothing_is_drawn_where_a_canary_stands_for_the_choice() -> None:
    canary = card("new", tier=None)
    canary = msgspec.structs.replace(canary, lineage=Lineage(state="canary", of="a", share=Share(0.5)))
    cards = [*CARDS, canary]
    quality = [0.9, 0.85, 0.84, 0.2, 0.9]
    assert "canary" in exploration(Draw(0.0), cards, forecast(quality)).prevented


drawn = st.builds(Draw, st.floats(0, 1, exclude_max=True), no_dearer=st.booleans())


@given(situations(), st.lists(limit_texts, max_size=3, unique=True), drawn)
def test_exploration_breaks_no_limit_and_replays(
    situation: tuple[list[Card], Forecast], limits: list[str], draw: Draw
) -> None:
    cards, expected = situation
    flags = Flags(tuple(limit for text in limits for limit in parse_flags(text).limits))
    policy = msgspec.structs.replace(EXPLORING, explore=ExplorationRule(share=0.5))
    try:
        plain = decided(None, cards, expected, policy=policy, flags=flags)
    except NoCandidateError:
        return
    decision = decided(draw, cards, expected, policy=policy, flags=flags)
    found = decision.exploration
    assert found is not None
    allowed = {each.card for each in plain.candidates}
    assert {decision.card, *decision.plan.fallbacks, *found.propensities} <= allowed
    assert (decision.rejections, decision.binding, decision.guard) == (plain.rejections, plain.binding, plain.guard)
    assert found.choice == plain.card
    assert sum(found.propensities.values()) == pytest.approx(1.0)
    again = decided(draw_again(found), cards, expected, policy=policy, flags=flags)
    assert as_json(again) == as_json(decision)


@given(situations(), drawn)
def test_without_the_key_a_decision_is_the_same_to_the_last_bit(
    situation: tuple[list[Card], Forecast], draw: Draw
) -> None:
    assert as_json(decided(draw, *situation, policy=PLAIN)) == as_json(decided(None, *situation, policy=PLAIN))
    assert "exploration" not in decided(draw, *situation, policy=PLAIN).document()


def test_the_snapshot_of_a_policy_without_the_key_does_not_mention_it() -> None:
    import zlib

    assert b"explore" not in zlib.decompress(policy_snapshot(PLAIN).content)
    assert b"explore" in zlib.decompress(policy_snapshot(EXPLORING).content)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("explore: {share: 0.9}", "p.yaml:3: explore.share"),
        ("explore: {shares: 0.1}", "shares"),
        ("explore: {dollars_per_day: 0}", "p.yaml:3: explore.dollars_per_day"),
        ("explore: often", "explore"),
    ],
)
def test_a_wrong_key_is_an_error_with_its_line(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "p.yaml").write_text(f"id: p\ndescription: d\n{text}\n")
    with pytest.raises(ConfigurationError, match=problem):
        load_policies(tmp_path)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", None),
        ("explore: off", None),
        ("explore: {}", ExplorationRule(0.02, 2.0)),
        ("explore: {share: 0.1, dollars_per_day: 5}", ExplorationRule(0.1, 5.0)),
    ],
)
def test_a_policy_explores_as_it_states(tmp_path: Path, text: str, rule: ExplorationRule | None) -> None:
    (tmp_path / "p.yaml").write_text(f"id: p\ndescription: d\n{text}\n")
    assert load_policies(tmp_path)["p"].exploration == rule
