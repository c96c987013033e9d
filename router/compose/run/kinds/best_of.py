"""Members until an answer passes the validators."""

from __future__ import annotations

from router.compose.run.member import Members
from router.compose.run.together import together
from router.decide.plans.spec import BestOf
from router.dispatch import UpstreamResponse


async def run_best_of(members: Members, spec: BestOf) -> UpstreamResponse | None:
    """The first answer that passes; where none does, the one that is most probably right; None where none came.

    In parallel, the members that have not answered by then are given up, so their answers are streamed to the gateway:
    what has arrived of them is charged.
    """
    cards, checks = members.plan.members, spec.validators
    if spec.parallel:
        drafts = [members.draft(card, "draft", stream=True, checks=checks) for card in cards]
        winner = None
        async with together(drafts) as arriving:
            async for draft in arriving:
                if draft is not None and not draft.failed:
                    winner = draft
                    break
        if winner is not None:
            return members.shown(winner)
    else:
        for card in cards:
            draft = await members.draft(card, "draft", checks=checks)
            if draft is not None and not draft.failed:
                return members.shown(draft)
    best = members.best(members.drafts)
    return None if best is None else members.shown(best, "validators")
