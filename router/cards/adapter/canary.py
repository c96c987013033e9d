"""Canaries: cards that answer a share of the conversations that would go to another card."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from router.cards.schema import Card
from router.errors import did_you_mean


class Canary(Struct, frozen=True):
    """The card `card` takes a `share` of the conversations of the card `of`.

    `trial` are the ids of the two as they state it: the efforts of a card are on trial together with it. `tenant` is
    the only key for which the canary exists, if it states one.
    """

    card: str
    of: str
    share: float
    trial: tuple[str, str]
    tenant: str | None = None


def canaries_of(cards: Iterable[Card]) -> Mapping[str, Canary]:
    """The canaries among `cards` by the ids of the cards whose traffic they share, an effort beside the same effort."""
    given = tuple(cards)
    ids = {card.id for card in given}
    found: dict[str, Canary] = {}
    for card in given:
        lineage = card.lineage
        if not card.is_canary or lineage is None or lineage.of is None or lineage.share is None:
            continue
        of = lineage.of if card.effort is None else f"{lineage.of}@{card.effort}"
        if of in ids:
            found[of] = Canary(card.id, of, float(lineage.share), (card.id_without_effort, lineage.of), card.tenant)
    return found


def canary_problem(card: Card, cards: Mapping[str, Card]) -> str | None:
    """What is wrong with `lineage.of` of a canary; None where nothing is. `cards` are all cards by id."""
    lineage = card.lineage
    if not card.is_canary or lineage is None or lineage.of is None or card.effort_of is not None:
        return None
    of = cards.get(lineage.of)
    if of is None:
        return f'there is no card "{lineage.of}"{did_you_mean(lineage.of, cards)}'
    if of.id == card.id:
        return "names the card itself; name the one whose place it may take"
    if of.effort_of is not None:
        return f'"{of.id}" is an effort; name the card {of.effort_of}, whose efforts are on trial with it'
    reasons = {
        f"is never chosen itself (lineage.state: {of.lineage.state if of.lineage else None})": of.is_untried,
        # Else the description of this card would show the name of that one to keys for which it does not exist.
        f"exists for the key {of.tenant} only (tenant); state `tenant: {of.tenant}` here, too": (
            of.tenant not in (None, card.tenant)
        ),
    }
    if (why := next((why for why, is_so in reasons.items() if is_so), None)) is not None:
        return f'"{of.id}" {why}'
    rivals = (each for each in cards.values() if each.is_canary and each.effort_of is None and each.id < card.id)
    rival = next((each.id for each in rivals if each.lineage is not None and each.lineage.of == of.id), None)
    return None if rival is None else f'"{rival}" is a canary of "{of.id}", too; try one at a time'


def why_untried(card: Card) -> str:
    """Why a card that `is_untried` is no candidate by itself."""
    lineage = card.lineage
    if lineage is not None and lineage.state == "canary":
        return f"takes {100 * (lineage.share or 0):.4g}% of the conversations of {lineage.of} (lineage.state: canary)"
    return "ported to another base and not tried there (lineage.state: ported); onboard it, then route promote"
