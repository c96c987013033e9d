"""Candidates for the reasoning efforts of a card: `card@effort`, each with facts of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from router.cards.abilities import CardId
from router.cards.schema import Benchmark, Card, Effort, Latency

# Facts that hold for one effort only, and so are never inherited.
_OF_ONE_EFFORT = ("aliases", "efforts", "stronger_than", "thinking_tokens", "tier")
# Stated by an effort in place of its card.
_OVERRIDES = ("description", "price", "released", "source", "stronger_than", "tier")


class EffortCard(Card, frozen=True, kw_only=True):
    """A card at one reasoning effort. It is made from the `efforts` of the card `effort_of`, never read from YAML."""

    effort: str
    effort_of: CardId


def with_efforts(cards: Iterable[Card]) -> list[Card]:
    """`cards`, and a candidate for each of their efforts.

    A candidate among `cards` is made again from the card that states its effort, where that is among them too.
    """
    given = tuple(cards)
    stating = {card.id for card in given if card.efforts is not None}
    kept = [card for card in given if card.effort_of not in stating]
    return [*kept, *(candidate for card in kept for candidate in _candidates(card))]


def _candidates(card: Card) -> Iterable[EffortCard]:
    if card.efforts is None:
        return
    inherited = {name: getattr(card, name) for name in Card.__struct_fields__ if name not in _OF_ONE_EFFORT}
    for name, effort in card.efforts.stated.items():
        stated = {fact: value for fact in _OVERRIDES if (value := getattr(effort, fact))}
        facts = {
            **inherited,
            **stated,
            "id": f"{card.id}@{name}",
            "benchmarks": _benchmarks(card, name, effort),
            "latency": _latency(card.latency, effort.latency),
            # Without thinking there is none to pay for.
            "thinking_tokens": 0 if name == "none" and effort.thinking_tokens is None else effort.thinking_tokens,
        }
        yield EffortCard(**facts, effort=name, effort_of=card.id)


def _benchmarks(card: Card, name: str, effort: Effort) -> Mapping[str, Benchmark]:
    """The effort's benchmarks, and those of its card that were not reached at another effort."""
    inherited = {key: benchmark for key, benchmark in card.benchmarks.items() if benchmark.effort in (None, name)}
    return {**inherited, **effort.benchmarks}


def _latency(inherited: Latency | None, stated: Latency | None) -> Latency | None:
    if inherited is None or stated is None:
        return stated or inherited
    known = {name: value for name, value in msgspec.structs.asdict(stated).items() if value is not None}
    return msgspec.structs.replace(inherited, **known)
