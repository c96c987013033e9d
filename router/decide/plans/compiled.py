"""The members and figures of plans by the compiled kernel, which `members`, `outlook` and `forecast` specify.

Chains, and segments of a prompt with several parts, are not compiled, nor is what columns forecast.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from router.cards.catalog import Catalog
from router.decide.fields import once_bounded
from router.decide.plans.forecast.expected import Constants
from router.decide.plans.forecast.vote import (
    asked_at_once,
    latents,
    normal_grid,
    quadrature,
    sampled,
    size_of_samples,
    weights_by_first,
)
from router.decide.plans.members import Chooser, Members, leads_by, position_of, too_few
from router.decide.plans.outlook import Costs, Figures, Price, caught_by, rule_of
from router.decide.plans.spec import (
    Best,
    BestOf,
    Cascade,
    Committee,
    Member,
    Panel,
    PlanSpec,
    Reroute,
    Samples,
)
from router.errors import UnknownModelError
from router.perceive import kernel

_KINDS = (Cascade, Committee, Samples, Panel, BestOf, Reroute)
"""In the order of the extension."""

_Compiled = Cascade | Committee | Samples | Panel | BestOf | Reroute

_MOST_VOTERS = 5
"""What the extension has room for; where a plan needs more, Python is used."""

Found = tuple[Members, Figures | None]
"""The members of a plan, and its figures where it has members that do not answer as well alone."""


class CompiledPlans:
    """Plans on the cards of a catalogue, bound to the compiled kernel."""

    def __init__(self, extension: Any, plans: Sequence[PlanSpec], catalog: Catalog, constants: Constants) -> None:
        """Raises ValueError where the extension has no room for them."""
        self._ids = catalog.ids
        # By the position in `plans`, the number of a compiled plan.
        self._numbers: dict[int, int] = {}
        self._plans: list[_Compiled] = []
        self._limits: dict[tuple[str, ...], int] = {(): 0}
        self._members: list[tuple[int, int, int]] = []
        self._tables: list[float] = []
        rows, numbers = [], []
        for position, plan in enumerate(plans):
            if not isinstance(plan, _KINDS) or _voters(plan) > _MOST_VOTERS:
                continue
            self._numbers[position] = len(self._plans)
            self._plans.append(plan)
            rows.append(self._row(plan, catalog, constants))
            numbers.append(_numbers_of(plan, constants))
        ids = catalog.ids_without_effort
        numbered = {name: number for number, name in enumerate(dict.fromkeys(ids))}
        (grid, cdf), (nodes, weights), (qualities, latent) = (
            normal_grid(),
            quadrature(),
            latents(constants.correlation),
        )
        of_all = (
            *(constants.correlation, constants.hardness, constants.readable),
            *(constants.moved, constants.form_error),
        )
        self._bound = extension.Plans(
            np.array([numbered[name] for name in ids], dtype=np.int64),
            len(self._limits),
            np.array(rows, dtype=np.int64),
            np.array(numbers, dtype=np.float64),
            np.array(self._members, dtype=np.int64),
            np.array(self._tables, dtype=np.float64),
            np.array(of_all),
            *(kernel.contiguous(each, np.float64) for each in (grid, cdf, nodes, weights, qualities, latent)),
        )

    def __call__(self, positions: Iterable[int], chooser: Chooser, costs: Costs, price: Price) -> dict[int, Found]:
        """What is found of the plans at these positions; without those that Python has to forecast."""
        wanted = [position for position in positions if position in self._numbers]
        if not wanted:
            return {}
        scale = price.scale
        found = self._bound.expected(
            tuple([self._numbers[position] for position in wanted]),
            chooser.score,
            chooser.rejected(tuple(self._limits)),
            costs.arrays,
            *(price.constant, price.cheapest, price.loss),
            *((0.0, 1.0) if scale is None else (scale.unit, scale.width)),
        )
        if found is None:
            return {}
        return {
            position: self._found(self._plans[self._numbers[position]], *each)
            for position, each in zip(wanted, found, strict=True)
            if each is not None
        }

    def _found(self, plan: _Compiled, calls: Any, of_calls: Any) -> Found:
        if isinstance(of_calls, tuple):
            writer = calls[-1] if isinstance(plan, Panel) else None
            return Members(calls, writer), Figures(*of_calls)
        if isinstance(plan, Reroute) and isinstance(of_calls, float):
            first = self._ids[calls[0]]
            return Members(calls, problem=leads_by(first, of_calls, plan), needless=True), None
        stated = [*_members_of(plan), *((plan.writer,) if isinstance(plan, Panel) else ())]
        return Members(problem=too_few(stated[calls], of_calls)), None

    def _row(self, plan: _Compiled, catalog: Catalog, constants: Constants) -> tuple[int, ...]:
        """The integers of a plan; its members and tables are added to the others'."""
        members, first, tables = _members_of(plan), len(self._members), len(self._tables)
        for member in (*members, *((plan.writer,) if isinstance(plan, Panel) else ())):
            if isinstance(member, Best):
                self._members.append((-1, member.best, self._limits.setdefault(member.limits, len(self._limits))))
            else:
                self._members.append((position_of(catalog, member), 1, 0))
        times = at_once = parallel = 0
        match plan:
            case Committee(agree=agree):
                count = _voters(plan)
                for strongest in range(count):
                    weights = weights_by_first(count, agree, strongest, constants.wrong_agreement)
                    self._tables += weights.ravel().tolist()
            case Samples(n=n, confidence=confidence):
                times, at_once, parallel = n, asked_at_once(n, confidence), plan.caps.parallel
                vote = sampled(n, confidence, constants.sample_wrong_agreement)
                self._tables += [*vote.right, *itertools.chain.from_iterable(vote.made[at_once:])]
                self._tables += size_of_samples(n, constants.sample_correlation)
            case Reroute(handovers=handovers):
                times = handovers
            case BestOf(parallel=is_parallel):
                parallel = int(is_parallel)
        kind = next(number for number, kind in enumerate(_KINDS) if isinstance(plan, kind))
        return kind, first, len(members), times, at_once, parallel, tables


def compiled_plans(
    plans: Sequence[PlanSpec], catalog: Catalog, constants: Constants, key: object
) -> CompiledPlans | None:
    """The plans on this catalogue, bound once by `key`; None where there is no kernel, or no room for them."""
    extension = kernel.extension()
    if extension is None:
        return None

    def bound() -> CompiledPlans | None:
        try:
            return CompiledPlans(extension, plans, catalog, constants)
        except (ValueError, UnknownModelError):
            return None

    return once_bounded(catalog, (key, constants), bound)


def _voters(plan: _Compiled) -> int:
    """How many members of a committee vote; 0 for other plans."""
    if not isinstance(plan, Committee):
        return 0
    return sum(member.best if isinstance(member, Best) else 1 for member in plan.members)


def _members_of(plan: _Compiled) -> tuple[Member, ...]:
    return (plan.member,) if isinstance(plan, Samples) else plan.members


def _numbers_of(plan: _Compiled, constants: Constants) -> tuple[float, ...]:
    """Separation and threshold of the gate (-1: none is fixed), the margin, and the share of wrong answers caught."""
    separation, threshold, margin, caught = 0.0, None, 0.0, 0.0
    match plan:
        case Cascade(gate=gate) | Committee(gate=gate):
            separation, threshold = rule_of(gate, constants)
        case Reroute():
            margin = plan.margin
        case BestOf():
            caught = caught_by(plan.validators, constants)
    return separation, -1.0 if threshold is None else threshold, margin, caught
