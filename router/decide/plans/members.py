"""The members of a plan on one request: named cards, and the best of those that pass the limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from router.cards.catalog import Catalog
from router.decide.fields import DecisionInputs
from router.decide.flags import parse_flags
from router.decide.limits import LimitResult, evaluate
from router.decide.plans.spec import Best, Chain, Member, Panel, PlanSpec, Samples, Segments
from router.types import Doubles, Mask


class Exempt(NamedTuple):
    """A limit that a member of a chain need not meet: the kind of content that an earlier stage has converted."""

    field: str
    value: str


class Members(Struct, frozen=True):
    """Positions of cards in the order of their calls; `writer` is the last of them where the plan has one.

    `exempt` are for each call the limits that do not hold for it. `problem` says why the plan has no such members.
    """

    calls: tuple[int, ...] = ()
    writer: int | None = None
    exempt: tuple[frozenset[Exempt], ...] = ()
    problem: str = ""

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
        *,
        unknown_passes: bool,
    ) -> None:
        """`results` are the limits of the request; `score`, of shape `(cards,)`, is that of the policy."""
        self._inputs, self._results, self._unknown_passes = inputs, results, unknown_passes
        self._catalog, self._make_score = inputs.catalog, score
        self._ranked: list[int] | None = None
        self._passing: Mask | None = None

    def members(self, plan: PlanSpec) -> Members:
        """The members of `plan`."""
        if isinstance(plan, Chain):
            return self._chain(plan)
        if isinstance(plan, Segments):
            return Members(problem="the prompt is a single task")
        stated: Sequence[Member] = (plan.member,) if isinstance(plan, Samples) else plan.members
        calls, problem = self._filled(stated)
        if problem:
            return Members(problem=problem)
        if not isinstance(plan, Panel):
            return Members(calls)
        # The best writer may be one of those who answered.
        writer, problem = self._filled((plan.writer,))
        return Members(problem=problem) if problem else Members((*calls, *writer), writer[0])

    def _filled(self, stated: Sequence[Member]) -> tuple[tuple[int, ...], str]:
        named = [_position(self._catalog, member) for member in stated if isinstance(member, str)]
        taken = list(named)
        calls: list[int] = []
        for member in stated:
            if isinstance(member, str):
                calls.append(_position(self._catalog, member))
                continue
            found = self._best(member.best, self._mask(member), taken)
            if len(found) < member.best:
                return (), f"best {_words(member)}: {len(found)} of {member.best} cards pass the limits"
            taken += found
            calls += found
        return tuple(calls), ""

    def _chain(self, plan: Chain) -> Members:
        calls: list[int] = []
        exempt: list[frozenset[Exempt]] = []
        converted: frozenset[Exempt] = frozenset()
        for stage in plan.stages:
            exempt.append(converted)
            if stage.card is not None:
                calls.append(_position(self._catalog, stage.card))
            else:
                found = self._best(1, self._without(converted), ())
                if not found:
                    return Members(problem=f"no card passes the limits of the stage from {stage.consumes}")
                calls += found
            if stage.consumes != "text":
                converted |= {Exempt("modality", stage.consumes)}
        return Members(tuple(calls), exempt=tuple(exempt))

    def _best(self, count: int, mask: Mask, taken: Sequence[int]) -> list[int]:
        """The first `count` cards by score; none of the same model as another member, such as its other efforts."""
        if self._ranked is None:
            self._ranked = np.argsort(self._make_score(), kind="stable").tolist()
        models = {self._catalog[card].server_id for card in taken}
        found: list[int] = []
        for card in self._ranked:
            if mask[card] and (model := self._catalog[card].server_id) not in models:
                found.append(card)
                models.add(model)
                if len(found) == count:
                    break
        return found

    def _mask(self, member: Best) -> Mask:
        if self._passing is None:
            self._passing = self._without(frozenset())
        mask = self._passing
        if member.limits:
            for limit in parse_flags(",".join(member.limits)).limits:
                mask = mask & ~evaluate(limit, self._inputs, unknown_passes=self._unknown_passes).fails
        return mask

    def _without(self, exempt: frozenset[Exempt]) -> Mask:
        """The cards that pass all limits but these, and but those on plans."""
        rejected = np.zeros(len(self._catalog), dtype=np.bool_)
        for result in self._results:
            limit = result.limit
            if limit.field not in ("plan", "calls") and (limit.field, limit.value) not in exempt:
                rejected |= result.fails
        return ~rejected


def _position(catalog: Catalog, name: str) -> int:
    # Plans are loaded with the catalogue, which has every card that they name.
    return catalog.ids.index(catalog.named(name).id)


def _words(member: Best) -> str:
    return f"{member.best} with {','.join(member.limits)}" if member.limits else str(member.best)
