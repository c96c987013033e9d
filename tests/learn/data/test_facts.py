from __future__ import annotations

import datetime
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.cards import Card, Catalog
from router.cards.benchmarks import BENCHMARKS, near_miss, share_of_scale
from router.cards.facts import facts_of
from router.cards.lint import lint
from router.errors import FileError
from router.formats.quantities import read_quantity
from router.learn.data.facts import ModelFacts, load_facts

Write = Callable[[str], Path]

NO_CARDS = Catalog([])
LLAMA = """\
llama-13b:
  aliases: [llama-one]
  family: llama
  size: 13B
  released: 2023-02
  weights: open
  benchmarks:
    mmlu: {score: 46.9, source: LLaMA paper, date: 2023-02}
"""


def card(**facts: Any) -> Card:
    return msgspec.convert({"provider": "p", "model": "upstream", **facts}, Card, dec_hook=read_quantity)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        file = tmp_path / "facts.yaml"
        file.write_text(text, encoding="utf-8")
        return file

    return write


def load_error(file: Path) -> str:
    with pytest.raises(FileError) as caught:
        load_facts(file, NO_CARDS)
    return str(caught.value).removeprefix(str(file))


def test_an_entry_is_read_with_units(write: Write) -> None:
    facts = load_facts(write(LLAMA), NO_CARDS)["llama-13b"]
    assert facts == ModelFacts(
        name="llama-13b",
        family="llama",
        weights="open",
        total_parameters=13e9,
        active_parameters=13e9,
        released=datetime.date(2023, 2, 1),
        benchmarks={"mmlu": 0.469},
    )


def test_an_entry_is_found_by_its_aliases(write: Write) -> None:
    facts = load_facts(write(LLAMA), NO_CARDS)
    assert facts["llama-one"] == facts["llama-13b"]


def test_a_mixture_of_experts_has_fewer_active_parameters(write: Write) -> None:
    facts = load_facts(write("mixtral: {size: {total: 47B, active: 13B}}"), NO_CARDS)["mixtral"]
    assert (facts.total_parameters, facts.active_parameters) == (47e9, 13e9)


def test_the_price_is_the_higher_of_input_and_output(write: Write) -> None:
    facts = load_facts(write("gpt: {price: {input: 30$, output: 60$}}"), NO_CARDS)
    assert facts["gpt"].price_usd_per_mtok == 60


def test_facts_that_an_entry_does_not_state_are_unknown(write: Write) -> None:
    assert load_facts(write("mystery: {family: llama}"), NO_CARDS)["mystery"] == ModelFacts("mystery", family="llama")


def test_every_card_is_found_by_its_id_and_aliases(write: Write) -> None:
    catalog = Catalog([card(id="mine", aliases=["MINE"], size="7B")])
    facts = load_facts(write(LLAMA), catalog)
    assert facts["mine"] == facts["MINE"] == facts_of(catalog[0])


@pytest.mark.parametrize("names", [{"id": "llama-one"}, {"id": "mine", "aliases": ["llama-13b"]}])
def test_facts_on_the_card_take_precedence_and_the_entry_adds_the_rest(names: dict[str, Any], write: Write) -> None:
    benchmarks = {"mmlu": {"score": 50, "source": "own"}, "gsm8k": {"score": 20, "source": "own"}}
    facts = load_facts(write(LLAMA), Catalog([card(**names, size="14B", benchmarks=benchmarks)]))
    merged = facts[names["id"]]
    assert merged == facts["llama-13b"] == facts["llama-one"]
    assert (merged.name, merged.total_parameters, merged.family) == (names["id"], 14e9, "llama")
    assert merged.benchmarks == {"mmlu": 0.5, "gsm8k": 0.2}


def test_an_entry_is_joined_with_the_card_whose_upstream_model_has_its_name(write: Write) -> None:
    facts = load_facts(write(LLAMA), Catalog([card(id="mine", model="llama-13b")]))
    assert facts["mine"].benchmarks == {"mmlu": 0.469}


def test_a_price_of_zero_is_not_evidence() -> None:
    assert facts_of(card(id="local", price={"input": "0$", "output": "0$"})).price_usd_per_mtok is None


def test_the_base_of_a_card_is_its_first_parent_or_the_base_of_an_adapter() -> None:
    assert facts_of(card(id="tuned", lineage={"parents": ["llama-13b", "other"]})).base == "llama-13b"
    assert facts_of(card(id="lora", kind="adapter", base="tuned")).base == "tuned"
    assert facts_of(card(id="own")).base is None


def test_an_unknown_benchmark_is_left_out_of_the_facts_of_a_card() -> None:
    stated = {"mmlu": {"score": 70, "source": "s"}, "our_own_eval": {"score": 1234, "source": "s"}}
    assert facts_of(card(id="c", benchmarks=stated)).benchmarks == {"mmlu": 0.7}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- llama-13b", ":1: expected models by name, such as `llama-13b: {family: llama, size: 13B}`, got a list"),
        ("", ":1: expected models by name, such as `llama-13b: {family: llama, size: 13B}`, got nothing"),
        ("a: {}\nb:\n  famly: x", ':3: unknown key "famly"; did you mean "family"?'),
        ("a: {}\nb:\n  size: big", ":3: size: expected a size such as 7B or 350M, got 'big'"),
        ("a:\n  weights: opn", ':2: weights: unknown value "opn"; did you mean "open"?'),
        ("a: {}\na: {}", ':2: duplicate key "a" (first on line 1)'),
        ("a:\n  aliases: [x]\nb:\n  aliases:\n    - y\n    - x", ':6: the name "x" already belongs to a'),
        ("a:\n  aliases: [b]\nb: {}", ':3: the name "b" already belongs to a'),
        (
            "a:\n  benchmarks:\n    MMLU-Pro: {}",
            ':3: benchmarks: unknown benchmark "MMLU-Pro"; did you mean "mmlu_pro"?',
        ),
        ("a:\n  benchmarks:\n\n    mmlu: {score: 70}", ':4: the key "source" is missing'),
        (
            "a:\n  benchmarks:\n    mmlu:\n      source: s\n      score: 0.469",
            ":5: benchmarks.mmlu.score: expected a score out of 100, got 0.469; did you mean 46.9?",
        ),
        (
            "a:\n  benchmarks:\n    mt_bench: {source: s, score: 81}",
            ":3: benchmarks.mt_bench.score: expected a score from 1 to 10, got 81",
        ),
    ],
)
def test_an_error_names_file_line_and_key(text: str, message: str, write: Write) -> None:
    assert load_error(write(text)) == message


def test_the_error_of_an_unknown_benchmark_lists_the_known_ones(write: Write) -> None:
    message = load_error(write("a:\n  benchmarks:\n    triviaqa: {score: 70, source: s}"))
    assert message.startswith(':3: benchmarks: unknown benchmark "triviaqa"; known: mmlu, ')


@given(st.sampled_from(sorted(BENCHMARKS)), st.floats(allow_nan=True))
def test_a_score_is_rejected_or_becomes_a_share_of_its_scale(name: str, score: float) -> None:
    try:
        share = share_of_scale(name, score)
    except ValueError:
        scale = BENCHMARKS[name]
        assert math.isnan(score) or not max(scale.least, 1.0) < score <= scale.greatest
    else:
        assert share is not None
        assert 0 <= share <= 1


@given(st.sampled_from(sorted(BENCHMARKS)), st.floats(0.02, 1), st.floats(0.02, 1))
def test_a_higher_score_is_never_a_lower_share(name: str, one: float, other: float) -> None:
    scale = BENCHMARKS[name]
    scores = (scale.least + share * (scale.greatest - scale.least) for share in sorted((one, other)))
    low, high = (share_of_scale(name, score) for score in scores)
    assert low is not None
    assert high is not None
    assert low <= high


@pytest.mark.parametrize(
    ("written", "known"),
    [
        ("MMLU", "mmlu"),
        ("mmlu-pro", "mmlu_pro"),
        ("GSM8k", "gsm8k"),
        ("GPQA Diamond", "gpqa"),
        ("ARC-C", "arc_challenge"),
        ("HumanEvl", "humaneval"),
        ("mmlu", None),
        ("triviaqa", None),
        ("mmlu_redux", None),
        ("humaneval_plus", None),
    ],
)
def test_another_spelling_is_recognised_and_another_benchmark_is_not(written: str, known: str | None) -> None:
    assert near_miss(written) == known


def test_lint_suggests_a_known_benchmark_with_a_similar_name() -> None:
    score = {"score": 70, "source": "s"}
    report = lint(card(id="c", benchmarks={"MMLU": score, "our_own_eval": score}))
    assert report.hints == ('unknown benchmark "MMLU" (ignored by the predictor); did you mean "mmlu"?',)
    assert "benchmarks" in report.missing


def test_lint_counts_a_known_benchmark_as_stated() -> None:
    report = lint(card(id="c", benchmarks={"mmlu": {"score": 70, "source": "s"}}))
    assert report.hints == ()
    assert "benchmarks" not in report.missing


def test_the_documentation_lists_every_benchmark_with_its_scale() -> None:
    text = (Path(__file__).parents[3] / "docs" / "model-cards.md").read_text(encoding="utf-8")
    rows = [
        f"| `{name}` | {scale.measures} | {scale.least:g} to {scale.greatest:g} |" for name, scale in BENCHMARKS.items()
    ]
    assert [row for row in rows if row not in text] == []


def test_the_documentation_lists_every_field_of_a_card() -> None:
    text = (Path(__file__).parents[3] / "docs" / "model-cards.md").read_text(encoding="utf-8")
    first_cells = "".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| `"))
    fields = {field.encode_name for field in msgspec.structs.fields(Card)}
    assert {field for field in fields if f"`{field}`" not in first_cells} == set()
