"""A wrong `base`: the error says what was probably meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.cards import Card, Catalog
from router.cards.catalog import CatalogError, load_catalog
from router.errors import FileError
from tests.decide.cards import card

BASE = card("llama-3-8b", model="meta-llama/Meta-Llama-3-8B", aliases=["llama"])


def adapter(name: str, base: str, **facts: object) -> Card:
    return card(name, kind="adapter", base=base, **facts)


@pytest.mark.parametrize(
    ("base", "problem"),
    [
        ("lama-3-8b", 'there is no card "lama-3-8b"; did you mean "llama-3-8b"?'),
        ("zzz", 'there is no card "zzz"; add the base\'s card to the folder'),
        ("meta-llama/Meta-Llama-3-8B", "`base` must be this id"),
        ("llama", '"llama" is the model of the card "llama-3-8b"'),
        ("first", '"first" is an adapter; .* did you mean "llama-3-8b", on which it is based?'),
    ],
)
def test_a_base_that_is_none_is_reported_with_what_was_meant(base: str, problem: str) -> None:
    with pytest.raises(CatalogError, match=problem) as caught:
        Catalog([BASE, adapter("first", "llama-3-8b"), adapter("second", base)])
    assert (caught.value.card, caught.value.key) == ("second", "base")


def test_bases_in_a_circle_are_reported_as_a_circle() -> None:
    with pytest.raises(CatalogError, match="the bases go round: a > b > a"):
        Catalog([adapter("a", "b"), adapter("b", "a")])


def test_a_circle_further_along_the_chain_is_reported() -> None:
    with pytest.raises(CatalogError, match="the bases go round: a > b > c > b"):
        Catalog([adapter("a", "b"), adapter("b", "c"), adapter("c", "b")])


def test_a_wrong_base_is_reported_with_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("{id: llama-3-8b, provider: p, model: m}", encoding="utf-8")
    file = tmp_path / "sql.yaml"
    file.write_text("id: sql\nkind: adapter\nprovider: p\nmodel: sql\nbase: m\n", encoding="utf-8")
    with pytest.raises(FileError) as caught:
        load_catalog(tmp_path)
    hint = '"m" is the model of the card "llama-3-8b": `base` must be this id'
    assert str(caught.value) == f'{file}:5: base: there is no card "m"; {hint}'
