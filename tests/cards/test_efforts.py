"""The candidates of a card's reasoning efforts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from router.cards import Card, Catalog, load_catalog
from router.cards.catalog import CatalogError
from router.cards.facts import facts_of
from router.cards.schema import to_plain
from router.errors import ConfigurationError
from router.formats.quantities import read_quantity


def card(name: str = "m", **facts: Any) -> Card:
    plain = {"id": name, "provider": "openai", "model": name, **facts}
    return msgspec.convert(plain, Card, dec_hook=read_quantity, strict=True)


def score(value: float, effort: str | None = None) -> dict[str, Any]:
    return {"score": value, "source": "s", **({"effort": effort} if effort else {})}


WHOLE = card(
    aliases=["em"],
    description="whole",
    context="128k",
    price={"input": "1$", "output": "4$"},
    latency={"ttft": "1s", "tpot": "10ms"},
    thinking_tokens=3000,
    tier="frontier",
    released="2026-05",
    tags=["chat"],
    limits={"concurrency": 2},
    benchmarks={"mmlu": score(90), "gpqa": score(88, "max"), "hle": score(20, "low")},
    efforts={
        "none": {},
        "low": {
            "description": "quick",
            "price": {"input": "1$", "output": "2$"},
            "latency": {"ttft": "400ms"},
            "thinking_tokens": 300,
            "benchmarks": {"gpqa": score(60)},
            "tier": "strong",
            "released": "2026-06",
            "source": "a page",
        },
        "high": {},
    },
)
CATALOG = Catalog([WHOLE, card("other", model="x", stronger_than=["m@low"])])


def candidate(effort: str) -> Card:
    return CATALOG.named(f"m@{effort}")


def test_every_effort_is_a_candidate_beside_its_card() -> None:
    assert CATALOG.ids == ("m", "m@high", "m@low", "m@none", "other")
    assert (candidate("low").effort, candidate("low").effort_of) == ("low", "m")
    assert (WHOLE.effort, WHOLE.effort_of) == (None, None)


def test_an_effort_inherits_what_it_does_not_state() -> None:
    high = candidate("high")
    for fact in ("provider", "model", "context_tokens", "price", "latency", "tags", "rate_limits", "released"):
        assert getattr(high, fact) == getattr(WHOLE, fact)
    assert (high.description, high.source) == ("whole", None)


def test_the_facts_of_an_effort_take_precedence() -> None:
    low = candidate("low")
    assert low.price is not None
    assert low.latency is not None
    assert (low.description, low.source, low.tier) == ("quick", "a page", "strong")
    assert (low.price.output_usd, low.thinking_tokens) == (2.0, 300)
    assert low.released is not None
    assert low.released.isoformat() == "2026-06-01"
    assert (low.latency.ttft_ms, low.latency.tpot_ms) == (400.0, 10.0)


def test_what_depends_on_the_effort_is_not_inherited() -> None:
    high = candidate("high")
    assert (high.thinking_tokens, high.tier, high.stronger_than, high.aliases) == (None, None, (), ())
    assert high.efforts is None


def test_without_thinking_no_thinking_tokens_are_expected() -> None:
    assert candidate("none").thinking_tokens == 0


def test_a_benchmark_reached_at_another_effort_is_no_evidence_of_this_one() -> None:
    assert set(facts_of(candidate("high")).benchmarks) == {"mmlu"}
    assert facts_of(candidate("low")).benchmarks == {"mmlu": 0.9, "hle": 0.2, "gpqa": 0.6}
    assert set(facts_of(CATALOG.named("m")).benchmarks) == {"mmlu", "gpqa", "hle"}


def test_the_upstreams_name_and_the_aliases_mean_the_card_itself() -> None:
    assert Catalog([card("m", model="org/m", aliases=["em"], efforts={"low": {}})]).named("org/m").id == "m"
    assert CATALOG.named("em").id == "m"


def test_a_catalogue_made_of_the_cards_of_another_is_the_same() -> None:
    assert tuple(Catalog(CATALOG)) == tuple(CATALOG)


def test_the_name_of_a_card_in_a_flag_means_all_its_efforts() -> None:
    facet = CATALOG.facets["card"]
    assert facet.cards_with("m").tolist() == [True, True, True, True, False]
    assert facet.cards_with("m@low").tolist() == [False, False, True, False, False]
    assert CATALOG.facets["effort"].cards_with("low").tolist() == [False, False, True, False, False]
    assert not CATALOG.facets["effort"].unknown.any()


def test_a_printed_card_states_its_efforts_once() -> None:
    plain = to_plain(WHOLE)
    assert plain["efforts"]["none"] == {}
    assert plain["efforts"]["low"]["thinking_tokens"] == 300
    assert msgspec.convert(plain, Card, dec_hook=read_quantity, strict=True) == WHOLE


def test_an_id_with_an_at_sign_may_still_be_written_by_hand() -> None:
    catalog = Catalog([card("m"), card("m@low", model="other")])
    assert [(each.id, each.effort) for each in catalog] == [("m", None), ("m@low", None)]


def test_an_effort_of_the_same_name_as_a_card_is_an_error_at_the_effort() -> None:
    expected = r'^m: efforts\.low: the name "m@low" already belongs to the card m@low$'
    with pytest.raises(CatalogError, match=expected):
        Catalog([card(efforts={"low": {}}), card("m@low")])
    with pytest.raises(CatalogError, match=expected.replace("card m@low", "card b")):
        Catalog([card(efforts={"low": {}}), card("b", aliases=["m@low"])])


def test_an_adapter_of_an_effort_is_an_error_that_names_the_card() -> None:
    with pytest.raises(CatalogError, match=r'^a: base: "m@low" is an effort; `base` must be m$'):
        Catalog([card(efforts={"low": {}}), card("a", kind="adapter", base="m@low")])


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("efforts:\n  hgih: {}", '5: efforts: unknown key "hgih"; did you mean "high"?'),
        ("efforts:\n  low: {}\n  low: {}", '6: duplicate key "low" (first on line 5)'),
        ("efforts:\n  low:\n    contxt: 3", '6: efforts.low: unknown key "contxt"'),
        (
            "efforts:\n  low:\n    benchmarks:\n      mmlu: {score: 0.6, source: s}",
            "7: efforts.low.benchmarks.mmlu.score: expected a score out of 100, got 0.6; did you mean 60?",
        ),
        ("efforts:\n  low: {thinking_tokens: -1}", "5: efforts.low.thinking_tokens: expected `int` >= 0"),
        ("kind: adapter\nbase: b\nefforts: {low: {}}", "6: efforts: only a model may state efforts"),
        ("effort: low", '4: unknown key "effort"; did you mean "efforts"?'),
        ("effort_of: a", '4: unknown key "effort_of"'),
        ("tier: best", '4: tier: unknown value "best"; known: frontier, strong, medium, small'),
        ("stronger_than: [b]", '4: stronger_than: there is no card "b"'),
        ("stronger_than: [a]", "4: stronger_than: contradicts itself: a > a"),
        (
            "efforts:\n  low: {}\n  high:\n    stronger_than: [a@lo]",
            '7: efforts.high.stronger_than: there is no card "a@lo"; did you mean "a@low"?',
        ),
        ("efforts:\n  low: {}\nstronger_than: [a@low]", "6: stronger_than: contradicts itself: a > a@low > a"),
        ("price:\n  input: 1$\n  output: 2$\n  above:\n    200x: {input: 1$, output: 1$}", "8: price.above.200x: "),
        ("price:\n  input: 1$\n  output: 2$\n  above: {200k: {input: 1$}}", "7: price.above"),
        (
            "price:\n  input: 1$\n  output: 2$\n  above:\n    200k: {input: 1$, output: 1$}\n"
            "    200000: {input: 1$, output: 1$}",
            "7: price.above: two tiers begin at the same length",
        ),
        (
            "price:\n  input: 1$\n  output: 2$\n  above:\n"
            + "\n".join(f"    {n}k: {{input: 1$, output: 1$}}" for n in (1, 2, 3)),
            "7: price.above: expected `object` of length <= 2",
        ),
    ],
)
def test_a_mistake_is_reported_with_file_line_and_key(tmp_path: Path, lines: str, problem: str) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(f"id: a\nprovider: p\nmodel: m\n{lines}\n", encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        load_catalog(tmp_path)
    assert str(caught.value).startswith(f"{file}:{problem}")


def test_cards_that_are_each_stronger_than_the_next_are_no_contradiction_whatever_their_number() -> None:
    chain = [card(f"c{n}", stronger_than=[f"c{n + 1}"] if n < 5000 else []) for n in range(5001)]
    assert len(Catalog(chain)) == 5001


def test_beliefs_that_contradict_each_other_are_an_error_that_shows_how() -> None:
    cards = [card("a", stronger_than=["b"]), card("b", stronger_than=["c", "d"]), card("c"), card("d")]
    assert len(Catalog(cards)) == 4
    with pytest.raises(CatalogError, match=r"^b: stronger_than: contradicts itself: b > d > b$"):
        Catalog([*cards[:3], card("d", stronger_than=["b"])])
