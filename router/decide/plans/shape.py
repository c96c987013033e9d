"""What a plan consists of: its members by their keys, and how many calls it may make."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from router.cards.catalog import Catalog
from router.decide.plans.forecast.columns import Measured, measured_as
from router.decide.plans.spec import (
    Best,
    Chain,
    Member,
    Panel,
    PlanSpec,
    Reroute,
    Samples,
    Segments,
)
from router.formats.yaml.parsed import KeyPath


def members_of(plan: PlanSpec) -> Iterator[tuple[KeyPath, Member]]:
    """The members that a plan states, with the path of each in the file. A stage without a card has none."""
    match plan:
        case Samples(member=member):
            yield ("member",), member
        case Chain(stages=stages):
            for number, stage in enumerate(stages):
                if stage.card is not None:
                    yield ("stages", number, "card"), stage.card
        case _:
            for number, member in enumerate(plan.members):
                yield ("members", number), member
            if isinstance(plan, Panel):
                yield ("writer",), plan.writer


def cards_named_in(plan: PlanSpec) -> Iterator[str]:
    """The ids of the cards that a plan names as members."""
    return (member for _, member in members_of(plan) if isinstance(member, str))


def capped_calls(plan: PlanSpec) -> int:
    """The greatest number of calls that a plan makes. Of segments it is two at least, as many as the parts at most."""
    match plan:
        case Samples(n=n):
            return n
        case Chain(stages=stages):
            return len(stages)
        case Segments():
            return 2
        case Reroute(handovers=handovers):
            return 1 + handovers
        case _:
            count = sum(member.best if isinstance(member, Best) else 1 for member in plan.members)
            return count + isinstance(plan, Panel)


def measurable(plans: Iterable[PlanSpec], catalog: Catalog) -> list[Measured]:
    """What of these plans recorded answers can show: cascades and committees that name all their members."""
    found: dict[Measured, None] = {}
    for plan in plans:
        named = tuple(catalog.named(card).id for card in cards_named_in(plan))
        measured = measured_as(plan, named)
        if measured is not None and len(named) == sum(1 for _ in members_of(plan)) >= 2:
            found[measured] = None
    return list(found)
