"""What is expected of one plan whose members are known: quality and its doubt, cost, latency, calls."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import NamedTuple

from msgspec import Struct

from router.decide.goals import Scale
from router.decide.plans.forecast import expected
from router.decide.plans.forecast.columns import PlanColumn
from router.decide.plans.forecast.expected import Constants, Expected
from router.decide.plans.forecast.vote import asked_at_once
from router.decide.plans.members import Members
from router.decide.plans.spec import (
    BestOf,
    Cascade,
    Chain,
    Committee,
    FixedGate,
    GateRule,
    Panel,
    PlanSpec,
    Reroute,
    Samples,
    Segments,
    Validators,
)
from router.perceive.exact import total
from router.types import Doubles, Forecast

_STEP = 0.01
"""The difference of a member's quality by which the plan's sensitivity to it is measured."""


class Price(Struct, frozen=True):
    """λ, in quality per dollar: `constant`, and what the goal `cheapest` adds, which falls with the expected cost.

    `cheapest` is the weight of that goal, `loss` the weight of the loss, `scale` the scale of costs where it is needed.
    """

    constant: float
    cheapest: float
    loss: float
    scale: Scale | None = None

    def at(self, cost_usd: float) -> float:
        """λ at an expected cost."""
        if self.scale is None:
            return self.constant / self.loss
        return (self.constant + self.cheapest * self.scale.slope(cost_usd)) / self.loss


class Figures(NamedTuple):
    """A plan on one prompt. `most_…` count every call that may be made; NaN where a member's forecast is unknown.

    `counted_usd` is the expected cost with unknown ones as goals count them. `reach` has the probability of each call.
    `column` is what the plan was forecast by, None if the closed forms forecast it.
    """

    quality: float
    compared: float
    mean_quality: float
    quality_std: float
    independent_std: float
    cost_usd: float
    counted_usd: float
    most_cost_usd: float
    latency_ms: float
    most_latency_ms: float
    most_ttft_ms: float
    written_tokens: float
    quality_per_usd: float
    calls: tuple[int, ...]
    reach: tuple[float, ...]
    answerer: int
    most_calls: int
    column: PlanColumn | None = None


class Calls(NamedTuple):
    """What is expected of the calls of a plan, one number for each. Qualities and deviations are 0 where unknown.

    `counted_usd` are the costs as goals count them, where they are unknown too.
    """

    quality: tuple[float, ...]
    mean_quality: tuple[float, ...]
    compared: tuple[float, ...]
    quality_std: tuple[float, ...]
    independent_std: tuple[float, ...]
    cost_usd: tuple[float, ...]
    ttft_ms: tuple[float, ...]
    latency_ms: tuple[float, ...]
    written_tokens: tuple[float, ...]
    counted_usd: tuple[float, ...]


_QUALITIES = operator.attrgetter("quality", "mean_quality", "choice_quality", "quality_std", "independent_std")
_COUNT_OF_QUALITIES = 5
_AMOUNTS = operator.attrgetter("cost_usd", "ttft_ms", "latency_ms", "written_tokens")


class Costs:
    """What calls cost and what else is expected of them, read once for each card that plans call.

    `counted_usd` are the costs as goals count them, `input_usd_per_mtok` those of a million tokens of input, of shape
    `(cards,)`.
    """

    def __init__(self, forecast: Forecast, counted_usd: Doubles, input_usd_per_mtok: Doubles) -> None:
        self.counted_usd, self.input_usd_per_mtok = counted_usd, input_usd_per_mtok
        # Plans call few of the cards, so their values are read one by one.
        self._columns = (*_QUALITIES(forecast), *_AMOUNTS(forecast), counted_usd)
        self._read: dict[int, list[float]] = {}

    @property
    def arrays(self) -> tuple[Doubles, ...]:
        """The fields of `Calls` and then `input_usd_per_mtok` for every card, each `(cards,)`."""
        return *self._columns, self.input_usd_per_mtok

    def of(self, members: Members, calls: Sequence[int]) -> Calls:
        """What is expected of each call; each part of a prompt has a forecast of its own."""
        if members.forecasts:
            reads = [self._of_part(part, card) for part, card in zip(members.forecasts, calls, strict=True)]
        else:
            reads = [self._of_card(card) for card in calls]
        return Calls(*zip(*reads, strict=True))

    def _of_card(self, card: int) -> list[float]:
        found = self._read.get(card)
        if found is None:
            found = self._read[card] = _known([column.item(card) for column in self._columns])
        return found

    def _of_part(self, part: Forecast, card: int) -> list[float]:
        usd = part.cost_usd.item(card)
        counted = self.counted_usd.item(card) if math.isnan(usd) else usd
        return _known([column.item(card) for column in (*_QUALITIES(part), *_AMOUNTS(part))] + [counted])


def _known(values: Sequence[float]) -> list[float]:
    """The fields of `Calls` of one call."""
    qualities = values[:_COUNT_OF_QUALITIES]
    return [*[0.0 if math.isnan(value) else value for value in qualities], *values[_COUNT_OF_QUALITIES:]]


def figures_of(
    plan: PlanSpec,
    members: Members,
    costs: Costs,
    price: Price,
    constants: Constants,
    column: PlanColumn | None = None,
) -> Figures:
    """The figures of a plan at the price of money that its own expected cost has, by its column where it has one."""
    positions, asked = members.calls, len(members.calls)
    if isinstance(plan, Samples):
        positions = positions * plan.n
    calls = costs.of(members, positions)
    cost_usd, counted, written = calls.cost_usd, calls.counted_usd, calls.written_tokens
    if isinstance(plan, Panel):
        # The writer reads what the members wrote.
        asked -= 1
        reading = total(written[:-1]) * costs.input_usd_per_mtok.item(positions[-1]) / 1e6
        cost_usd = (*cost_usd[:-1], cost_usd[-1] + reading)
        counted = (*counted[:-1], counted[-1] + (0.0 if math.isnan(reading) else reading))
    compares = calls.compared[:asked] != calls.quality[:asked]
    columns, steps = _columns(calls, asked, compares)
    value, result = _expected(plan, columns, counted, price, constants, column)
    quality, reach = result
    std, independent = _deviations(calls, quality, steps, constants.form_error if column is None else column.error)
    latency, most_latency, most_ttft = _times(plan, reach, calls.latency_ms, calls.ttft_ms)
    return Figures(
        quality=quality[0],
        compared=quality[2] if compares else quality[0],
        mean_quality=quality[1],
        quality_std=std,
        independent_std=independent,
        cost_usd=_sum(reach, cost_usd),
        counted_usd=_sum(reach, counted),
        most_cost_usd=_most(plan, cost_usd),
        latency_ms=latency,
        most_latency_ms=most_latency,
        most_ttft_ms=most_ttft,
        written_tokens=_sum(reach, written),
        quality_per_usd=value,
        calls=positions,
        reach=tuple(reach),
        answerer=_answerer(plan, members, reach),
        most_calls=1 + plan.handovers if isinstance(plan, Reroute) else len(positions),
        column=column,
    )


def _sum(weights: Sequence[float], values: Sequence[float]) -> float:
    return total(map(operator.mul, weights, values))


def _columns(calls: Calls, asked: int, compares: bool) -> tuple[list[Sequence[float]], list[float]]:
    """The qualities of the `asked` members: expected, on an average prompt, compared where that differs, then each one
    changed. With the changes, which go towards the middle.
    """
    base = calls.quality[:asked]
    columns: list[Sequence[float]] = [base, calls.mean_quality[:asked]]
    if compares:
        columns.append(calls.compared[:asked])
    steps = [-_STEP if quality > 0.5 else _STEP for quality in base]
    for member, step in enumerate(steps):
        columns.append((*base[:member], base[member] + step, *base[member + 1 :]))
    return columns, steps


def _expected(
    plan: PlanSpec,
    columns: Sequence[Sequence[float]],
    counted_usd: Sequence[float],
    price: Price,
    constants: Constants,
    measured: PlanColumn | None,
) -> tuple[float, Expected]:
    """The price of money, and what the plan is expected to achieve at it."""
    if measured is not None:
        by_column = functools.partial(measured.expected, columns)
        return _settled(price, counted_usd, by_column, by_column)
    match plan:
        case Cascade(gate=gate):
            separation, threshold = rule_of(gate, constants)

            def cascade(prices: Sequence[float], of: Sequence[Sequence[float]] = columns) -> Expected:
                return expected.cascade(of, prices, constants, separation=separation, threshold=threshold)

            return _settled(price, counted_usd, lambda prices: cascade(prices, columns[:1]), cascade)
        case Committee(gate=gate, agree=agree):
            separation, threshold = rule_of(gate, constants)
            votes = expected.votes(columns, constants, agree)

            def committee(prices: Sequence[float]) -> Expected:
                return votes.expected(prices, constants, separation=separation, threshold=threshold)

            return _settled(price, counted_usd, committee, committee)
        case Reroute(margin=margin, handovers=handovers):

            def reroute(prices: Sequence[float]) -> Expected:
                return expected.reroute(columns, prices, constants, margin=margin, handovers=handovers)

            return _settled(price, counted_usd, reroute, reroute)
    return price.at(counted_usd[0]), _priceless(plan, columns, constants)


def _settled(
    price: Price,
    counted_usd: Sequence[float],
    roughly: Callable[[Sequence[float]], Expected],
    exactly: Callable[[Sequence[float]], Expected],
) -> tuple[float, Expected]:
    """The price of money and the result at the prices of calls, where the price of money depends on the plan's cost.

    Of `roughly` only the probabilities of the calls are read.
    """
    value = price.at(counted_usd[0])
    if price.scale is not None:
        # The first guess is the least cost, so that more weight on money can only lower what the second gives.
        value = price.at(_sum(roughly([value * each for each in counted_usd]).reach, counted_usd))
    return value, exactly([value * each for each in counted_usd])


def _priceless(plan: PlanSpec, columns: Sequence[Sequence[float]], constants: Constants) -> Expected:
    """What a plan achieves whose calls do not depend on their prices."""
    match plan:
        case Samples(n=n, confidence=confidence):
            return expected.samples(columns, n, constants, confidence=confidence)
        case BestOf(validators=validators, parallel=parallel):
            return expected.best_of(columns, constants, caught=caught_by(validators, constants), parallel=parallel)
        case Panel():
            return expected.panel(columns)
        case Chain():
            return expected.chain(columns)
        case _:
            return expected.segments(columns)


def caught_by(validators: Validators, constants: Constants) -> float:
    """The share of wrong answers that the validators find."""
    stated = (validators.json_schema, validators.regex, validators.syntax) != (None, None, None)
    return constants.caught if stated else constants.caught_by_text


def rule_of(gate: GateRule, constants: Constants) -> tuple[float, float | None]:
    """How far apart the gate's signals are, and its threshold where that is fixed."""
    if isinstance(gate, FixedGate):
        return constants.separation, gate.threshold
    return (constants.separation if gate == "learned" else 0.0), None


def _deviations(
    calls: Calls, quality: Sequence[float], steps: Sequence[float], form_error: float
) -> tuple[float, float]:
    """The standard deviation of the plan's quality, and its part that cards do not share, by the delta method."""
    changed = quality[-len(steps) :]
    own, shared = form_error * form_error, 0.0
    # Of the calls, those of members come first.
    for value, step, std, independent in zip(changed, steps, calls.quality_std, calls.independent_std, strict=False):
        gradient = (value - quality[0]) / step
        if gradient > 0.0:
            gradient = min(gradient, 1.0)
            own += (gradient * independent) * (gradient * independent)
            shared += gradient * math.sqrt(max(std * std - independent * independent, 0.0))
    return math.sqrt(own + shared * shared), math.sqrt(own)


def _times(
    plan: PlanSpec, reach: Sequence[float], latency_ms: Sequence[float], ttft_ms: Sequence[float]
) -> tuple[float, float, float]:
    """Expected latency, the longest path, and the time to the first token on it, all in milliseconds."""
    match plan:
        case Cascade() | Chain():
            # The last call is relayed as it arrives.
            return _sum(reach, latency_ms), total(latency_ms), total(latency_ms[:-1]) + ttft_ms[-1]
        case Panel():
            longest = _max(latency_ms[:-1])
            return longest + latency_ms[-1], longest + latency_ms[-1], longest + ttft_ms[-1]
        case BestOf(parallel=True) | Segments():
            longest = _max(latency_ms)
            return longest, longest, ttft_ms[0] if isinstance(plan, Segments) else longest
        case Samples():
            return _times_of_samples(plan, reach, _max(latency_ms))
        case Reroute(handovers=handovers):
            drafts = _most_of(handovers - 1, latency_ms)
            return _sum(reach, latency_ms), _most_of(handovers, latency_ms), drafts + _max(ttft_ms[1:])
    longest = total(latency_ms)
    return _sum(reach, latency_ms), longest, longest


def _times_of_samples(plan: Samples, reach: Sequence[float], each_ms: float) -> tuple[float, float, float]:
    """The times of `_times`: all are calls of one card, the first ones at the same time."""
    at_once = asked_at_once(plan.n, plan.confidence)
    rounds = math.ceil(at_once / plan.caps.parallel)
    greatest = (rounds + plan.n - at_once) * each_ms
    return (rounds + total(reach[at_once:])) * each_ms, greatest, greatest


def _most(plan: PlanSpec, values: Sequence[float]) -> float:
    """The sum over the calls that a plan makes at most."""
    return _most_of(plan.handovers, values) if isinstance(plan, Reroute) else total(values)


def _most_of(later: int, values: Sequence[float]) -> float:
    """The first value and the greatest ones of the others, so many of `later`."""
    if any(map(math.isnan, values)):
        return math.nan
    return values[0] + total(sorted(values[1:], reverse=True)[:later])


def _max(values: Sequence[float]) -> float:
    # `max` depends on the place of a NaN.
    return math.nan if any(map(math.isnan, values)) else max(values)


def _answerer(plan: PlanSpec, members: Members, reach: Sequence[float]) -> int:
    """The position of the card that is expected to write what the client sees."""
    if members.writer is not None or isinstance(plan, Chain):
        return members.calls[-1]
    if not isinstance(plan, Cascade):
        return members.calls[0]
    delivers = [here - later for here, later in zip(reach, (*reach[1:], 0.0), strict=True)]
    return members.calls[delivers.index(max(delivers))]
