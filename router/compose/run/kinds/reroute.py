"""A second choice of the card: with the answer of the first one beside the prompt, another may be better."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from router.compose.run.chat import as_chat
from router.compose.run.draft import Draft
from router.compose.run.kinds.asking import price_of
from router.compose.run.member import Members
from router.decide.plans.spec import Reroute
from router.dispatch import UpstreamResponse
from router.errors import CallerError
from router.wire.texts import newest_human_texts, with_newest_human_texts

_LONGEST_DRAFT = 8_000
"""Characters of a draft that are read: more would not change what a prompt is about."""


async def run_reroute(members: Members, spec: Reroute) -> UpstreamResponse | None:
    """The answer of the last card that was asked; where it has none that can be used, the best one before. None where
    the first member did not answer.

    A client that streams sees a card live after which no other may be asked.
    """
    body, drafts = _chat_body(members), list[Draft]()
    card, *left = members.plan.members
    for handed_over in range(spec.handovers + 1):
        role = "handover" if drafts else "draft"
        is_last = body is None or handed_over == spec.handovers or not left or not members.may_ask(2)
        if is_last and members.call.stream:
            response = await members.live(card, role if drafts else "answer")
            if response is None:
                break
            _reject(drafts)
            return response
        draft = await members.draft(card, role)
        if draft is None:
            break
        drafts.append(draft)
        better = None if is_last or body is None else await _better(members, spec, body, draft, left)
        if better is None:
            break
        left.remove(better)
        card = better
    if not drafts:
        return None
    usable = [draft for draft in drafts if not draft.failed]
    shown = usable[-1] if usable else members.best(drafts)
    assert shown is not None
    _reject([draft for draft in drafts if draft is not shown])
    if shown.failed or members.ledger.calls[-1] is not shown.called:
        members.ledger.degrade("members")
    return members.shown(shown)


async def _better(
    members: Members, spec: Reroute, body: Mapping[str, Any], draft: Draft, left: Sequence[str]
) -> str | None:
    """The card of `left` to which the request is handed over after a draft; None where the draft is kept.

    After an answer that cannot be right it is the next best one. An answer that calls a tool is no text by which cards
    could be compared.
    """
    qualities = members.brief.qualities
    if draft.failed:
        return left[0]
    if draft.whole.has_calls or qualities is None:
        return None
    forecast = await asyncio.to_thread(qualities, with_draft(body, draft.text))
    own = forecast.get(draft.card.id)
    if own is None:
        return None
    draft.called.right = own
    gains = {
        card: gain - price
        for card in left
        if card in forecast and (gain := forecast[card] - own) > max(spec.margin, price := price_of(members, card))
    }
    return max(gains, key=gains.__getitem__, default=None)


def with_draft(body: Mapping[str, Any], draft: str) -> dict[str, Any]:
    """The chat body with a draft after the user's newest text, to be read by the router and by no card."""
    *others, newest = newest_human_texts(body) or ("",)
    return with_newest_human_texts(body, [*others, f"{newest}\n\n{draft[:_LONGEST_DRAFT]}"])


def _chat_body(members: Members) -> Mapping[str, Any] | None:
    """The request in chat; None where chat cannot express it, or where it has no text to forecast by."""
    try:
        body = as_chat(members.call).body
    except CallerError:
        return None
    return body if newest_human_texts(body) else None


def _reject(drafts: Sequence[Draft]) -> None:
    for draft in drafts:
        draft.called.end("rejected", draft.failed or "reroute")
