from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from router.cards import Card, Catalog, load_catalog
from router.cards.catalog import CatalogError, load_card
from router.errors import ConfigurationError, FileError, UnknownModelError
from router.formats.quantities import read_quantity


def card(name: str, **facts: Any) -> Card:
    return msgspec.convert({"id": name, "provider": "p", "model": name, **facts}, Card, dec_hook=read_quantity)


def write(folder: Path, name: str, *lines: str) -> Path:
    """A card of three lines, so that `lines` begin on line 4."""
    folder.mkdir(exist_ok=True)
    file = folder / f"{name}.yaml"
    file.write_text("\n".join((f"id: {name}", "provider: p", "model: m", *lines)) + "\n", encoding="utf-8")
    return file


def load_error(folder: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_catalog(folder)
    return str(caught.value)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("contxt: 8k", '4: unknown key "contxt"; did you mean "context"?'),
        ("zzzzzz: 8k", '4: unknown key "zzzzzz"'),
        ("size: 7", "4: size: expected a size such as 7B or 350M, got 7 (no unit)"),
        ("size: [7B]", "4: size: expected a size such as 7B, got a list"),
        ("size: {total: 7B, active: 8B}", "4: size: `active` is larger than `total`"),
        ("size: {totl: 7B}", "4: size: expected {total: 47B, active: 13B}, got the keys totl"),
        (
            "price: {input: 1$, output: free}",
            "4: price.output: expected an amount in US dollars such as 0.15$, got 'free'",
        ),
        ("price: {input: 1$, output: }", "4: price.output: expected one value, got nothing"),
        ("price: {input: 1$}", '4: price: the key "output" is missing'),
        (
            "price:\n  input: 1$\n  output: 1$\n  cached: 1$",
            '7: price: unknown key "cached"; did you mean "cached_input"?',
        ),
        ("price:\n  input: 1$\n  output: -1$", "6: price.output: expected an amount"),
        (
            "benchmarks:\n  ours: {score: 1e999, source: us, date: 2026-01}",
            "5: benchmarks.ours.score: 1e999 is out of range",
        ),
        (
            "benchmarks:\n  mmlu: {score: 70, source: us}\n  gpqa: {score: x, source: us}",
            "6: benchmarks.gpqa.score: expected `float`, got `str`",
        ),
        (
            "price:\n  input: 1$\n  output: 1$\n  above:\n    1k: {input: 1, output: 1}\n    2k: {input: 1, output: x}",
            "9: price.above.2k.output: expected an amount",
        ),
        (
            "price:\n  input: 1$\n  output: 1$\n  above:\n    1k: {input: 1$, output: 1$}\n    2k: {input: 1$}",
            '9: price.above.2k: the key "output" is missing',
        ),
        ("privacy: publc", '4: privacy: unknown value "publc"; did you mean "public"?'),
        ("weights: 7", "4: weights: "),
        ("modalities: [text, imge]", '4: modalities.1: unknown value "imge"; did you mean "image"?'),
        (
            "capabilities:\n  - tools\n  - reasonin",
            '6: capabilities.1: unknown value "reasonin"; did you mean "reasoning"?',
        ),
        ("privacy: zzz", '4: privacy: unknown value "zzz"; known: local, private, public'),
        ("benchmarks:\n  mmlu: {scor: 1, source: s}", '5: benchmarks.mmlu: unknown key "scor"; did you mean "score"?'),
        (
            "benchmarks:\n  mmlu: {score: 0.684, source: s}",
            "5: benchmarks.mmlu.score: expected a score out of 100, got 0.684; did you mean 68.4?",
        ),
        ("limits: {rpm: no}", "4: limits.rpm: expected `int | null`, got `str`"),
        ("limits: {rpm: 0}", "4: limits.rpm: expected `int` >= 1"),
        ("released: 2025-13", "4: released: expected a date such as 2025-03, got '2025-13'"),
        ("context: 1e308M", "4: context: expected a number of tokens"),
        ("context: " + "9" * 350, "4: context: expected a number of tokens"),
        ("base_url: ftp://x", "4: base_url: must be an http or https URL such as https://host/v1"),
        ("api_key_env: sk-secret", "4: api_key_env: must be the name of a variable"),
        ("family: x\napi_key_env: 'two words'", "5: api_key_env: must be the name of a variable"),
        ("tags: [two words]", "4: tags.0: "),
        ("family: 5", "4: family: expected `str | null`, got `int`"),
        ("kind: adapter", "4: kind: an adapter must state its `base` card, and a model must not"),
        ("base: x", "1: kind: an adapter must state its `base` card, and a model must not"),
        ("modalities: [image]", "4: modalities: must contain text"),
        ("lora: {alpha: 16}", '4: lora: the key "rank" is missing'),
        ("id: b", '4: duplicate key "id" (first on line 1)'),
    ],
)
def test_an_invalid_card_is_reported_with_file_line_key_and_problem(tmp_path: Path, line: str, problem: str) -> None:
    file = write(tmp_path, "a", line)
    with pytest.raises(FileError) as caught:
        load_card(file)
    message = str(caught.value)
    assert message.startswith(f"{file}:")
    assert f"{file}:{problem}" in message if problem[0].isdigit() else problem in message


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "1: expected a card (keys and values), got nothing"),
        ("- a", "1: expected a card (keys and values), got a list"),
        ("word", "1: expected a card (keys and values), got a single value"),
        ("model: m\nprovider: p\n", '1: the key "id" is missing'),
        ("id: a b\nmodel: m\nprovider: p\n", "1: id: "),
    ],
)
def test_a_file_without_a_card_is_rejected(tmp_path: Path, content: str, problem: str) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(FileError) as caught:
        load_card(file)
    assert str(caught.value).startswith(f"{file}:{problem}")


def test_several_invalid_files_are_reported_together(tmp_path: Path) -> None:
    one, two = write(tmp_path, "a", "x: 1"), write(tmp_path, "c", "size: 7")
    write(tmp_path, "b")
    first, second = load_error(tmp_path).splitlines()
    assert first.startswith(f"{one}:4: unknown key")
    assert second.startswith(f"{two}:4: size: ")


def test_two_cards_with_one_id_are_rejected_with_both_files(tmp_path: Path) -> None:
    one = write(tmp_path, "a")
    two = tmp_path / "b.yaml"
    two.write_text(one.read_text(encoding="utf-8"), encoding="utf-8")
    assert load_error(tmp_path) == f'{two}:1: id: "a" is already used by {one}'


def test_only_yaml_files_directly_inside_a_folder_are_cards(tmp_path: Path) -> None:
    write(tmp_path, "a")
    write(tmp_path / "examples", "b")
    (tmp_path / "README.md").write_text("x", encoding="utf-8")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "c.yml").write_text("{id: c, provider: p, model: m}", encoding="utf-8")
    assert load_catalog(tmp_path).ids == ("a", "c")


def test_an_empty_folder_a_missing_folder_and_a_file_have_different_errors(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert load_error(empty) == f"the card folder {empty} contains no cards (*.yaml)"
    assert f"{tmp_path / 'nowhere'} does not exist (`route init` creates one)" in load_error(tmp_path / "nowhere")
    assert "is a file; give the folder that contains it" in load_error(write(tmp_path, "a"))


@pytest.mark.parametrize("name", ["a", "other"])
def test_a_name_of_two_cards_is_rejected(name: str) -> None:
    with pytest.raises(CatalogError, match=f'b: aliases: the name "{name}" already belongs to a') as caught:
        Catalog([card("a", aliases=["other"]), card("b", aliases=[name])])
    assert (caught.value.card, caught.value.key) == ("b", "aliases")


def test_a_duplicate_alias_of_one_card_is_rejected() -> None:
    with pytest.raises(CatalogError, match='a: aliases: has the name "x" twice'):
        Catalog([card("a", aliases=["x", "x"])])


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (("family: f", "aliases: [a]"), '5: aliases: the name "a" already belongs to a'),
        (("kind: adapter", "base: aa"), '5: base: there is no card "aa"; did you mean "a"?'),
        (("kind: adapter", "base: b"), '5: base: "b" is an adapter; `base` must be the id of a model\'s card'),
    ],
)
def test_a_card_that_conflicts_with_the_others_is_reported_with_file_line_key_and_problem(
    tmp_path: Path, lines: tuple[str, ...], problem: str
) -> None:
    write(tmp_path, "a")
    file = write(tmp_path, "b", *lines)
    with pytest.raises(FileError) as caught:
        load_catalog(tmp_path)
    assert str(caught.value) == f"{file}:{problem}"


def test_an_id_that_is_another_cards_alias_is_reported_at_the_line_of_the_id(tmp_path: Path) -> None:
    write(tmp_path, "a", "aliases: [b]")
    file = write(tmp_path, "b")
    message = load_error(tmp_path)
    assert message.startswith(f"{file}:1: ")
    assert message.endswith('the name "b" already belongs to a')


def test_a_missing_base_is_reported_with_the_most_similar_id() -> None:
    with pytest.raises(CatalogError, match='a: base: there is no card "lama"; did you mean "llama"'):
        Catalog([card("a", kind="adapter", base="lama"), card("llama")])


def test_a_base_is_stated_by_its_id_not_by_an_alias() -> None:
    with pytest.raises(CatalogError, match='a: base: there is no card "other"'):
        Catalog([card("a", kind="adapter", base="other"), card("llama", aliases=["other"])])


@pytest.mark.parametrize("base", ["a", "b"])
def test_the_base_of_an_adapter_must_be_a_model(base: str) -> None:
    adapters = [card("a", kind="adapter", base=base), card("b", kind="adapter", base="a")]
    with pytest.raises(
        CatalogError, match=f'a: base: "{base}" is an adapter; `base` must be the id of a model\'s card'
    ):
        Catalog(adapters)


def test_an_adapter_is_accepted_with_its_base() -> None:
    catalog = Catalog([card("a", kind="adapter", base="llama"), card("llama")])
    assert catalog.ids == ("a", "llama")


def test_cards_are_in_the_order_of_their_ids() -> None:
    catalog = Catalog([card("c"), card("a"), card("B")])
    assert catalog.ids == ("B", "a", "c")
    assert [card.id for card in catalog] == list(catalog.ids)
    assert (catalog[0].id, [card.id for card in catalog[1:]]) == ("B", ["a", "c"])


def test_a_card_is_found_by_id_and_by_alias() -> None:
    catalog = Catalog([card("a", aliases=["x"]), card("b")])
    assert catalog.named("x") is catalog.named("a")
    assert (catalog.position("b"), catalog.position("unknown")) == (1, None)


def test_a_card_is_found_by_its_upstreams_name_for_the_model() -> None:
    catalog = Catalog([card("a", model="org/a-7b"), card("b")])
    assert catalog.named("org/a-7b") is catalog.named("a")


def test_an_upstream_name_of_two_cards_finds_neither() -> None:
    catalog = Catalog([card("a", model="same"), card("b", model="same")])
    assert catalog.position("same") is None


@pytest.mark.parametrize("facts", [{"id": "taken"}, {"aliases": ["taken"]}])
def test_an_id_or_alias_takes_precedence_over_an_upstream_name(facts: dict[str, Any]) -> None:
    catalog = Catalog([card("a", model="taken"), card(**{"name": facts.get("id", "z"), **facts, "model": "other"})])
    assert catalog.named("taken").id == facts.get("id", "z")


def test_an_upstream_name_is_not_among_the_names_of_the_card() -> None:
    assert card("a", model="org/a-7b").names == ("a",)


def test_an_unknown_name_is_reported_with_the_most_similar_name() -> None:
    with pytest.raises(UnknownModelError, match='there is no card "lama"; did you mean "llama"'):
        Catalog([card("llama")]).named("lama")


def test_ten_thousand_adapters_are_checked_in_linear_time() -> None:
    """A scan of all ids for every adapter would take a minute."""
    adapters = [card(f"adapter-{n}", kind="adapter", base="llama") for n in range(10_000)]
    assert len(Catalog([*adapters, card("llama")])) == 10_001


def slotted(slots: tuple[str, ...], *others: Card) -> Catalog:
    base = Card("base", "hosted_vllm", "m", base_url="http://127.0.0.1:1/v1", lora_slots=slots)
    return Catalog([base, *others])


def on_base(name: str, **facts: Any) -> Card:
    return Card(name, "hosted_vllm", "m", kind="adapter", base="base", **facts)


def test_an_adapter_has_the_slots_of_its_server() -> None:
    assert slotted(("a", "b"), on_base("a"), on_base("b")).named("b").lora_slots == ("a", "b")


def test_an_adapter_on_another_server_needs_no_slot() -> None:
    elsewhere = on_base("b", base_url="http://127.0.0.1:2/v1")
    assert slotted(("a",), on_base("a"), elsewhere).named("b").lora_slots is None


@pytest.mark.parametrize(
    ("slots", "others", "problem"),
    [
        (("a", "z"), (on_base("a"),), 'base: lora_slots: there is no card "z"'),
        (("a", "a"), (on_base("a"),), "base: lora_slots: names an adapter twice"),
        (("a",), (on_base("a"), on_base("b")), "base: lora_slots: does not name b, which is on the same server"),
        (("a",), (Card("a", "openai", "x"),), 'base: lora_slots: "a" is not an adapter of base'),
        (
            ("a",),
            (on_base("a", lora_slots=("a",)),),
            "a: lora_slots: only the base model's card states the slots of its server",
        ),
    ],
)
def test_slots_that_do_not_fit_the_cards_are_reported(
    slots: tuple[str, ...], others: tuple[Card, ...], problem: str
) -> None:
    with pytest.raises(CatalogError) as caught:
        slotted(slots, *others)
    assert str(caught.value).startswith(problem)
