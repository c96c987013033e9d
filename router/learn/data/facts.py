"""Published facts about the models of routing data sets: from their cards, else from a file of facts.

Most measured models are too old to have a card in any catalogue, but the relation between facts and ability is
learned from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from router.cards.abilities import Word
from router.cards.benchmarks import BENCHMARKS, near_miss, share_of_scale
from router.cards.catalog import Catalog
from router.cards.facts import ModelFacts, facts_of, plain_facts
from router.cards.price import Price
from router.cards.schema import Benchmark
from router.errors import FileError
from router.formats.quantities import Day, Size
from router.formats.yaml.file import convert, read_mapping
from router.formats.yaml.parsed import KeyPath

__all__ = ["ModelFacts", "load_facts"]


class _Entry(Struct, frozen=True, forbid_unknown_fields=True):
    """One model in a file of facts; the keys have the same meaning as on a card."""

    aliases: tuple[Word, ...] = ()
    family: Word | None = None
    base: Word | None = None
    size: Size | None = None
    released: Day | None = None
    weights: Literal["open", "closed"] | None = None
    price: Price | None = None
    benchmarks: Mapping[Word, Any] = {}


def load_facts(file: Path, catalog: Catalog) -> Mapping[str, ModelFacts]:
    """Map every name of a model to its facts: the card's id and aliases, the entry's name and aliases.

    A card and an entry that share a name are the same model: facts on the card take precedence, the entry adds those
    that the card does not state. Raises FileError naming file, line and key.
    """
    facts: dict[str, ModelFacts] = {}
    for card in catalog:
        facts.update(dict.fromkeys(card.names, facts_of(card)))
    for names, entry in _entries(file).items():
        # By position, so that the upstream's name for the card counts too.
        positions = (catalog.position(name) for name in names)
        same_model = next((catalog[position] for position in positions if position is not None), None)
        if same_model is None:
            facts.update(dict.fromkeys(names, entry))
        else:
            combined = with_missing(facts[same_model.id], entry)
            facts.update(dict.fromkeys((*same_model.names, *names), combined))
    return facts


def with_missing(facts: ModelFacts, other: ModelFacts) -> ModelFacts:
    """`facts`, with unknown values taken from `other`."""
    missing = {name: getattr(other, name) for name in facts.__struct_fields__ if getattr(facts, name) is None}
    return msgspec.structs.replace(facts, **missing, benchmarks={**other.benchmarks, **facts.benchmarks})


def _entries(file: Path) -> dict[tuple[str, ...], ModelFacts]:
    """The facts of each entry by its names; the first is the key of the entry."""
    document, lines = read_mapping(file, "models by name, such as `llama-13b: {family: llama, size: 13B}`")
    owner: dict[str, str] = {}
    entries: dict[tuple[str, ...], ModelFacts] = {}
    for name, plain in document.items():
        # One entry at a time: msgspec does not report in which value of a mapping an error is.
        entry = convert(plain, _Entry, file, _below(lines, (name,)))
        for index, alias in enumerate((name, *entry.aliases)):
            if alias in owner:
                line = lines[(name, "aliases", index - 1) if index else (name,)]
                raise FileError(str(file), line, f'the name "{alias}" already belongs to {owner[alias]}')
            owner[alias] = name
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
    """The benchmark results of an entry. Unlike on a card, an unknown benchmark is an error: all serve as evidence."""
    benchmarks = {}
    for name, value in plain.items():
        if name not in BENCHMARKS:
            near = near_miss(name)
            hint = f'; did you mean "{near}"?' if near else f"; known: {', '.join(BENCHMARKS)}"
            raise FileError(str(file), lines[name,], f'benchmarks: unknown benchmark "{name}"{hint}')
        benchmark = convert(value, Benchmark, file, _below(lines, (name,)))
        try:
            share_of_scale(name, benchmark.score)
        except ValueError as error:
            raise FileError(str(file), lines[name, "score"], f"benchmarks.{name}.score: {error}") from None
        benchmarks[name] = benchmark
    return benchmarks


def _below(lines: Mapping[KeyPath, int], path: KeyPath) -> dict[KeyPath, int]:
    """The lines of the keys under `path`, by the remainder of their paths."""
    return {key[len(path) :]: line for key, line in lines.items() if key[: len(path)] == path}
