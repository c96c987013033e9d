"""What plans achieved on common answers, by the forecasts of their members: the forecast of a plan that was measured.

`route train --plans` carries a plan out on recorded answers, at several prices of money, and fits the results. A
column belongs to cards in the order in which they are asked; for other cards the closed forms (`expected`) hold.
"""

from __future__ import annotations

import bisect
import itertools
import math
import operator
from collections.abc import Sequence
from typing import NamedTuple

from msgspec import Struct

from router.decide.plans.forecast.expected import Column, Expected
from router.decide.plans.spec import Cascade, Committee, FixedGate, PlanSpec

LEAST = 0.02
"""Forecasts of members are clipped to [LEAST, 1 - LEAST]: no sum of answers says what lies beyond."""

Weights = tuple[float, ...]

MEASURED_KINDS = (Cascade, Committee)
"""The kinds of plans of which answers can show what they achieve."""


class Measured(NamedTuple):
    """What a column is of: a kind of plan, the ids of its cards, the equal answers that end a vote (0 where there is
    none), and the probability from which an answer is accepted, None where the gate compares gain and price.
    """

    kind: str
    members: tuple[str, ...]
    agree: int
    threshold: float | None


def measured_as(plan: PlanSpec, members: tuple[str, ...]) -> Measured | None:
    """What the column of a plan with these members is of; None where answers cannot show what it achieves."""
    if not isinstance(plan, MEASURED_KINDS) or plan.gate == "prior":
        return None
    threshold = plan.gate.threshold if isinstance(plan.gate, FixedGate) else None
    return Measured(plan.kind, members, plan.agree if isinstance(plan, Committee) else 0, threshold)


class PlanColumn(Struct, frozen=True, forbid_unknown_fields=True):
    """The quality and the calls of one plan, from the log-odds of its members' forecasts.

    `prices`, ascending, are those of the calls after the first together, in units of quality, at which the plan was
    carried out; a single one where its gate does not compare them. `quality` has for each price logistic weights, the
    constant first. `calls` has for each call after the first the weights of the members, and `asked` for each of them
    the constant at each price, which never rises. `error` is the standard deviation of the mean forecast from the mean
    outcome on prompts to which the column was not fitted; `prompts` and `source` are the number of prompts and the set.
    """

    kind: str
    members: tuple[str, ...]
    agree: int
    threshold: float | None
    prices: Weights
    quality: tuple[Weights, ...]
    calls: tuple[Weights, ...]
    asked: tuple[Weights, ...]
    error: float
    prompts: int
    source: str

    @property
    def measured(self) -> Measured:
        """What the column is of."""
        return Measured(self.kind, self.members, self.agree, self.threshold)

    @property
    def words(self) -> str:
        """Where the forecast comes from, in words."""
        return f"column of {self.prompts} answered prompts of {self.source}"

    def problem(self) -> str | None:
        """What is wrong with the sizes and numbers, None where nothing is."""
        members, prices = len(self.members), len(self.prices)
        sizes = [
            ("quality", len(self.quality), prices),
            ("calls", len(self.calls), members - 1),
            ("asked", len(self.asked), members - 1),
            *(("quality", len(each), members + 1) for each in self.quality),
            *(("calls", len(each), members) for each in self.calls),
            *(("asked", len(each), prices) for each in self.asked),
        ]
        for name, size, expected in sizes:
            if size != expected:
                return f"{name} has {size} entries, expected {expected}"
        numbers = [*self.prices, self.error, *(number for each in self.quality for number in each)]
        numbers += [number for each in (*self.calls, *self.asked) for number in each]
        if not all(map(math.isfinite, numbers)):
            return "has a number that is not finite"
        if members < 2 or not prices or self.error < 0:
            return "needs two members, a price and an error that is not negative"
        if any(later <= before for before, later in itertools.pairwise(self.prices)):
            return "prices do not rise"
        rises = any(later > before for each in self.asked for before, later in itertools.pairwise(each))
        return "asked rises with the price" if rises else None

    def expected(self, columns: Sequence[Column], prices: Column) -> Expected:
        """The quality for every column of members' forecasts, and for the first one the probability of each call.

        `prices` are the costs of the calls in units of quality, as the closed forms take them.
        """
        lower, share = self._place(sum(prices[1:]))
        upper = min(lower + 1, len(self.prices) - 1)
        weights = _between(self.quality[lower], self.quality[upper], share)
        log_odds = [[_log_odds(p) for p in column] for column in columns]
        qualities = [_probability(weights[0] + sum(map(operator.mul, weights[1:], row))) for row in log_odds]
        reach = [1.0]
        for of_members, constants in zip(self.calls, self.asked, strict=True):
            constant = constants[lower] + share * (constants[upper] - constants[lower])
            asked = _probability(constant + sum(map(operator.mul, of_members, log_odds[0])))
            # No call is made without the one before it.
            reach.append(min(asked, reach[-1]))
        return Expected(qualities, reach)

    def _place(self, price: float) -> tuple[int, float]:
        """The last measured price that is not above `price`, and how far towards the next one it is, in [0, 1)."""
        lower = bisect.bisect_right(self.prices, price) - 1
        if lower < 0:
            return 0, 0.0
        if lower == len(self.prices) - 1:
            return lower, 0.0
        before, after = self.prices[lower], self.prices[lower + 1]
        return lower, (price - before) / (after - before)


class Columns:
    """The columns of an artifact, by what they are of."""

    def __init__(self, columns: Sequence[PlanColumn] = ()) -> None:
        self.all = tuple(columns)
        self._by_measured = {column.measured: column for column in columns}

    def __bool__(self) -> bool:
        return bool(self.all)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Columns) and self.all == other.all

    def __hash__(self) -> int:
        return hash(self.all)

    def of(self, plan: PlanSpec, members: tuple[str, ...]) -> PlanColumn | None:
        """The column of a plan with these members; None where there is none."""
        if not self.all or (measured := measured_as(plan, members)) is None:
            return None
        return self._by_measured.get(measured)


NO_COLUMNS = Columns()


def _between(one: Weights, other: Weights, share: float) -> Weights:
    if not share:
        return one
    return tuple(first + share * (second - first) for first, second in zip(one, other, strict=True))


def _log_odds(p: float) -> float:
    p = LEAST if p < LEAST else 1.0 - LEAST if p > 1.0 - LEAST else p
    return math.log(p / (1.0 - p))


def _probability(log_odds: float) -> float:
    # Weights near a perfect separation would overflow `exp`.
    return 1.0 / (1.0 + math.exp(-max(min(log_odds, 30.0), -30.0)))
