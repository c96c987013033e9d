"""The fallbacks of a decision: the next best cards, of which not all fail for the same reason as the first."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from router.cards.catalog import Catalog
from router.cards.schema import Card
from router.decide.fields import once
from router.decide.ranking import Order
from router.types import Indices

T = TypeVar("T")

# The estimate of a prompt's tokens may be too low by this factor, as for text in a language that the tokenizer splits
# finely: then a fallback should have more context.
_ESTIMATE_FACTOR = 2
_NEAR = 256
"""So many of the first cards are gone through one by one: most orders have enough fallbacks among them."""
_REMEMBERED_FIRSTS = 64
"""The cards, by what they share with others, for which the others are kept: a choice has few different firsts."""


def fallbacks_of(catalog: Catalog, order: Order, count: int, needed_tokens: int) -> tuple[str, ...]:
    """The fallbacks of the first candidate of `order`, see `fallbacks_among`."""
    found = fallbacks_among(catalog, order.ahead, count, needed_tokens, is_whole=len(order) <= len(order.ahead))
    return fallbacks_among(catalog, order.whole, count, needed_tokens) or () if found is None else found


def fallbacks_among(
    catalog: Catalog, order: Sequence[int] | Indices, count: int, needed_tokens: int, *, is_whole: bool = True
) -> tuple[str, ...] | None:
    """The next `count` cards after the first of `order`, each at its best effort, as none stands in for another of its
    card. They are in the order of their scores, but near-duplicates of the first card come last: the same weights at
    the same hosts with the same keys, such as adapters of one server, fail together with it.

    Where they all share the first card's host and key, which may be refused, the last of them gives way to the best
    card of another. The same holds where they are all variants of one model, which fail alike on the same prompt, and
    for a card with more context where `needed_tokens` come near that of the first. Where that would undo the one for
    the other, a card that alone meets such a demand gives way only to one that meets both. None where it takes more
    than this beginning of an order that is not `is_whole`.
    """
    facts = once(catalog, "shared", functools.partial(_Shared, catalog))
    first = int(order[0])
    picked, after = facts.next_cards(order, count)
    if len(picked) < count and not is_whole:
        return None
    unlike = facts.unlike(first)
    demands = unlike.demands
    if needed_tokens * _ESTIMATE_FACTOR > facts.context_tokens.item(first):
        demands = (*demands, facts.with_more_context(first))
    kept, places, possible = len(picked), {}, []
    for meets in demands:
        # Where no card at all meets a demand, there is none to look for.
        if b"\1" not in meets:
            continue
        if kept and not _is_met(meets, picked):
            place = facts.first_that(meets, order, after)
            if place is None and not is_whole:
                return None
            if place is None:
                continue
            kept -= 1
            picked[kept] = int(order[place])
            places[picked[kept]] = place
        possible.append(meets)
    chosen = [*picked[:kept], *sorted(picked[kept:], key=places.__getitem__)]
    if places and not all(_is_met(meets, picked) for meets in possible):
        found = facts.next_that_meet(possible, order, count, is_whole=is_whole)
        if found is None:
            return None
        chosen = found
    # The sort is stable.
    chosen.sort(key=unlike.duplicates.__getitem__)
    return tuple([catalog.ids[card] for card in chosen])


class _Unlike(NamedTuple):
    """Which cards differ from one card, and in what: for each question a byte for every card, 1 for yes.

    `demands` ask whether it has a server, or a key, that this card has not, and whether its weights are others.
    `duplicates` are the cards that meet neither.
    """

    demands: tuple[bytes, ...]
    duplicates: bytes


class _Shared:
    """What the cards of a catalogue share, computed once: the request decides only their order.

    `context_tokens`, of shape `(cards,)`, is NaN where a card states none. `_own` has the same number for the efforts
    of one card.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._own, _ = _numbered(catalog.ids_without_effort)
        self._own_list: list[int] = self._own.tolist()
        self._accounts, self._distinct_accounts = _numbered(map(_accounts, catalog))
        self._weights, self._distinct_weights = _numbered(map(_weights, catalog))
        stated = (card.context_tokens for card in catalog)
        self.context_tokens = np.array([np.nan if tokens is None else tokens for tokens in stated])
        self._unlike = functools.lru_cache(_REMEMBERED_FIRSTS)(self._make_unlike)

    def unlike(self, first: int) -> _Unlike:
        """How the cards differ from the card `first`."""
        return self._unlike(self._accounts.item(first), self._weights.item(first))

    def with_more_context(self, first: int) -> bytes:
        """The cards that state more context than the card `first`, or none."""
        return bytes(~(self.context_tokens <= self.context_tokens[first]))

    def next_cards(self, order: Sequence[int] | Indices, count: int) -> tuple[list[int], int]:
        """The next `count` cards after the first, each at its best effort, and where in `order` they end."""
        picked: list[int] = []
        own, place = self._own_list, 0
        seen = {own[order[0]]}
        while len(picked) < count and (place := place + 1) < len(order):
            card = int(order[place])
            if own[card] not in seen:
                seen.add(own[card])
                picked.append(card)
        return picked, place + 1

    def next_that_meet(
        self, demands: Sequence[bytes], order: Sequence[int] | Indices, count: int, *, is_whole: bool
    ) -> list[int] | None:
        """The cards of `next_cards` after exchanges, from the last one on, each of which meets one demand more. None
        where it takes more of an order that is not `is_whole`.
        """
        picked, after = self.next_cards(order, count)
        # In the order in which they give way.
        places = {card: place for place, card in reversed(list(enumerate(picked)))}
        met: list[bytes] = []
        for meets in demands:
            for card in tuple(places):
                if _is_met(meets, places):
                    break
                others = [other for other in places if other != card]
                alone = [each for each in met if not _is_met(each, others)]
                place = self.first_that(_all_of(meets, *alone), order, after)
                if place is None and not is_whole:
                    return None
                if place is not None:
                    del places[card]
                    places[int(order[place])] = place
            if _is_met(meets, places):
                met.append(meets)
        return sorted(places, key=places.__getitem__)

    def first_that(self, meets: bytes, order: Sequence[int] | Indices, after: int) -> int | None:
        """The first place in `order` from `after` on of a card that `meets` has, at its best effort."""
        own = self._own_list
        near = order[:_NEAR].tolist() if isinstance(order, np.ndarray) else order[:_NEAR]
        seen = {own[card] for card in near[:after]}
        for place, card in enumerate(near[after:], after):
            if own[card] not in seen:
                if meets[card]:
                    return place
                seen.add(own[card])
        return self._first_of_many(meets, np.asarray(order), after) if len(order) > _NEAR else None

    def _first_of_many(self, meets: bytes, order: Indices, after: int) -> int | None:
        places, own = np.arange(len(order)), self._own[order]
        best = np.empty(len(self._own), dtype=np.intp)
        # The first effort of each card is written last.
        best[own[::-1]] = places[::-1]
        found = np.frombuffer(meets, dtype=np.bool_)[order] & (best[own] == places)
        found[:after] = False
        place = int(found.argmax())
        return place if found[place] else None

    def _make_unlike(self, accounts: int, weights: int) -> _Unlike:
        account, own = self._distinct_accounts[accounts], self._distinct_weights[weights]
        elsewhere = np.array([not each <= account for each in self._distinct_accounts])[self._accounts]
        others = np.array([own.isdisjoint(each) for each in self._distinct_weights])[self._weights]
        return _Unlike((bytes(elsewhere), bytes(others)), bytes(~(elsewhere | others)))


def _is_met(meets: bytes, cards: Iterable[int]) -> bool:
    return any(map(meets.__getitem__, cards))


def _all_of(*demands: bytes) -> bytes:
    """The cards that meet all of the demands."""
    return functools.reduce(np.bitwise_and, [np.frombuffer(meets, np.uint8) for meets in demands]).tobytes()


def _numbered(values: Iterable[T]) -> tuple[Indices, list[T]]:
    """The number of each value among the different ones, and these."""
    numbers: dict[T, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], dtype=np.intp), list(numbers)


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
