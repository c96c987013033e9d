"""The checks of a card that need other cards: the base of an adapter, and the adapters in the slots of a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from router.cards.schema import Card
from router.errors import did_you_mean


def base_problem(card: Card, cards: Mapping[str, Card]) -> str | None:
    """Why the `base` of an adapter is none; None where it is the id of a model's card, or the card is no adapter.

    `cards` are all cards by id.
    """
    name = card.base
    if name is None or (base := cards.get(name)) is None:
        return None if name is None else f'there is no card "{name}"{_intended(name, cards)}'
    if base.effort_of is not None:
        return f'"{name}" is an effort; `base` must be {base.effort_of}'
    return None if base.kind == "model" else _adapter_as_base(_chain(card, cards), cards)


def slots_problem(card: Card, cards: Mapping[str, Card]) -> str | None:
    """What is wrong with the `lora_slots` of a card; None where nothing is. `cards` are all cards by id."""
    if card.lora_slots is None or card.effort_of is not None:
        return None
    if card.kind == "adapter":
        return "only the base model's card states the slots of its server"
    if len(set(card.lora_slots)) < len(card.lora_slots):
        return "names an adapter twice"
    for name in card.lora_slots:
        if name not in cards:
            return f'there is no card "{name}"{did_you_mean(name, cards)}'
        if cards[name].base != card.id:
            return f'"{name}" is not an adapter of {card.id}'
    return None


def adapters_problem(card: Card, cards: Mapping[str, Card]) -> tuple[str, str] | None:
    """What is wrong with the `adapters` of a card: the key and the problem; None where nothing is. `cards` are all
    cards by id.
    """
    if card.adapters is None or card.effort_of is not None:
        return None
    if card.kind == "adapter":
        return "adapters", f"only the base model's card states what its servers hold: move it to {card.base}"
    for name in card.adapters.pinned:
        if name not in cards:
            return "adapters.pinned", f'there is no card "{name}"{did_you_mean(name, _adapters_of(card, cards))}'
        if cards[name].base != card.id:
            near = did_you_mean(name, _adapters_of(card, cards))
            return "adapters.pinned", f'"{name}" is not an adapter of {card.id}{near}'
    slots, held = card.adapters.slots, set(card.adapters.pinned)
    if slots is not None and len(held) == slots and any(name not in held for name in _adapters_of(card, cards)):
        return "adapters.pinned", f"takes all {slots} slots of a server, so that no other adapter can be loaded"
    return None


def _adapters_of(card: Card, cards: Mapping[str, Card]) -> list[str]:
    return [other.id for other in cards.values() if other.base == card.id and other.withheld is None]


def _adapter_as_base(chain: Sequence[str], cards: Mapping[str, Card]) -> str:
    """What is wrong where the second of a `chain` of bases is an adapter."""
    *before, last = chain
    hint = ""
    if cards[last].kind == "model":
        hint = f'; did you mean "{last}", on which it is based?'
    elif last in before and len(chain) > 2:
        hint = f"; the bases go round: {' > '.join(chain)}"
    return f'"{chain[1]}" is an adapter; `base` must be the id of a model\'s card{hint}'


def _intended(name: str, cards: Mapping[str, Card]) -> str:
    """Whose other name this is (an adapter's own files name the model, not the card), else a similar id."""
    owner = next((card.id for card in cards.values() if name in (*card.aliases, card.model)), None)
    if owner is None or cards[owner].kind != "model":
        models = [card.id for card in cards.values() if card.kind == "model" and card.effort_of is None]
        return did_you_mean(name, models) or "; add the base's card to the folder"
    return f'; "{name}" is the model of the card "{owner}": `base` must be this id'


def _chain(card: Card, cards: Mapping[str, Card]) -> list[str]:
    """The ids from the card along its bases: to a model, to a card that is missing, or to one that occurs twice."""
    chain = [card.id]
    while (base := cards[chain[-1]].base) is not None and base in cards:
        chain.append(base)
        if base in chain[:-1]:
            break
    return chain
