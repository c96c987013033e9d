"""Several samples of one card, of which the most frequent answer is taken."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from router.compose.run.draft import Draft
from router.compose.run.member import Members
from router.compose.run.together import together
from router.decide.plans.forecast.vote import asked_at_once, is_decided
from router.decide.plans.spec import Samples
from router.dispatch import Call, UpstreamResponse


async def run_samples(members: Members, spec: Samples) -> UpstreamResponse | None:
    """The most frequent answer, as the first sample that gave it wrote it; None where no sample came.

    As many samples as are needed in any case are asked for at once, then one after the other. A text without a final
    answer has no vote, and where none has one, the first sample is taken.
    """
    card, call = members.plan.members[0], at_temperature(members.call, spec.temperature)
    first = asked_at_once(spec.n, spec.confidence)
    drafts = list[Draft]()
    async with together([members.draft(card, "sample", call) for _ in range(first)]) as arriving:
        async for draft in arriving:
            if draft is not None:
                drafts.append(draft)
    tried = first
    while drafts and tried < spec.n and any(draft.answer for draft in drafts):
        if is_decided(list(votes(drafts).values()), spec.n - tried, spec.confidence):
            break
        sample = await members.draft(card, "sample", call)
        tried += 1
        if sample is None:
            break
        drafts.append(sample)
    if not drafts:
        return None
    counts = votes(drafts)
    if not counts:
        best = members.best(drafts[:1])
    else:
        leading = counts.most_common(1)[0][0]
        for draft in drafts:
            draft.called.right = round(counts.get(draft.answer, 0) / counts.total(), 4)
        best = next(draft for draft in drafts if draft.answer == leading and not draft.failed)
    assert best is not None
    if best.failed:
        members.ledger.degrade("members")
    return members.shown(best)


def votes(drafts: list[Draft]) -> Counter[object]:
    """How often each final answer was given, in the order of the first time."""
    return Counter(draft.answer for draft in drafts if draft.answer is not None and not draft.failed)


def at_temperature(call: Call, temperature: float) -> Call:
    """The call at a temperature, where its protocol has that field."""
    if call.api in ("ollama_chat", "ollama_generate"):
        options = call.body.get("options")
        changed: dict[str, Any] = {
            "options": {**(options if isinstance(options, dict) else {}), "temperature": temperature}
        }
    else:
        changed = {"temperature": temperature}
    body = {**call.body, **changed}
    return msgspec.structs.replace(call, body=body, chat_body=body if call.api == "chat" else None)
