"""Stacks: adapters of different axes, such as a language and a task, that a server adds up in one request."""

from __future__ import annotations

from collections.abc import Mapping

from router.cards.schema import Card
from router.errors import did_you_mean


def stack_problem(card: Card, cards: Mapping[str, Card]) -> str | None:
    """Why the server of a card cannot add up the adapters of its `stack`, or must not; None where nothing is wrong.

    `cards` are all cards by id, with what they inherit.
    """
    if not card.stack or card.withheld:
        return None
    if len(set(card.stack)) < max(len(card.stack), 2):
        return "must name at least two adapters, each once"
    for name in card.stack:
        if (problem := _member_problem(card, name, cards)) is not None:
            return problem
    members = [cards[name] for name in card.stack]
    axes = [member.axis for member in members]
    if twice := next((axis for axis in axes if axes.count(axis) > 1), None):
        same = " and ".join(member.id for member in members if member.axis == twice)
        return f"{same} are of the same axis ({twice}): they would change the same, and only different ones add up"
    return None


def _member_problem(card: Card, name: str, cards: Mapping[str, Card]) -> str | None:
    member = cards.get(name)
    if member is None:
        return f'there is no card "{name}"{did_you_mean(name, cards)}'
    reasons = {
        f"is not an adapter of {card.base}": member.base != card.base,
        "is a stack itself; name its adapters": bool(member.stack),
        "does not state `stackable: true`": not member.stackable,
        "states no `axis`, and only adapters of different axes are added up": member.axis is None,
        f"{member.withheld}, and a stack calls it": member.withheld is not None,
        "was ported to another base and not probed there (lineage.state)": member.is_untried,
        f"exists for the key {member.tenant} only, and a stack of it must too (tenant)": (
            member.tenant not in (None, card.tenant)
        ),
    }
    if (why := next((why for why, is_so in reasons.items() if is_so), None)) is not None:
        return f'"{name}" {why}'
    if card.lora_slots is None:
        return (
            f"its server must add adapters up in one request, which llama.cpp alone does: state `lora_slots` on "
            f"{card.base} (vLLM, SGLang and LoRAX apply one adapter to a request)"
        )
    return None if name in card.lora_slots else f'"{name}" is not among the `lora_slots` of {card.base}'
