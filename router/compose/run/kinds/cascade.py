"""A cascade: the next member is asked only where the gate says so."""

from __future__ import annotations

from router.compose.run.draft import Draft
from router.compose.run.kinds.asking import gate_of, is_worth_asking
from router.compose.run.member import Members
from router.decide.plans.spec import Cascade
from router.dispatch import UpstreamResponse


async def run_cascade(members: Members, spec: Cascade) -> UpstreamResponse | None:
    """The answer that the gate accepts, else the one that is most probably right; None where no member answered.

    A client that streams sees the last possible member live: nothing could follow it.
    """
    cards, drafts = members.plan.members, list[Draft]()
    for position, card in enumerate(cards):
        if drafts and not is_worth_asking(members, spec.gate, drafts, cards[position:]):
            break
        is_last = position == len(cards) - 1 or not members.may_ask(2)
        if is_last and members.call.stream:
            response = await members.live(card, "answer")
            if response is not None:
                for draft in drafts:
                    draft.called.end("rejected", draft.failed or "gate")
                return response
            break
        answered = await members.draft(card, "draft")
        if answered is not None:
            drafts.append(answered)
    best = members.best(drafts, gate_of(members, spec.gate))
    if best is None:
        return None
    for draft in drafts:
        if draft is not best:
            draft.called.end("rejected", draft.failed or "gate")
    if best.failed or members.ledger.calls[-1].verdict == "failed":
        members.ledger.degrade("members")
    return members.shown(best)
