from __future__ import annotations

from typing import Any

import msgspec
import pytest

from router.cards import Catalog
from router.decide.fields import DecisionInputs
from router.decide.flags import parse_flags
from router.decide.limits import evaluate
from router.types import Decision, Rejection
from tests.decide.cards import PLAIN, card, choose, forecast

LENIENT = msgspec.structs.replace(PLAIN, unknown="allow")
FACTS = {
    "family": "llama",
    "license": "MIT",
    "weights": "open",
    "region": "eu-west",
    "privacy": "private",
    "modalities": ["text", "image"],
    "capabilities": ["tools"],
    "languages": ["en", "de"],
    "tags": ["Code"],
    "aliases": ["other-name"],
}


def beside_a_perfect_card(flags: str, **facts: Any) -> Decision:
    """The choice between a card with `facts` and one that meets every limit of this module."""
    subject = card("subject", **{"context": None, **facts})
    perfect = card(
        "perfect",
        size="1B",
        context="2M",
        max_output="64k",
        released="2025-12-31",
        price={"input": "0$", "output": "0$"},
    )
    expected = forecast([0.99, 0.5], cost_usd=[0, 0.01], latency_ms=[1, 3000], ttft_ms=[1, 250])
    return choose([perfect, subject], expected, flags)


def rejection(flags: str, **facts: Any) -> Rejection:
    return beside_a_perfect_card(flags, **facts).rejections["subject"]


@pytest.mark.parametrize(
    ("flags", "facts", "reason"),
    [
        ("size<7B", {"size": "70B"}, "size 70B > 7B"),
        ("size<7B", {"size": "7B"}, "size 7B is not < 7B"),
        ("size!=7B", {"size": "7B"}, "size 7B is not != 7B"),
        ("size=1B", {"size": "7B"}, "size 7B > 1B"),
        ("active<=2B", {"size": {"total": "47B", "active": "13B"}}, "active 13B > 2B"),
        ("context>=128k", {"context": "8192"}, "context 8192 < 128k"),
        ("max_output>8k", {"max_output": "4k"}, "max_output 4k < 8k"),
        ("cost<=0.002$", {}, "cost 0.01$ > 0.002$"),
        ("price<1$", {"price": {"input": "0.5$", "output": "2$"}}, "price 2$ > 1$"),
        ("latency<2s", {}, "latency 3s > 2s"),
        ("ttft<=100ms", {}, "ttft 250ms > 100ms"),
        ("released>=2025-06", {"released": "2024-05-13"}, "released 2024-05-13 < 2025-06-01"),
        ("age<180d", {"released": "2025-01-01"}, "age 365d > 180d"),
        ("quality>0.8", {}, "quality 0.5 < 0.8"),
    ],
)
def test_a_reason_states_both_numbers_with_units(flags: str, facts: dict[str, Any], reason: str) -> None:
    assert rejection(flags, **facts) == Rejection(flags, reason)


@pytest.mark.parametrize(
    ("flags", "facts", "reason"),
    [
        ("size<=7B", {"size": "7000.1M"}, "size 7.0001B > 7B"),
        ("size<7241.6M", {"size": "7241.7M"}, "size 7.2417B > 7.2416B"),
        ("price<=1$", {"price": {"input": "1$", "output": "1.00000001$"}}, "price 1.00000001$ > 1$"),
    ],
)
def test_two_numbers_that_round_to_the_same_are_shown_with_more_digits(
    flags: str, facts: dict[str, Any], reason: str
) -> None:
    assert rejection(flags, **facts).reason == reason


@pytest.mark.parametrize(
    "flags", ["size<7B", "active<7B", "context>8k", "max_output>1k", "price<1$", "released>2020", "age<100y"]
)
def test_an_unknown_number_fails(flags: str) -> None:
    field = flags.replace(">", "<").split("<")[0]
    assert rejection(flags) == Rejection(flags, f"{field} unknown")


@pytest.mark.parametrize("field", ["family", "license", "weights", "region", "privacy", "capability", "language"])
def test_an_unknown_word_fails_equal_and_unequal(field: str) -> None:
    bare, rest = card("bare"), card("rest", **FACTS)
    word = {"language": "en", "capability": "tools"}.get(field) or str(FACTS[field])
    for op, other in (("=", word), ("!=", "else")):
        decision = choose([bare, rest], flags=f"{field}{op}{other}")
        assert decision.rejections["bare"].reason == f"{field} unknown"


@pytest.mark.parametrize("flags", ["size<7B", "license=mit", "license!=mit", "age<1y", "capability=tools"])
def test_an_unknown_fact_passes_where_the_policy_allows_it(flags: str) -> None:
    assert choose([card("bare")], flags=flags, policy=LENIENT).card == "bare"


def test_a_card_without_tags_is_untagged_not_unknown() -> None:
    assert choose([card("bare")], flags="!beta").card == "bare"
    tagged = card("tagged", tags=["a"])
    assert choose([card("bare"), tagged], flags="tag=a").rejections["bare"].reason == "does not have tag a"


@pytest.mark.parametrize(
    ("flag", "failing"),
    [
        ("card=stated", "card=x"),
        ("card=other-name", "card!=other-name"),
        ("kind=model", "kind=adapter"),
        ("provider=openai", "provider!=OpenAI"),
        ("family=LLAMA", "family=qwen"),
        ("license=mit", "license!=mit"),
        ("weights=open", "weights=closed"),
        ("region=eu-west", "region=us"),
        ("privacy!=public", "privacy=public"),
        ("modality=image", "modality=audio"),
        ("capability=tools", "capability=reasoning"),
        ("language=de", "language!=de"),
        ("tag=code", "!CODE"),
    ],
)
def test_a_word_limit_compares_every_word_of_the_card_in_any_case(flag: str, failing: str) -> None:
    cards = [card("stated", **FACTS)]
    assert choose(cards, flags=flag).card == "stated"
    limits = failing.replace("!CODE", "tag!=code")
    field, word = limits.replace("!=", "=").split("=")
    has = "has" if "!=" in limits else "does not have"
    decision = choose([*cards, card("zz", **_opposite(field, word, has))], flags=failing)
    assert decision.rejections["stated"].reason == f"{has} {field} {word.lower()}"


def _opposite(field: str, word: str, has: str) -> dict[str, Any]:
    """Facts with which a second card passes the limit that the first fails."""
    if has == "has":
        return {"provider": "groq", "license": "apache-2.0", "languages": ["fr"]}
    if field == "card":
        return {"aliases": [word]}
    if field == "kind":
        return {"kind": "adapter", "base": "stated"}
    plural = {"modality": "modalities", "capability": "capabilities"}
    value: Any = {"modality": ["text", word], "capability": [word]}.get(field, word)
    return {plural.get(field, field): value}


def test_further_limits_that_fail_are_listed_too() -> None:
    found = rejection("size<7B,context>=128k,cost<0.001$", size="70B", context="8k")
    assert found == Rejection("size<7B", "size 70B > 7B", ("context 8k < 128k", "cost 0.01$ > 0.001$"))


def test_8_03_billion_and_8030_million_are_the_same_size() -> None:
    assert choose([card("a", size="8.03B")], flags="size=8030M").card == "a"


def test_the_price_is_the_higher_one_of_input_and_output() -> None:
    lopsided = card("a", price={"input": "5$", "output": "1$"})
    assert choose([lopsided], flags="price<=5$").card == "a"
    assert choose([lopsided, card("b", price={"input": 1, "output": 1})], flags="price<5$").card == "b"


def test_a_card_that_reads_no_text_is_a_stage_of_chains_and_answers_nothing_alone() -> None:
    cards = [card("ocr", modalities=["text", "image"], consumes=["image"]), card("plain")]
    assert choose(cards).rejections["ocr"].limit == "consumes=text"


def test_what_cards_consume_is_no_limit_where_all_read_text() -> None:
    cards = [card("a", modalities=["text", "image"]), card("b", consumes=["text", "json"])]
    assert not choose(cards).rejections


def test_a_limit_on_facts_is_evaluated_once_for_each_catalogue() -> None:
    limit, catalogues = parse_flags("size<9B").limits[0], [Catalog([card("a", size=size)]) for size in ("7B", "70B")]
    results = [
        [evaluate(limit, DecisionInputs(catalog, forecast([0.5])), unknown_passes=False) for _ in range(2)]
        for catalog in catalogues
    ]
    assert [[bool(result.fails[0]) for result in of_one] for of_one in results] == [[False] * 2, [True] * 2]
    assert all(first is second for first, second in results)
