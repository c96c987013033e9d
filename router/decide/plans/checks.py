"""What is wrong with a plan, by the key that is to be changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from router.cards.catalog import Catalog
from router.decide.flags import parse_flags
from router.decide.plans.shape import capped_calls, members_of
from router.decide.plans.spec import (
    MOST_MEMBERS,
    PREFIX,
    Best,
    BestOf,
    Chain,
    Committee,
    Panel,
    PlanSpec,
    Reroute,
    Samples,
    Segments,
)
from router.errors import FlagError, did_you_mean
from router.formats.patterns import invalid_pattern
from router.formats.yaml.parsed import KeyPath

_CONTENT = ("text", "image", "audio", "video", "pdf")
"""What a stage of a chain may consume and produce."""

NESTED = "a plan cannot be a member of a plan; name cards, or {best: 1}"


def problems_of(plan: PlanSpec) -> Iterator[tuple[KeyPath, str]]:
    """What is wrong with a plan whatever the cards are: the path of the key, and the problem."""
    yield from _member_problems(plan)
    match plan:
        case Committee(members=members, agree=agree) if agree > (count := _count(members)):
            yield ("agree",), f"{agree} equal answers cannot come from {count} members"
        case Panel(members=members, quorum=quorum) if quorum > (count := _count(members)):
            yield ("quorum",), f"{quorum} answers cannot come from {count} members"
        case Reroute(members=members, handovers=handovers) if handovers >= (count := _count(members)):
            yield ("handovers",), f"{handovers} handovers need {handovers + 1} members, not {count}"
        case BestOf(validators=validators) if validators.regex and (problem := invalid_pattern(validators.regex)):
            yield ("validators", "regex"), problem
        case Chain(stages=stages):
            for number, stage in enumerate(stages):
                for key, content in (("consumes", stage.consumes), ("produces", stage.produces)):
                    if content not in _CONTENT:
                        hint = did_you_mean(content, _CONTENT) or f"; known: {', '.join(_CONTENT)}"
                        yield ("stages", number, key), f'unknown content "{content}"{hint}'
                if number and stage.consumes != (before := stages[number - 1].produces):
                    problem = f'the stage consumes "{stage.consumes}", but the stage before it produces "{before}"'
                    yield ("stages", number, "consumes"), problem
            if stages[-1].produces != "text":
                produced = stages[-1].produces
                yield ("stages", len(stages) - 1, "produces"), f'the last stage must produce "text", not "{produced}"'
    needed = capped_calls(plan)
    if needed > plan.caps.calls:
        yield ("caps", "calls"), f"the plan may make {needed} calls, more than the {plan.caps.calls} that are allowed"


def _member_problems(plan: PlanSpec) -> Iterator[tuple[KeyPath, str]]:
    named: set[str] = set()
    for path, member in members_of(plan):
        if isinstance(member, Best):
            for problem in _limit_problems(member):
                yield (*path, "limits"), problem
        elif member == "auto" or member.startswith((PREFIX, "auto/", "auto[")):
            yield path, f'"{member}": {NESTED}'
        elif path[0] == "members" and member in named:
            yield path, f'the card "{member}" is named twice; a plan of kind samples asks one card several times'
        else:
            named.add(member)
    match plan:
        case Samples(member=Best(best=best)) if best != 1:
            yield ("member", "best"), "a plan of kind samples asks one card; state {best: 1}"
        case Panel(writer=Best(best=best)) if best != 1:
            yield ("writer", "best"), "one card writes; state {best: 1}"
    if not isinstance(plan, Samples | Segments | Chain):
        count = _count(plan.members)
        if count < 2:
            yield ("members",), f"{count} member is no {plan.kind}; name at least two cards, or {{best: 2}}"
        if count > MOST_MEMBERS:
            yield ("members",), f"{count} members are more than {MOST_MEMBERS}"


def _limit_problems(member: Best) -> Iterator[str]:
    try:
        flags = parse_flags(",".join(member.limits))
    except FlagError as error:
        yield error.problem
        return
    if flags.goals:
        yield f"{next(iter(flags.goals))} is a goal; a member has limits only, the policy has the goals"
    for limit in flags.limits:
        if limit.field in ("plan", "calls"):
            yield f"{limit.text} is a limit on plans; members are cards"


def _count(members: Sequence[str | Best]) -> int:
    return sum(member.best if isinstance(member, Best) else 1 for member in members)


def unknown_cards(plan: PlanSpec, catalog: Catalog, ids: frozenset[str]) -> Iterator[tuple[KeyPath, str]]:
    """The cards that a plan names and that are missing, or cannot do what it needs. `ids` are those of plans."""
    for path, member in members_of(plan):
        if isinstance(member, Best):
            continue
        position = catalog.position(member)
        if position is None:
            nested = f"; it is a plan: {NESTED}" if member in ids else did_you_mean(member, catalog.ids)
            yield path, f'there is no card "{member}"{nested}'
        elif isinstance(plan, Chain):
            stage, card = plan.stages[int(path[1])], catalog[position]
            if stage.consumes not in card.modalities:
                accepted = ", ".join(card.modalities)
                yield path, f'the card "{member}" does not accept {stage.consumes}, only {accepted}'
