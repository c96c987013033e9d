"""Which cards are asked, and which plans of them are compared."""

from __future__ import annotations

import datetime
import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from router.cards.schema import Card
from router.decide.flags import Flags
from router.decide.limits import Limit
from router.decide.plans.rows import OWN_FIELDS
from router.decide.plans.spec import BestOf, Cascade, Committee, FixedGate, GateRule, PlanSpec, Validators
from router.decide.policy import Policy
from router.dispatch.costs import price_of
from router.learn.solving.task import Task
from router.pipeline import Routed, Router
from router.types import Doubles
from router.wire.chat.request import ChatRequest

MOST_CARDS = 12

_FAR_ABOVE = 3.0
"""A card whose forecast is that many times above a limit on cost is not asked at all."""

_CASCADE_GATES: tuple[GateRule, ...] = ("learned", *(FixedGate(each) for each in (0.3, 0.5, 0.7, 0.85, 0.95)))
_COMMITTEE_GATES: tuple[GateRule, ...] = ("learned", FixedGate(0.7), FixedGate(0.97))
_MOST_LABELS = 10
_REGEX_CHARACTERS = 500


class Cards(NamedTuple):
    """The cards to ask, in the order of their forecast costs, and why each other one is not asked.

    `routed` has what is forecast for each example.
    """

    cards: tuple[Card, ...]
    left_out: Mapping[str, str]
    routed: tuple[Routed, ...]


def choose_cards(
    router: Router, task: Task, policy: Policy, unavailable: Mapping[str, str], today: datetime.date | None
) -> Cards:
    """The cards that can answer every example within the limits; of many the best by forecast and price.

    Raises NoCandidateError where there are none.
    """
    elsewhere = {card: "not among the cards of the task" for card in router.catalog.ids if card not in task.cards}
    left_out = {**(elsewhere if task.cards else {}), **unavailable}
    unpriced = {
        card.id: "states no price, so the budget could not be kept" for card in router.catalog if not _has_price(card)
    }
    left_out = {**unpriced, **left_out}
    # A limit of the task is never relaxed, and no plan is compared here.
    strict = msgspec.structs.replace(policy.with_plans(), relax=(), on_empty="error")
    flags = Flags(tuple(limit for limit in task.limits if limit.field not in OWN_FIELDS))
    routed = []
    for probe in task.probes:
        request = ChatRequest.from_body({"messages": list(probe.messages)})
        found = router.route(request, flags=flags, policy=strict, unavailable=left_out, today=today)
        left_out |= {
            card: rejection.reason for card, rejection in found.decision.rejections.items() if card not in left_out
        }
        routed.append(found)
    quality = np.mean([each.forecast.quality for each in routed], axis=0)
    cost_usd = np.mean([each.forecast.cost_usd for each in routed], axis=0)
    left_out |= _too_dear(router, task.limits, cost_usd, left_out)
    passing = [position for position, card in enumerate(router.catalog) if card.id not in left_out]
    kept = set(_best(passing, quality, cost_usd))
    for position in set(passing) - kept:
        left_out[router.catalog[position].id] = f"not among the best {MOST_CARDS} by forecast and price"
    order = sorted(kept, key=lambda position: (np.nan_to_num(cost_usd[position]), router.catalog.ids[position]))
    return Cards(tuple(router.catalog[position] for position in order), left_out, tuple(routed))


def _has_price(card: Card) -> bool:
    return price_of(card) is not None


def _too_dear(
    router: Router, limits: Sequence[Limit], cost_usd: Doubles, left_out: Mapping[str, str]
) -> dict[str, str]:
    most = [float(limit.value) for limit in limits if limit.field == "cost" and limit.op in ("<", "<=")]
    if not most:
        return {}
    return {
        name: f"about {cost:.2g}$ a request is forecast, far above the limit on cost"
        for name, cost in zip(router.catalog.ids, cost_usd, strict=True)
        if name not in left_out and cost > _FAR_ABOVE * min(most)
    }


def _best(passing: Sequence[int], quality: Doubles, cost_usd: Doubles) -> list[int]:
    """The cards that no other beats in forecast and price, then those that only these beat, and so on."""
    left, chosen = list(passing), list[int]()
    while left and len(chosen) < MOST_CARDS:
        front = [one for one in left if not any(_beats(other, one, quality, cost_usd) for other in left)]
        chosen += sorted(front, key=lambda position: (-np.nan_to_num(quality[position]), position))
        left = [position for position in left if position not in front]
    return chosen[:MOST_CARDS]


def _beats(one: int, other: int, quality: Doubles, cost_usd: Doubles) -> bool:
    better = quality[one] >= quality[other] and cost_usd[one] <= cost_usd[other]
    return bool(better and (quality[one] > quality[other] or cost_usd[one] < cost_usd[other]))


def plans_of(task: Task, cards: Sequence[str]) -> Iterator[PlanSpec]:
    """The plans that are compared, of cards in the order of their costs: the cheaper one is asked first."""
    made: dict[str, PlanSpec] = {}

    def add(plan: PlanSpec) -> PlanSpec:
        # Different cards may have the same short name.
        if plan.id in made:
            named = hashlib.sha256(msgspec.json.encode(plan, order="deterministic")).hexdigest()[:6]
            plan = msgspec.structs.replace(plan, id=f"{plan.id}-{named}")
        made[plan.id] = plan
        return plan

    about = _about(task)
    pairs, triples = (tuple(itertools.combinations(cards, size)) for size in (2, 3))
    if "cascade" in task.kinds:
        for members in pairs:
            for gate in _CASCADE_GATES:
                yield add(Cascade(id=_id("cascade", members, gate), description=about, members=members, gate=gate))
    if "committee" in task.kinds:
        for members in (*pairs, *triples):
            for gate in _COMMITTEE_GATES:
                yield add(Committee(id=_id("committee", members, gate), description=about, members=members, gate=gate))
    validators = implied_validators(task)
    if "best_of" in task.kinds and validators is not None:
        for members in (*pairs, *triples):
            name = _id("best-of", members)
            yield add(BestOf(id=name, description=about, members=members, validators=validators))


def implied_validators(task: Task) -> Validators | None:
    """What every right answer has by its form: JSON, or one of a few labels; None where the answers show nothing."""
    graders = {probe.grader for probe in task.probes}
    if graders == {"json"}:
        return Validators(syntax="json")
    if graders == {"whole"}:
        labels = sorted({str(answer) for probe in task.probes for answer in probe.answers})
        pattern = rf"\A\s*(?:{'|'.join(re.escape(label) for label in labels)})\s*\Z"
        if len(labels) <= _MOST_LABELS and 2 * len(labels) <= len(task.probes) and len(pattern) <= _REGEX_CHARACTERS:
            return Validators(regex=pattern)
    return None


def _about(task: Task) -> str:
    text = " ".join(task.description.split())
    return f"Found by route solve for {json.dumps(task.name, ensure_ascii=False)}: {text}"[:500]


def _id(kind: str, members: Sequence[str], gate: GateRule | None = None) -> str:
    shown = {"learned": "", "prior": "-prior", None: ""}
    ending = f"-{gate.threshold:g}".replace(".", "") if isinstance(gate, FixedGate) else shown[gate]
    names = [re.sub(r"[^a-z0-9]+", "-", member.rsplit("/", 1)[-1].lower()).strip("-") for member in members]
    return f"{kind}-{'-'.join(names)}{ending}"
