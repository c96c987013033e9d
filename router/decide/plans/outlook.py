"""What is expected of one plan whose members are known: quality and its doubt, cost, latency, calls."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from msgspec import Struct

from router.decide.plans import expected
from router.decide.plans.expected import Constants, Expected
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
    Samples,
    Segments,
)
from router.decide.plans.vote import asked_at_once
from router.types import Doubles, Forecast

_STEP = 0.01
"""The difference of a member's quality by which the plan's sensitivity to it is measured."""

Price = Callable[[float], float]
"""λ, in quality per dollar, at an expected cost in dollars."""


class Figures(NamedTuple):
    """A plan on one prompt. `most_…` count every call that may be made; NaN where a member's forecast is unknown.

    `counted_usd` is the expected cost with unknown ones as goals count them. `reach` has the probability of each call.
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


class Costs(Struct, frozen=True, eq=False):
    """What calls cost, of shape `(cards,)`: as forecast, as goals count it, and a million tokens of input."""

    forecast: Forecast
    counted_usd: Doubles
    input_usd_per_mtok: Doubles


def figures_of(plan: PlanSpec, members: Members, costs: Costs, price: Price, constants: Constants) -> Figures:
    """The figures of a plan at the price of money that its own expected cost has."""
    calls = members.calls * plan.n if isinstance(plan, Samples) else members.calls
    read = _Reading(members, calls, costs.forecast)
    cost_usd, latency_ms, ttft_ms = read("cost_usd"), read("latency_ms"), read("ttft_ms")
    written = read("written_tokens")
    counted = _at(costs.counted_usd, calls)
    if members.forecasts:
        counted = [each if math.isnan(usd) else usd for usd, each in zip(cost_usd, counted, strict=True)]
    if isinstance(plan, Panel):
        # The writer reads what the members wrote.
        reading = sum(written[:-1]) * costs.input_usd_per_mtok.item(calls[-1]) / 1e6
        cost_usd[-1] += reading
        counted[-1] += 0.0 if math.isnan(reading) else reading
    asked = len(members.calls) - isinstance(plan, Panel)
    columns, steps = _columns(read, asked)
    value = price(counted[0])
    result = _expected(plan, columns, [value * each for each in counted], constants)
    if isinstance(plan, Cascade | Committee):
        # λ may depend on the plan's own cost. The first guess is the least one, so that more weight on money can only
        # lower what the second gives.
        again = price(_sum(result.reach, counted))
        if again != value:
            value, result = again, _expected(plan, columns, [again * each for each in counted], constants)
    std, independent = _deviations(read, result.quality, steps, constants.form_error)
    latency, most_latency, most_ttft = _times(plan, result.reach, latency_ms, ttft_ms)
    return Figures(
        quality=result.quality[0],
        compared=result.quality[2] if read.compares else result.quality[0],
        mean_quality=result.quality[1],
        quality_std=std,
        independent_std=independent,
        cost_usd=_sum(result.reach, cost_usd),
        counted_usd=_sum(result.reach, counted),
        most_cost_usd=sum(cost_usd),
        latency_ms=latency,
        most_latency_ms=most_latency,
        most_ttft_ms=most_ttft,
        written_tokens=_sum(result.reach, written),
        quality_per_usd=value,
        calls=calls,
        reach=tuple(result.reach),
        answerer=_answerer(plan, members, result.reach),
    )


class _Reading:
    """Reads columns of the forecast for the calls of a plan; each part of a prompt has a forecast of its own."""

    def __init__(self, members: Members, calls: Sequence[int], forecast: Forecast) -> None:
        self._calls, self._forecast, self._parts = calls, forecast, members.forecasts
        self.compares = (members.forecasts[0] if members.forecasts else forecast).compared is not None

    def __call__(self, name: str) -> list[float]:
        if self._parts:
            return [getattr(each, name).item(card) for each, card in zip(self._parts, self._calls, strict=True)]
        return _at(getattr(self._forecast, name), self._calls)

    def known(self, name: str, count: int) -> list[float]:
        """The column of the first `count` calls, with 0 where it is unknown."""
        return [0.0 if math.isnan(value) else value for value in self(name)[:count]]


def _at(column: Doubles, positions: Sequence[int]) -> list[float]:
    return [column.item(position) for position in positions]


def _sum(weights: Sequence[float], values: Sequence[float]) -> float:
    return sum([weight * value for weight, value in zip(weights, values, strict=True)])


def _columns(read: _Reading, asked: int) -> tuple[list[list[float]], list[float]]:
    """The qualities of the `asked` members: expected, on an average prompt, compared where that differs, then each one
    changed. With the changes, which go towards the middle.
    """
    base = read.known("quality", asked)
    columns = [base, read.known("mean_quality", asked)]
    if read.compares:
        columns.append(read.known("compared", asked))
    steps = [-_STEP if quality > 0.5 else _STEP for quality in base]
    for member, step in enumerate(steps):
        changed = base.copy()
        changed[member] += step
        columns.append(changed)
    return columns, steps


def _expected(  # noqa: PLR0911 - one case a kind
    plan: PlanSpec, columns: Sequence[Sequence[float]], prices: Sequence[float], constants: Constants
) -> Expected:
    match plan:
        case Cascade(gate=gate):
            separation, threshold = _rule(gate, constants)
            return expected.cascade(columns, prices, constants, separation=separation, threshold=threshold)
        case Committee(gate=gate, agree=agree):
            separation, threshold = _rule(gate, constants)
            return expected.committee(
                columns, prices, constants, agree=agree, separation=separation, threshold=threshold
            )
        case Samples(n=n, confidence=confidence):
            return expected.samples(columns, n, constants, confidence=confidence)
        case BestOf(validators=validators, parallel=parallel):
            stated = (validators.json_schema, validators.regex, validators.syntax) != (None, None, None)
            caught = constants.caught if stated else constants.caught_by_text
            return expected.best_of(columns, constants, caught=caught, parallel=parallel)
        case Panel():
            return expected.panel(columns)
        case Chain():
            return expected.chain(columns)
        case Segments():
            return expected.segments(columns)


def _rule(gate: GateRule, constants: Constants) -> tuple[float, float | None]:
    """How far apart the gate's signals are, and its threshold where that is fixed."""
    if isinstance(gate, FixedGate):
        return constants.separation, gate.threshold
    return (constants.separation if gate == "learned" else 0.0), None


def _deviations(
    read: _Reading, quality: Sequence[float], steps: Sequence[float], form_error: float
) -> tuple[float, float]:
    """The standard deviation of the plan's quality, and its part that cards do not share, by the delta method."""
    changed = quality[-len(steps) :]
    stds, own_stds = read.known("quality_std", len(steps)), read.known("independent_std", len(steps))
    own, shared = form_error**2, 0.0
    for value, step, std, independent in zip(changed, steps, stds, own_stds, strict=True):
        gradient = min(max((value - quality[0]) / step, 0.0), 1.0)
        own += (gradient * independent) ** 2
        shared += gradient * math.sqrt(max(std * std - independent * independent, 0.0))
    return math.sqrt(own + shared * shared), math.sqrt(own)


def _times(
    plan: PlanSpec, reach: Sequence[float], latency_ms: Sequence[float], ttft_ms: Sequence[float]
) -> tuple[float, float, float]:
    """Expected latency, the longest path, and the time to the first token on it, all in milliseconds."""
    longest, total = _max(latency_ms), sum(latency_ms)
    match plan:
        case Panel():
            members = _max(latency_ms[:-1])
            return members + latency_ms[-1], members + latency_ms[-1], members + ttft_ms[-1]
        case BestOf(parallel=True):
            return longest, longest, longest
        case Segments():
            return longest, longest, ttft_ms[0]
        case Samples(n=n, confidence=confidence, caps=caps):
            # All are calls of one card; the first ones run at the same time.
            at_once = asked_at_once(n, confidence)
            rounds = math.ceil(at_once / caps.parallel)
            greatest = (rounds + n - at_once) * longest
            return (rounds + sum(reach[at_once:])) * longest, greatest, greatest
        case Cascade() | Chain():
            # The last call is relayed as it arrives.
            return _sum(reach, latency_ms), total, sum(latency_ms[:-1]) + ttft_ms[-1]
        case _:
            return _sum(reach, latency_ms), total, total


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
