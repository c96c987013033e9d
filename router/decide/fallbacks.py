"""The fallbacks of a decision: the next best cards, of which not all fail for the same reason as the first."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

from router.cards.catalog import Catalog
from router.cards.schema import Card

# The estimate of a prompt's tokens may be too low by this factor, as for text in a language that the tokenizer splits
# finely: then a fallback should have more context.
_ESTIMATE_FACTOR = 2


def fallbacks_of(catalog: Catalog, order: Sequence[int], count: int, needed_tokens: int) -> tuple[str, ...]:
    """The next `count` cards after the first of `order` whose servers differ: an effort cannot stand in for its own
    model. They are in the order of their scores, but near-duplicates of the first card come last: the same weights at
    the same hosts with the same keys, such as adapters of one server, fail together with it.

    Where they all share the first card's host and key, which may be refused, the last of them gives way to the best
    card of another. The same holds where they are all variants of one model, which fail alike on the same prompt, and
    for a card with more context where `needed_tokens` come near that of the first.
    """
    first = catalog[order[0]]
    # Read no further than necessary: a catalogue may have thousands of cards.
    others = _other_servers(catalog, order)
    picked = list(itertools.islice(others, count))
    further: list[Card] = []
    demands: list[Callable[[Card], bool]] = [lambda card: not _accounts(card) <= _accounts(first)]
    weights = _weights(first)
    demands.append(lambda card: weights.isdisjoint(_weights(card)))
    context_tokens = first.context_tokens
    if context_tokens is not None and needed_tokens * _ESTIMATE_FACTOR > context_tokens:
        demands.append(lambda card: card.context_tokens is None or card.context_tokens > context_tokens)
    kept = len(picked)
    for meets in demands:
        if not kept or any(map(meets, picked)):
            continue
        better = next(filter(meets, further), None)
        while better is None and (card := next(others, None)) is not None:
            further.append(card)
            better = card if meets(card) else None
        if better is not None:
            kept -= 1
            picked[kept] = better
    ranks = {card.id: rank for rank, card in enumerate(further)}
    chosen = [*picked[:kept], *sorted(picked[kept:], key=lambda card: ranks[card.id])]
    # The sort is stable.
    chosen.sort(key=lambda card: not weights.isdisjoint(_weights(card)) and _accounts(card) <= _accounts(first))
    return tuple(card.id for card in chosen)


def _other_servers(catalog: Catalog, order: Sequence[int]) -> Iterator[Card]:
    servers = {catalog.server_ids[order[0]]}
    for card in order:
        if (server := catalog.server_ids[card]) not in servers:
            servers.add(server)
            yield catalog[card]


def _weights(card: Card) -> frozenset[str]:
    """Names of the model whose weights the card has: its base, else its own id, and its model without the provider."""
    return frozenset(name.casefold() for name in (card.base or card.id, card.model.rpartition("/")[2]))


def _accounts(card: Card) -> frozenset[tuple[str, str, str | tuple[str, ...] | None]]:
    """The provider, host and variable of the key of each of the card's servers."""
    places = card.deployments or (card,)
    return frozenset((card.provider, _host(place.base_url), place.api_key_env) for place in places)


def _host(url: str | None) -> str:
    # Enough to compare, and much faster than parsing.
    return (url or "").partition("://")[2].partition("/")[0].lower()
