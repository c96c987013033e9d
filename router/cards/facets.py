"""The catalogue's words: which cards hold which tag, provider, modality …"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from router.cards.schema import Card

Mask = NDArray[np.bool_]


def _word(value: str | None) -> tuple[str, ...]:
    return () if value is None else (value,)


# A card that states none of these words leaves the fact unknown, except for tags: no tag is a statement.
FACETS: Mapping[str, Callable[[Card], Iterable[str]]] = {
    "card": lambda card: card.names,
    "kind": lambda card: (card.kind,),
    "base": lambda card: _word(card.base),
    "family": lambda card: _word(card.family),
    "provider": lambda card: (card.provider,),
    "license": lambda card: _word(card.license),
    "weights": lambda card: _word(card.weights),
    "region": lambda card: _word(card.region),
    "privacy": lambda card: _word(card.privacy),
    "modality": lambda card: card.modalities,
    "capability": lambda card: card.capabilities or (),
    "language": lambda card: card.languages,
    "tag": lambda card: card.tags,
}
MANY_VALUED = frozenset({"card", "modality", "capability", "language", "tag"})
_ALWAYS_STATED = frozenset({"tag", "base"})


class Facet(Struct, frozen=True, eq=False):
    """For one facet: each word (lower case) with the cards that hold it, and the cards that state nothing."""

    holders: Mapping[str, Mask]
    unknown: Mask

    def holding(self, word: str) -> Mask:
        """Which cards hold `word`, whatever its case."""
        found = self.holders.get(word.lower())
        return np.zeros_like(self.unknown) if found is None else found


def facets_of(cards: Sequence[Card]) -> dict[str, Facet]:
    """Every facet of `cards`, in their order."""
    return {name: _facet(cards, words, name) for name, words in FACETS.items()}


def _facet(cards: Sequence[Card], words: Callable[[Card], Iterable[str]], name: str) -> Facet:
    holders: dict[str, Mask] = {}
    unknown = np.zeros(len(cards), dtype=np.bool_)
    for position, card in enumerate(cards):
        stated = tuple(words(card))
        unknown[position] = not stated and name not in _ALWAYS_STATED
        if name == "capability":
            unknown[position] = card.capabilities is None
        for word in stated:
            holders.setdefault(word.lower(), np.zeros(len(cards), dtype=np.bool_))[position] = True
    return Facet(holders, unknown)
