"""The tables of `fallbacks_among` choose what the rule of its docstring, followed card by card, chooses."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from router.cards.catalog import Catalog
from router.cards.schema import Card
from router.decide.fallbacks import fallbacks_among
from tests.decide.cards import card


def by_the_rule(catalog: Catalog, order: Sequence[int], count: int, needed_tokens: int) -> list[str]:
    first, seen, others = catalog[order[0]], {catalog[order[0]].id_without_effort}, []
    for each in (catalog[position] for position in order):
        if each.id_without_effort not in seen:
            seen.add(each.id_without_effort)
            others.append(each)

    def is_there(each: Card) -> bool:
        return (each.provider, each.base_url, each.api_key_env) == (first.provider, first.base_url, first.api_key_env)

    def is_the_same_model(each: Card) -> bool:
        return not {each.base or each.id, each.model}.isdisjoint({first.base or first.id, first.model})

    demands: list[Callable[[Card], bool]] = [lambda each: not is_there(each), lambda each: not is_the_same_model(each)]
    room = first.context_tokens
    if room is not None and 2 * needed_tokens > room:
        demands.append(lambda each: each.context_tokens is None or each.context_tokens > room)
    demands = [meets for meets in demands if any(map(meets, others))]
    chosen = exchanged(others, count, demands, keeps=False)
    if not all(any(map(meets, chosen)) for meets in demands):
        chosen = exchanged(others, count, demands, keeps=True)
    return [each.id for each in sorted(chosen, key=lambda each: is_there(each) and is_the_same_model(each))]


def exchanged(others: list[Card], count: int, demands: Sequence[Callable[[Card], bool]], *, keeps: bool) -> list[Card]:
    """The first cards after exchanges for those that meet the demands; with `keeps`, for those that also meet what the
    card alone does that gives way.
    """
    picked, later, met = others[count - 1 :: -1] if count else [], others[count:], list[Callable[[Card], bool]]()
    for meets in demands:
        for given_way in list(picked):
            if any(map(meets, picked)):
                break
            rest = [each for each in picked if each is not given_way]
            alone = [each for each in met if keeps and not any(map(each, rest))]
            better = next((each for each in later if meets(each) and all(also(each) for also in alone)), None)
            picked = picked if better is None else [*rest, better]
        if any(map(meets, picked)):
            met.append(meets)
    return sorted(picked, key=others.index)


@pytest.mark.parametrize("seed", range(120))
def test_the_fallbacks_are_those_of_the_rule(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(seed)
    monkeypatch.setattr("router.decide.fallbacks._NEAR", draw.choice([2, 256]))
    cards = []
    for number in range(draw.randint(1, 14)):
        facts = {
            "model": f"m{draw.randint(0, 3)}",
            "base_url": f"https://h{draw.randint(0, 2)}.example.org/v1",
            "api_key_env": draw.choice(["A", "B"]),
            "context": draw.choice(["4k", "8k", "32k"]),
            "efforts": draw.choice([None, None, {"low": {}, "high": {}}]),
        }
        cards.append(card(f"c{number}", **{name: value for name, value in facts.items() if value is not None}))
    catalog = Catalog(cards)
    order = list(range(len(catalog)))
    draw.shuffle(order)
    for count in range(5):
        needed = draw.choice([10, 3_000, 20_000])
        found = fallbacks_among(catalog, order, count, needed)
        assert list(found) == by_the_rule(catalog, order, count, needed)
        assert fallbacks_among(catalog, np.array(order), count, needed) == found
