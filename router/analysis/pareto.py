"""The Pareto front between quality and a goal: the router's decisions at a series of weights λ of the goal."""

from __future__ import annotations

import datetime
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from msgspec import Struct

from router.decide.fields import NUMBERS, DecisionInputs
from router.errors import CallerError, did_you_mean
from router.pipeline import Router
from router.wire.chat.request import ChatRequest

if TYPE_CHECKING:
    from router.learn.data import RoutingSet

PLOT_SUFFIXES = (".png", ".svg", ".html")
_FIELD_OF = {"cheapest": "cost", "fastest": "latency", "smallest": "size"}
_EQUAL = 1e-12
WEIGHTS = (0.0, *(float(f"{weight:.2g}") for weight in np.logspace(-2.5, 1.5, 25)))


class Point(Struct, frozen=True):
    """The decisions at one weight of the goal.

    `quality` is the mean forecast quality, `value` the mean of the goal's quantity in its unit (USD, ms or parameters)
    over the chosen cards whose quantity is known, None where no quantity is known. `cards` are the chosen cards with
    their shares of the prompts. `measured_quality` is the mean measured score of the chosen cards over the prompts
    where the data set has one, None where it has none.
    """

    weight: float
    quality: float
    value: float | None
    cards: tuple[tuple[str, float], ...]
    measured_quality: float | None = None


class Sweep:
    """Decides the same requests at every weight of `goal`."""

    def __init__(self, router: Router, goal: str, policy: str, flags: str, today: datetime.date | None) -> None:
        """Raise CallerError for a goal without a quantity to plot."""
        if goal not in _FIELD_OF:
            known = ", ".join(_FIELD_OF)
            raise CallerError(f'--goal takes {known}; got "{goal}"{did_you_mean(goal, _FIELD_OF)}')
        self._router, self._goal, self._flags, self._today = router, goal, flags, today
        self._policy = router.policies.named(policy)
        self.field = _FIELD_OF[goal]
        self._number = NUMBERS[self.field]

    def unit(self, value: float | None) -> str:
        """Format `value` with its unit; `?` where it is unknown."""
        return "?" if value is None else self._number.show(value)

    def points(self, requests: Sequence[ChatRequest], outcomes: RoutingSet | None = None) -> list[Point]:
        """One point per weight, in ascending order. With `outcomes`, only cards that occur in them can be chosen."""
        unmeasured = {} if outcomes is None else _unmeasured(self._router, outcomes)
        return [self._point(weight, requests, outcomes, unmeasured) for weight in WEIGHTS]

    def _point(
        self,
        weight: float,
        requests: Sequence[ChatRequest],
        outcomes: RoutingSet | None,
        unmeasured: Mapping[str, str],
    ) -> Point:
        policy = msgspec.structs.replace(self._policy, goals={**self._policy.goals, self._goal: weight})
        chosen: Counter[str] = Counter()
        qualities: list[float] = []
        values: list[float] = []
        scores: list[float] = []
        for row, request in enumerate(requests):
            routed = self._router.route(
                request, flags=self._flags, policy=policy, unavailable=unmeasured, today=self._today
            )
            card = routed.decision.card
            chosen[card] += 1
            qualities.append(routed.decision.candidates[0].quality)
            inputs = DecisionInputs(self._router.catalog, routed.forecast, self._today)
            values.append(float(self._number.values(inputs)[self._router.catalog.position(card)]))
            if outcomes is not None:
                scores.append(_score(self._router, outcomes, row, card))
        known = [value for value in values if not math.isnan(value)]
        measured = [score for score in scores if not math.isnan(score)]
        return Point(
            weight=weight,
            quality=float(np.mean(qualities)),
            value=float(np.mean(known)) if known else None,
            cards=tuple((card, count / len(requests)) for card, count in chosen.most_common()),
            measured_quality=float(np.mean(measured)) if measured else None,
        )


def front_of(points: Sequence[Point]) -> tuple[Point, ...]:
    """The points that no other point dominates; of points with the same cards the first."""
    front: list[Point] = []
    for point in points:
        dominated = any(_dominates(other, point) for other in points)
        if not dominated and all(other.cards != point.cards for other in front):
            front.append(point)
    return tuple(front)


def _dominates(one: Point, two: Point) -> bool:
    if one.value is None or two.value is None:
        return False
    as_good = one.quality >= two.quality and one.value <= two.value
    return as_good and (one.quality - two.quality > _EQUAL or two.value - one.value > _EQUAL * two.value)


def _unmeasured(router: Router, outcomes: RoutingSet) -> dict[str, str]:
    return {
        card.id: f"has no outcome in {outcomes.name}"
        for card in router.catalog
        if _column(router, outcomes, card.id) is None
    }


def _column(router: Router, outcomes: RoutingSet, card: str) -> int | None:
    names = router.catalog.named(card).names
    return next((outcomes.models.index(name) for name in names if name in outcomes.models), None)


def _score(router: Router, outcomes: RoutingSet, row: int, card: str) -> float:
    column = _column(router, outcomes, card)
    return math.nan if column is None else float(outcomes.scores[row, column])
