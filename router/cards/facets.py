"""The catalogue's words: which cards have which tag, provider, modality …"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from router.cards.schema import Card

Mask = NDArray[np.bool_]


def _word(value: str | None) -> tuple[str, ...]:
    return () if value is None else (value,)


def _outputs(card: Card) -> tuple[str, ...]:
    """What the model produces; where the card does not state it, a model that accepts audio may speak."""
    return card.outputs or ("text", *(word for word in card.modalities if word == "audio"))


def _profiles(card: Card) -> tuple[str, ...]:
    """For which requests the card has servers: those that can wait, and all others."""
    words = (place.profile or card.profile or "interactive" for place in card.deployments or (card,))
    return tuple(dict.fromkeys(words))


FACETS: Mapping[str, Callable[[Card], Iterable[str]]] = {
    # The name of a card means all its efforts too.
    "card": lambda card: (*card.names, *_word(card.effort_of)),
    "kind": lambda card: (card.kind,),
    "base": lambda card: _word(card.base),
    "effort": lambda card: _word(card.effort),
    "family": lambda card: _word(card.family),
    "provider": lambda card: (card.provider,),
    "license": lambda card: _word(card.license),
    "weights": lambda card: _word(card.weights),
    "region": lambda card: _word(card.region),
    "privacy": lambda card: _word(card.privacy),
    "modality": lambda card: card.modalities,
    "output": _outputs,
    "consumes": lambda card: card.reads,
    "produces": lambda card: card.writes,
    "capability": lambda card: card.capabilities or (),
    "language": lambda card: card.languages,
    "tag": lambda card: card.tags,
    # A card answers alone; the words of plans are in `router.decide.plans.spec.KINDS`.
    "plan": lambda card: ("single",),
    "profile": _profiles,
}
"""The words of a card for each facet."""

MANY_VALUED = frozenset(
    {"card", "modality", "output", "consumes", "produces", "capability", "language", "tag", "plan", "profile"}
)
"""The facets of which a card can have several words, and a plan: its kind and its name."""

# A card without a word leaves the fact unknown, except here: without a tag it is untagged, without a base a model,
# without an effort at the provider's default.
_NEVER_UNKNOWN = frozenset({"tag", "base", "effort"})


class Facet(Struct, frozen=True, eq=False):
    """One facet of all cards; masks have the shape `(cards,)`.

    `cards_of` maps a word in lower case to the cards that have it. `unknown` are the cards that do not state the fact.
    """

    cards_of: Mapping[str, Mask]
    unknown: Mask

    def cards_with(self, word: str) -> Mask:
        """Which cards have `word`, in any case."""
        cards = self.cards_of.get(word.lower())
        return np.zeros_like(self.unknown) if cards is None else cards


def facets_of(cards: Sequence[Card]) -> dict[str, Facet]:
    """The facets of `cards`, with masks in the order of `cards`."""
    return {name: _facet(cards, words, name) for name, words in FACETS.items()}


def _facet(cards: Sequence[Card], words: Callable[[Card], Iterable[str]], name: str) -> Facet:
    cards_of: dict[str, Mask] = {}
    unknown = np.zeros(len(cards), dtype=np.bool_)
    for position, card in enumerate(cards):
        stated = tuple(words(card))
        unknown[position] = not stated and name not in _NEVER_UNKNOWN
        if name == "capability":
            unknown[position] = card.capabilities is None
        for word in stated:
            cards_of.setdefault(word.lower(), np.zeros(len(cards), dtype=np.bool_))[position] = True
    return Facet(cards_of, unknown)
