"""Run one plan for one request: within its caps and its time, and with an answer wherever any member has one."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from router.cards.catalog import Catalog
from router.compose.gate import Gate
from router.compose.run.brief import Brief
from router.compose.run.kinds.best_of import run_best_of
from router.compose.run.kinds.cascade import run_cascade
from router.compose.run.kinds.chain import run_chain
from router.compose.run.kinds.committee import run_committee
from router.compose.run.kinds.panel import run_panel
from router.compose.run.kinds.reroute import run_reroute
from router.compose.run.kinds.samples import run_samples
from router.compose.run.kinds.segments import run_segments
from router.compose.run.ledger import Ledger
from router.compose.run.member import PARTIAL, Members
from router.decide.plans.spec import BestOf, Cascade, Chain, Committee, Panel, Reroute, Samples, Segments
from router.dispatch import Call, Dispatcher, UpstreamResponse
from router.dispatch.bounds.admission import Running
from router.dispatch.bounds.body_memory import Reserved
from router.errors import UpstreamError
from router.types import Attempt, ComposedPlan


async def compose(
    dispatcher: Dispatcher,
    catalog: Catalog,
    plan: ComposedPlan,
    call: Call,
    brief: Brief,
    gate: Gate,
    ledger: Ledger,
    attempts: list[Attempt],
    on_attempt: Callable[[], Mapping[str, str]] | None,
    memory: Reserved | None = None,
    running: Running | None = None,
) -> UpstreamResponse:
    """The response to `call`, made by the members of `plan`; the calls are noted in `ledger` and counted at their cards
    in `running`, and the answers that are collected are counted in `memory`.

    At the end of its time, or where members fail, it is the best answer so far; where there is none, that of a
    fallback. Raises what `Dispatcher.send_first_healthy` raises.
    """
    ledger.plan = plan.id

    def note_attempts() -> None:
        attempts[:] = ledger.attempts()

    members = Members(dispatcher, catalog, plan, call, brief, ledger, gate, note_attempts, on_attempt, memory, running)
    left_s = members.ends_s - time.monotonic()
    try:
        async with asyncio.timeout(left_s if math.isfinite(left_s) else None) as limit:
            response = await _KINDS[type(brief.spec)](members, brief.spec)
            if response is None:
                response = await _fall_back(members)
    except TimeoutError:
        if not limit.expired():
            raise
        response = None
        best = members.best([draft for draft in members.drafts if draft.called.role not in PARTIAL])
        if best is None:
            raise UpstreamError(f"{plan.id} had no answer in its time", 504, "late") from None
        return members.shown(best, "deadline")
    return members.failure() if response is None else response


_Kind = Callable[[Members, Any], Awaitable[UpstreamResponse | None]]
_KINDS: Mapping[type[Any], _Kind] = {
    Cascade: run_cascade,
    Committee: run_committee,
    Samples: run_samples,
    Panel: run_panel,
    BestOf: run_best_of,
    Reroute: run_reroute,
    Segments: run_segments,
    Chain: run_chain,
}


async def _fall_back(members: Members) -> UpstreamResponse | None:
    """The answer of the first card that has one, of those that were not asked for a whole answer yet."""
    asked = {called.card.id for called in members.ledger.calls if called.role not in PARTIAL}
    match members.brief.spec:
        case Chain():
            # The last card may not read what the client has sent.
            first: tuple[str, ...] = ()
        case Reroute():
            # Not all members were asked.
            first = members.plan.members
        case _:
            first = (members.plan.card,)
    for card in dict.fromkeys((*first, *members.plan.fallbacks)):
        if card in asked or not members.may_ask():
            continue
        response = await members.live(card, "fallback")
        if response is not None:
            members.ledger.degrade("members")
            return response
    return None
