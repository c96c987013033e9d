"""Published facts about the models of routing data sets: from their cards, else from a file of facts.

Most measured models are too old to have a card in anyone's catalogue, yet they are what the link between facts
and ability is learned from.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from router.cards.benchmarks import BENCHMARKS, near_miss, share_of_scale
from router.cards.catalog import Catalog
from router.cards.facts import ModelFacts, facts_of, plain_facts
from router.cards.schema import Benchmark, Price, Word
from router.errors import FileError
from router.formats.quantities import Day, Size, read_quantity
from router.formats.yaml_file import KeyPath, convert, read_yaml

__all__ = ["ModelFacts", "load_facts"]


class _Entry(Struct, frozen=True, forbid_unknown_fields=True):
    """One model in a file of facts; the keys mean what they mean on a card."""

    aliases: tuple[Word, ...] = ()
    family: Word | None = None
    base: Word | None = None
    size: Size | None = None
    released: Day | None = None
    weights: Literal["open", "closed"] | None = None
    price: Price | None = None
    benchmarks: Mapping[Word, Any] = {}


def load_facts(file: Path, catalog: Catalog) -> Mapping[str, ModelFacts]:
    """Every model's facts by each of its names: the card's id and aliases, the entry's name and aliases.

    Where a card and an entry share a name they are one model: the card's facts count, the entry fills in those
    that the card does not state. Raises FileError naming file, line and key.
    """
    facts: dict[str, ModelFacts] = {}
    for each in catalog:
        facts.update(dict.fromkeys(each.names, facts_of(each)))
    for names, entry in _entries(file).items():
        # By position, so that the name which the card's upstream has for it counts too.
        found = (catalog.position(name) for name in names)
        card = next((catalog[position] for position in found if position is not None), None)
        if card is None:
            facts.update(dict.fromkeys(names, entry))
        else:
            facts.update(dict.fromkeys((*card.names, *names), _filled(facts[card.id], entry)))
    return facts


def _filled(stated: ModelFacts, more: ModelFacts) -> ModelFacts:
    """`stated`, with what it lacks taken from `more`."""
    lacking = {name: getattr(more, name) for name in stated.__struct_fields__ if getattr(stated, name) is None}
    return msgspec.structs.replace(stated, **lacking, benchmarks={**more.benchmarks, **stated.benchmarks})


def _entries(file: Path) -> dict[tuple[str, ...], ModelFacts]:
    """The facts of each entry by its names, the entry's own first."""
    document, lines = read_yaml(file)
    if not isinstance(document, Mapping):
        raise FileError(str(file), 1, "expected models by name, such as `llama-13b: {family: llama, size: 13B}`")
    owner: dict[str, str] = {}
    entries: dict[tuple[str, ...], ModelFacts] = {}
    for name, plain in document.items():
        # One entry at a time: msgspec does not say in which value of a mapping an error is.
        entry = convert(plain, _Entry, file, _below(lines, (name,)), read_quantity)
        for at, each in enumerate((name, *entry.aliases)):
            if each in owner:
                line = lines[(name, "aliases", at - 1) if at else (name,)]
                raise FileError(str(file), line, f'the name "{each}" already belongs to {owner[each]}')
            owner[each] = name
        entries[name, *entry.aliases] = plain_facts(
            name,
            family=entry.family,
            base=entry.base,
            weights=entry.weights,
            size=entry.size,
            released=entry.released,
            price=entry.price,
            benchmarks=_benchmarks(entry.benchmarks, file, _below(lines, (name, "benchmarks"))),
        )
    return entries


def _benchmarks(plain: Mapping[str, Any], file: Path, lines: Mapping[KeyPath, int]) -> dict[str, Benchmark]:
    """Stricter than a card, which may state any benchmark: here each one is meant as evidence."""
    benchmarks = {}
    for name, value in plain.items():
        if name not in BENCHMARKS:
            near = near_miss(name)
            hint = f'; did you mean "{near}"?' if near else f"; known: {', '.join(BENCHMARKS)}"
            raise FileError(str(file), lines[name,], f'benchmarks: unknown benchmark "{name}"{hint}')
        benchmark = convert(value, Benchmark, file, _below(lines, (name,)), read_quantity)
        try:
            share_of_scale(name, benchmark.score)
        except ValueError as error:
            raise FileError(str(file), lines[name, "score"], f"benchmarks.{name}.score: {error}") from None
        benchmarks[name] = benchmark
    return benchmarks


def _below(lines: Mapping[KeyPath, int], path: KeyPath) -> dict[KeyPath, int]:
    """The lines of what stands under `path`, by the rest of its path."""
    return {each[len(path) :]: line for each, line in lines.items() if each[: len(path)] == path}
