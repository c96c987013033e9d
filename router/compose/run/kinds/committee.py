"""A committee: members are asked in turn and vote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from router.compose.run.draft import Draft
from router.compose.run.kinds.asking import gate_of, is_worth_asking
from router.compose.run.member import Members
from router.decide.plans.spec import Committee
from router.dispatch import UpstreamResponse


async def run_committee(members: Members, spec: Committee) -> UpstreamResponse | None:
    """The answer that `agree` members give, else the one that is most probably right; None where none answered."""
    drafts = list[Draft]()
    cards = members.plan.members
    for position, card in enumerate(cards):
        if drafts and not is_worth_asking(members, spec.gate, drafts, cards[position:]):
            break
        draft = await members.draft(card, "draft")
        if draft is None:
            continue
        drafts.append(draft)
        if len(most_agreeing(drafts)) >= spec.agree:
            break
    agreeing = most_agreeing(drafts)
    best = members.best(agreeing if len(agreeing) >= spec.agree else drafts, gate_of(members, spec.gate))
    if best is None:
        return None
    if best.failed:
        members.ledger.degrade("members")
    return members.shown(best)


def most_agreeing(drafts: Sequence[Draft]) -> list[Draft]:
    """The drafts that give the most frequent final answer; empty where none gives one."""
    readable = [draft for draft in drafts if draft.answer is not None and not draft.failed]
    if not readable:
        return []
    most_frequent, _ = Counter(draft.answer for draft in readable).most_common(1)[0]
    return [draft for draft in readable if draft.answer == most_frequent]
