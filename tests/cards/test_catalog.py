from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from router.cards import Card, Catalog, load_catalog
from router.cards.catalog import load_card
from router.cards.schema import read_quantity
from router.errors import ConfigurationError, FileError, UnknownModelError


def card(name: str, **facts: Any) -> Card:
    return msgspec.convert({"id": name, "provider": "p", "model": name, **facts}, Card, dec_hook=read_quantity)


def write(folder: Path, name: str, *lines: str) -> Path:
    """A card of three lines, so that `lines` begin on line 4."""
    folder.mkdir(exist_ok=True)
    file = folder / f"{name}.yaml"
    file.write_text("\n".join((f"id: {name}", "provider: p", "model: m", *lines)) + "\n", encoding="utf-8")
    return file


def load_error(*folders: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_catalog(*folders)
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
        ("price:\n  input: 1$\n  output: 1$\n  cached: 1$", '7: unknown key "cached"; did you mean "cached_input"?'),
        ("price:\n  input: 1$\n  output: -1$", "6: price.output: expected an amount"),
        ("privacy: publc", '4: privacy: unknown word "publc"; did you mean "public"?'),
        ("weights: 7", "4: weights: "),
        ("modalities: [text, imge]", '4: modalities.1: unknown word "imge"; did you mean "image"?'),
        (
            "capabilities:\n  - tools\n  - reasonin",
            '6: capabilities.1: unknown word "reasonin"; did you mean "reasoning"?',
        ),
        ("privacy: zzz", '4: privacy: unknown word "zzz"; known: local, private, public'),
        ("benchmarks:\n  mmlu: {scor: 1, source: s}", ': unknown key "scor"; did you mean "score"?'),
        ("limits: {rpm: no}", "4: limits.rpm: expected `int | null`, got `str`"),
        ("limits: {rpm: 0}", "4: limits.rpm: expected `int` >= 1"),
        ("released: 2025-13", "4: released: expected a date such as 2025-03, got '2025-13'"),
        ("context: 1e308M", "4: context: expected a number of tokens"),
        ("context: " + "9" * 350, "4: context: expected a number of tokens"),
        ("base_url: ftp://x", "4: base_url: "),
        ("base_url: http://user:password@x", "4: base_url: "),
        ("api_key_env: sk-secret", "4: api_key_env: "),
        ("tags: [two words]", "4: tags.0: "),
        ("family: 5", "4: family: expected `str | null`, got `int`"),
        ("kind: adapter", "1: an adapter names its `base` card, and only an adapter does"),
        ("base: x", "1: an adapter names its `base` card, and only an adapter does"),
        ("modalities: [image]", "1: `modalities` must contain text"),
        ("lora: {alpha: 16}", '4: lora: the key "rank" is missing'),
        ("id: b", '4: the key "id" stands twice (first on line 1)'),
    ],
)
def test_a_broken_card_is_answered_with_file_line_key_and_problem(tmp_path: Path, line: str, problem: str) -> None:
    file = write(tmp_path, "a", line)
    with pytest.raises(FileError) as caught:
        load_card(file)
    message = str(caught.value)
    assert message.startswith(f"{file}:")
    assert f"{file}:{problem}" in message if problem[0].isdigit() else problem in message


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "1: expected a card (keys and values), found nothing"),
        ("- a", "1: expected a card (keys and values), found a list"),
        ("word", "1: expected a card (keys and values), found a str"),
        ("model: m\nprovider: p\n", '1: the key "id" is missing'),
        ("id: a b\nmodel: m\nprovider: p\n", "1: id: "),
    ],
)
def test_a_file_that_holds_no_card_is_refused(tmp_path: Path, content: str, problem: str) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(FileError) as caught:
        load_card(file)
    assert str(caught.value).startswith(f"{file}:{problem}")


def test_several_broken_files_are_reported_together(tmp_path: Path) -> None:
    one, two = write(tmp_path, "a", "x: 1"), write(tmp_path, "c", "size: 7")
    write(tmp_path, "b")
    first, second = load_error(tmp_path).splitlines()
    assert first.startswith(f"{one}:4: unknown key")
    assert second.startswith(f"{two}:4: size: ")


def test_two_cards_with_one_id_are_refused_naming_both_files(tmp_path: Path) -> None:
    one = write(tmp_path, "a")
    two = tmp_path / "b.yaml"
    two.write_text(one.read_text(encoding="utf-8"), encoding="utf-8")
    assert load_error(tmp_path) == f'{two}: the id "a" is already used by {one}'


def test_a_later_folders_card_replaces_an_earlier_ones(tmp_path: Path) -> None:
    write(tmp_path / "one", "a", "family: old")
    write(tmp_path / "one", "b")
    write(tmp_path / "two", "a", "family: new")
    catalog = load_catalog(tmp_path / "one", tmp_path / "two")
    assert (catalog.ids, catalog.named("a").family) == (("a", "b"), "new")


def test_only_yaml_files_directly_inside_a_folder_are_cards(tmp_path: Path) -> None:
    write(tmp_path, "a")
    write(tmp_path / "examples", "b")
    (tmp_path / "README.md").write_text("x", encoding="utf-8")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "c.yml").write_text("{id: c, provider: p, model: m}", encoding="utf-8")
    assert load_catalog(tmp_path).ids == ("a", "c")


def test_an_empty_folder_a_missing_one_and_a_file_are_told_apart(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert load_error(empty) == f"the card folder {empty} holds no card (*.yaml)"
    assert f"{tmp_path / 'nowhere'} does not exist (`route init` makes one)" in load_error(tmp_path / "nowhere")
    assert "is a file; name the folder it lies in" in load_error(write(tmp_path, "a"))


@pytest.mark.parametrize("name", ["a", "other"])
def test_a_name_that_belongs_to_two_cards_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f'the name "{name}" belongs to two cards: a and b'):
        Catalog([card("a", aliases=["other"]), card("b", aliases=[name])])


def test_a_name_that_a_card_states_twice_is_refused() -> None:
    with pytest.raises(ConfigurationError, match='a: has the name "x" twice'):
        Catalog([card("a", aliases=["x", "x"])])


def test_an_error_of_the_whole_catalogue_names_its_folder(tmp_path: Path) -> None:
    write(tmp_path, "a", "aliases: [b]")
    write(tmp_path, "b")
    assert load_error(tmp_path) == f'{tmp_path}: the name "b" belongs to two cards: a and b'


def test_a_missing_base_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match='a: there is no card for its base "lama"; did you mean "llama"'):
        Catalog([card("a", kind="adapter", base="lama"), card("llama")])


def test_a_base_is_named_by_its_id_not_by_an_alias() -> None:
    with pytest.raises(ConfigurationError, match='no card for its base "other"'):
        Catalog([card("a", kind="adapter", base="other"), card("llama", aliases=["other"])])


@pytest.mark.parametrize("base", ["a", "b"])
def test_the_base_of_an_adapter_is_a_model(base: str) -> None:
    adapters = [card("a", kind="adapter", base=base), card("b", kind="adapter", base="a")]
    with pytest.raises(ConfigurationError, match=f'a: its base "{base}" is an adapter too'):
        Catalog(adapters)


def test_an_adapter_stands_beside_its_base() -> None:
    catalog = Catalog([card("a", kind="adapter", base="llama"), card("llama")])
    assert catalog.ids == ("a", "llama")


def test_a_base_in_another_folder_is_found(tmp_path: Path) -> None:
    write(tmp_path / "one", "llama")
    write(tmp_path / "two", "a", "kind: adapter", "base: llama")
    assert len(load_catalog(tmp_path / "one", tmp_path / "two")) == 2


def test_cards_stand_in_the_order_of_their_ids() -> None:
    catalog = Catalog([card("c"), card("a"), card("B")])
    assert catalog.ids == ("B", "a", "c")
    assert [each.id for each in catalog] == list(catalog.ids)
    assert (catalog[0].id, [each.id for each in catalog[1:]]) == ("B", ["a", "c"])


def test_a_card_is_found_by_id_and_by_alias() -> None:
    catalog = Catalog([card("a", aliases=["x"]), card("b")])
    assert catalog.named("x") is catalog.named("a")
    assert (catalog.position("b"), catalog.position("nobody")) == (1, None)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownModelError, match='there is no card "lama"; did you mean "llama"'):
        Catalog([card("llama")]).named("lama")


RICH: dict[str, Any] = {
    "description": "x",
    "family": "f",
    "aliases": ["z"],
    "base_url": "http://x",
    "api_key_env": "KEY",
    "size": {"total": "47B", "active": "13B"},
    "context": "8k",
    "max_output": "4k",
    "released": "2025-01",
    "knowledge_cutoff": "2024-01",
    "license": "mit",
    "weights": "open",
    "region": "eu",
    "privacy": "local",
    "modalities": ["text", "image"],
    "capabilities": [],
    "languages": ["en"],
    "price": {"input": "1$", "output": "2$"},
    "latency": {"ttft": "250ms"},
    "benchmarks": {"mmlu": {"score": 0.7, "source": "s"}},
    "good_for": ["code"],
    "not_for": ["maths"],
    "tags": ["a"],
    "limits": {"rpm": 5},
    "lineage": {"note": "n"},
    "source": "s",
}


@pytest.mark.parametrize("fact", RICH)
def test_the_fingerprint_changes_with_every_fact(fact: str) -> None:
    plain = Catalog([card("a")]).fingerprint
    assert Catalog([card("a", **{fact: RICH[fact]})]).fingerprint != plain


@pytest.mark.parametrize("size", ["47B", {"total": "47B", "active": "12B"}])
def test_the_fingerprint_changes_within_a_fact(size: Any) -> None:
    assert Catalog([card("a", size=size)]).fingerprint != Catalog([card("a", size=RICH["size"])]).fingerprint


def test_the_fingerprint_does_not_depend_on_the_order_of_the_cards() -> None:
    one, two = Catalog([card("a"), card("b")]), Catalog([card("b"), card("a")])
    assert one.fingerprint == two.fingerprint
    assert len(one.fingerprint) == 12
    assert one.fingerprint != Catalog([card("a")]).fingerprint


def test_ten_thousand_adapters_are_checked_in_linear_time() -> None:
    """A scan of all ids for every adapter would take a minute."""
    adapters = [card(f"adapter-{n}", kind="adapter", base="llama") for n in range(10_000)]
    assert len(Catalog([*adapters, card("llama")])) == 10_001
