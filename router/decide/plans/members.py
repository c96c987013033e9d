"""The members of a plan on one request: named cards, and the best of those that pass the limits."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from router.cards.catalog import Catalog
from router.decide.fields import DecisionInputs
from router.decide.flags import parse_flags
from router.decide.limits import LimitResult, evaluate
from router.decide.plans.chains import Link, best_in_stages
from router.decide.plans.spec import Best, Chain, Member, Panel, PlanSpec, Reroute, Samples, Segments, Stage
from router.decide.ranking import Order
from router.types import Doubles, Forecast, Mask

_KINDS = {"image": "images", "audio": "audio", "video": "videos", "pdf": "PDF files"}
"""What a stage converts into text, in words."""


class Exempt(NamedTuple):
    """A limit that a member of a chain need not meet: the kind of content that an earlier stage has converted, or the
    client's words, which a card that only converts does not read.
    """

    field: str
    value: str


_ONLY_CONVERTS = frozenset({Exempt("consumes", "text")})


class Members(Struct, frozen=True):
    """Positions of cards in the order of their calls; `writer` is the last of them where the plan has one.

    `exempt` are for each call the limits that do not hold for it; `forecasts` that of each call where they answer
    different parts of the prompt. `problem` says why the plan has no such members; it is `needless` where one card
    answers as well: the first call's, if there are calls.
    """

    calls: tuple[int, ...] = ()
    writer: int | None = None
    exempt: tuple[frozenset[Exempt], ...] = ()
    problem: str = ""
    forecasts: tuple[Forecast, ...] = ()
    needless: bool = False

    def exempts(self, call: int, result: LimitResult) -> bool:
        """Whether a limit does not hold for a call."""
        limit = result.limit
        return bool(self.exempt) and any(
            (each.field, each.value) == (limit.field, limit.value) for each in self.exempt[call]
        )


class Chooser:
    """Chooses members among the cards of one request."""

    def __init__(
        self,
        inputs: DecisionInputs,
        results: Sequence[LimitResult],
        score: Callable[[], Doubles],
        part_score: Callable[[Forecast], Doubles],
        *,
        unknown_passes: bool,
    ) -> None:
        """`results` are the limits of the request; `score`, of shape `(cards,)`, is that of the policy, `part_score`
        the same for a part of the prompt.
        """
        self._part_score = part_score
        self._inputs, self._results, self._unknown_passes = inputs, results, unknown_passes
        self._catalog, self._make_score = inputs.catalog, score
        # By the limits of a member: several plans often state the same.
        self._masks: dict[tuple[str, ...], Mask] = {}
        self._ranked_by: dict[tuple[str, ...], Order] = {}

    def members(self, plan: PlanSpec) -> Members:
        """The members of `plan`."""
        if isinstance(plan, Chain):
            return self._chain(plan)
        if isinstance(plan, Segments):
            return self._segments(plan)
        stated: Sequence[Member] = (plan.member,) if isinstance(plan, Samples) else plan.members
        calls, problem = self._filled(stated)
        if problem:
            return Members(problem=problem)
        if isinstance(plan, Reroute):
            return self._by_forecast(plan, calls)
        if not isinstance(plan, Panel):
            return Members(calls)
        # The best writer may be one of those who answered.
        writer, problem = self._filled((plan.writer,))
        return Members(problem=problem) if problem else Members((*calls, *writer), writer[0])

    def _by_forecast(self, plan: Reroute, calls: Sequence[int]) -> Members:
        """The members with the best forecast first. Where it leads by more than the margin, it answers alone."""
        of_cards = self._inputs.forecast.quality
        quality = {card: 0.0 if math.isnan(known := of_cards.item(card)) else known for card in calls}
        # The sort is stable.
        ranked = tuple(sorted(calls, key=lambda card: -quality[card]))
        lead = quality[ranked[0]] - quality[ranked[1]]
        # A member that fails a limit rejects the plan with its own reason.
        if lead <= plan.margin or not all(map(self._mask(()).item, calls)):
            return Members(ranked)
        problem = leads_by(self._catalog.ids[ranked[0]], lead, plan)
        return Members(ranked, problem=problem, needless=True)

    def _filled(self, stated: Sequence[Member]) -> tuple[tuple[int, ...], str]:
        named = [position_of(self._catalog, member) for member in stated if isinstance(member, str)]
        taken = list(named)
        calls: list[int] = []
        for member in stated:
            if isinstance(member, str):
                calls.append(position_of(self._catalog, member))
                continue
            found = self._best(member.best, self._passing_in_order(member), taken)
            if len(found) < member.best:
                return (), too_few(member, len(found))
            taken += found
            calls += found
        return tuple(calls), ""

    def _chain(self, plan: Chain) -> Members:
        """The cards of least total score by which each stage reads what the one before it writes."""
        exempt: list[frozenset[Exempt]] = []
        converted: frozenset[Exempt] = frozenset()
        stages: list[list[Link]] = []
        for stage in plan.stages:
            is_last = stage is plan.stages[-1]
            exempt.append(converted if is_last or stage.consumes == "text" else converted | _ONLY_CONVERTS)
            stages.append(self._links(stage, exempt[-1], is_last=is_last))
            if not stages[-1]:
                return Members(problem=f"no card passes the limits of the stage from {stage.consumes}")
            if stage.consumes != "text":
                converted |= {Exempt("modality", stage.consumes)}
        found = best_in_stages(stages)
        if not found:
            return Members(problem="no card reads what the cards of the stage before it write")
        calls = [position_of(self._catalog, name) for name in found[0].cards]
        if problem := self._needless_stage(plan, calls):
            return Members(problem=problem, needless=True)
        return Members(tuple(calls), exempt=tuple(exempt))

    def _links(self, stage: Stage, exempt: frozenset[Exempt], *, is_last: bool) -> list[Link]:
        """The cards that may do a stage: the named one, which reads and writes what the file says, or all that pass the
        limits and state that they do.
        """
        reads, writes = frozenset((stage.consumes, "text")), frozenset((stage.produces,))
        if stage.card is not None:
            return [Link(self._catalog.named(stage.card).id, reads, writes, 0.0)]
        found: list[Link] = []
        for position in Order(self.score, ~self._without(exempt)).whole.tolist():
            card = self._catalog[position]
            does = stage.consumes in card.reads and stage.produces in card.writes
            # The client's words go to the last one.
            if does and not (is_last and "text" not in card.reads):
                found.append(Link(card.id, frozenset(card.reads), writes, float(self.score[position])))
        return found

    def _needless_stage(self, plan: Chain, calls: Sequence[int]) -> str:
        """Why the card of the last stage answers better without those before: it reads what they convert. Another one
        that the file names is what its author wants. Empty where that is not so.
        """
        last = self._catalog[calls[-1]]
        for stage, card in zip(plan.stages[:-1], calls, strict=False):
            is_free = plan.stages[-1].card is None or card == calls[-1]
            if is_free and stage.consumes in _KINDS and stage.consumes in last.modalities:
                return f"the card {last.id} reads {_KINDS[stage.consumes]} itself"
        return ""

    def _segments(self, plan: Segments) -> Members:
        """The best card for each part, among those that pass the limits of the whole prompt."""
        parts = self._inputs.forecast.parts
        problem = "the prompt is a single task" if len(parts) < 2 else ""
        if len(parts) > plan.caps.calls:
            problem = f"the prompt has {len(parts)} parts, more than the {plan.caps.calls} calls of its caps"
        if problem:
            return Members(problem=problem, needless=True)
        mask, problem = self._allowed(plan)
        if problem:
            return Members(problem=problem)
        scores = np.where(mask, [self._part_score(part) for part in parts], np.inf)
        calls = tuple(scores.argmin(axis=1).tolist())
        gain = float(scores.mean(axis=0).min() - scores.min(axis=1).mean())
        if len(set(calls)) == 1:
            problem = f"all parts want the same card, {self._catalog.ids[calls[0]]}"
        elif gain <= plan.min_gain:
            problem = f"splitting gains {gain:.3f}, not more than {plan.min_gain:g}"
        return Members(problem=problem, needless=True) if problem else Members(calls, forecasts=parts)

    def _allowed(self, plan: Segments) -> tuple[Mask, str]:
        """The cards that may answer a part; else the reason why there are none."""
        mask = self._mask(())
        if plan.members:
            allowed, problem = self._filled(plan.members)
            if problem:
                return mask, problem
            only = np.zeros_like(mask)
            only[list(allowed)] = True
            mask = mask & only
        return mask, "" if mask.any() else "no card passes the limits"

    def _best(self, count: int, order: Order, taken: Sequence[int]) -> list[int]:
        """The first `count` cards, none of which is another effort of a member."""
        found = self._best_of(count, order.ahead, taken)
        return found if len(found) == count else self._best_of(count, map(int, order.whole), taken)

    def _best_of(self, count: int, ranked: Iterable[int], taken: Sequence[int]) -> list[int]:
        ids = self._catalog.ids_without_effort
        seen = {ids[card] for card in taken}
        found: list[int] = []
        for card in ranked:
            if (id_ := ids[card]) not in seen:
                found.append(card)
                seen.add(id_)
                if len(found) == count:
                    break
        return found

    def _passing_in_order(self, member: Best) -> Order:
        """The cards that pass the limits of a member, by score."""
        ranked = self._ranked_by.get(member.limits)
        if ranked is None:
            ranked = self._ranked_by[member.limits] = Order(self.score, ~self._mask(member.limits))
        return ranked

    @functools.cached_property
    def score(self) -> Doubles:
        """The policy's score, `(cards,)`."""
        return self._make_score()

    def rejected(self, limits: tuple[tuple[str, ...], ...]) -> Mask:
        """The cards that cannot be members with these limits, `(limits, cards)`."""
        return ~np.array([self._mask(texts) for texts in limits])

    def _mask(self, limits: tuple[str, ...]) -> Mask:
        """The cards that pass the limits of the request and these ones of a member."""
        mask = self._masks.get(limits)
        if mask is None:
            mask = self._mask(()) if limits else self._without(frozenset())
            for limit in parse_flags(",".join(limits)).limits:
                mask = mask & ~evaluate(limit, self._inputs, unknown_passes=self._unknown_passes).fails
            self._masks[limits] = mask
        return mask

    def _without(self, exempt: frozenset[Exempt]) -> Mask:
        """The cards that pass all limits but these, and but those on plans."""
        rejected = np.zeros(len(self._catalog), dtype=np.bool_)
        for result in self._results:
            limit = result.limit
            if limit.field not in ("plan", "calls") and (limit.field, limit.value) not in exempt:
                rejected |= result.fails
        return ~rejected


def position_of(catalog: Catalog, name: str) -> int:
    """The position of the card that a plan names."""
    # Plans are loaded with the catalogue, which has every card that they name.
    return catalog.ids.index(catalog.named(name).id)


def too_few(member: Best, found: int) -> str:
    """The problem of a plan of which only so many cards may be this member."""
    words = f"{member.best} with {','.join(member.limits)}" if member.limits else str(member.best)
    return f"best {words}: {found} of {member.best} cards pass the limits"


def leads_by(first: str, lead: float, plan: Reroute) -> str:
    """The problem of a plan whose best member by forecast answers alone."""
    return f"{first} is better than the next member by {lead:.3f}, more than the margin of {plan.margin:g}"
