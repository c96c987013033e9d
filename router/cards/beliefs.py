"""What the operator believes of models (`tier`, `stronger_than`): the checks that need all cards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from router.cards.schema import Belief, Card, Effort
from router.errors import did_you_mean

T = TypeVar("T", Card, Effort)


def with_belief(card: Card, beliefs: Mapping[str, Belief]) -> Card:
    """`card` with the beliefs about it and about its efforts; `beliefs` are by the ids of cards."""
    efforts = card.efforts
    if efforts is not None:
        changed = {
            name: _replaced(effort, belief)
            for name, effort in efforts.stated.items()
            if (belief := beliefs.get(f"{card.id}@{name}")) is not None
        }
        card = msgspec.structs.replace(card, efforts=msgspec.structs.replace(efforts, **changed))
    belief = beliefs.get(card.id)
    return card if belief is None else _replaced(card, belief)


def _replaced(stated: T, belief: Belief) -> T:
    fields = {name: value for name in belief.__struct_fields__ if (value := getattr(belief, name))}
    return msgspec.structs.replace(stated, **fields)


def contradiction(by_id: Mapping[str, Card]) -> tuple[str, str, str] | None:
    """The card, the key and the problem where a card is stated to be stronger than one that does not exist, or than
    itself, directly or through others; None where there is none.
    """
    weaker = {card.id: card.stronger_than for card in by_id.values() if card.stronger_than}
    # An adapter's place follows its base's, so a base cannot be stronger than its own adapter, nor a card than its own
    # effort.
    needs = {
        card.id: (*card.stronger_than, *(() if card.origin is None else (card.origin,)))
        for card in by_id.values()
        if card.stronger_than or card.origin is not None
    }
    for card, others in weaker.items():
        for other in others:
            if other not in by_id:
                return *_place(by_id[card]), f'there is no card "{other}"{did_you_mean(other, by_id)}'
    if cycle := _cycle(needs):
        stated = next((card for card in cycle if by_id[card].stronger_than), cycle[0])
        cycle = cycle[cycle.index(stated) :] + cycle[: cycle.index(stated)]
        return *_place(by_id[cycle[0]]), f"contradicts itself: {' > '.join((*cycle, cycle[0]))}"
    return None


def _cycle(weaker: Mapping[str, Sequence[str]]) -> list[str]:
    """Cards each of which is stronger than the next, and the last than the first; empty where there are none."""
    finished: set[str] = set()
    for start in weaker:
        # Without recursion, since a chain may be as long as the catalogue.
        path, branches = [start], [iter(weaker[start])]
        on_path = {start}
        while path:
            card = next((card for card in branches[-1] if card not in finished), None)
            if card is None:
                branches.pop()
                on_path.discard(path[-1])
                finished.add(path.pop())
            elif card in on_path:
                return path[path.index(card) :]
            else:
                path.append(card)
                on_path.add(card)
                branches.append(iter(weaker.get(card, ())))
    return []


def _place(card: Card) -> tuple[str, str]:
    """The card whose YAML states the belief, and the key, whose steps are joined by dots."""
    return (card.effort_of, f"efforts.{card.effort}.stronger_than") if card.effort_of else (card.id, "stronger_than")
