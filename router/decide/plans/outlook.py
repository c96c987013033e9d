"""What is expected of one plan whose members are known: quality and its doubt, cost, latency, calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
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
    """What calls cost, of shape `(cards,)`: as forecast, as goals count it, and the input per token of a writer."""

    forecast: Forecast
    counted_usd: Doubles
    input_usd_per_token: Doubles


def figures_of(plan: PlanSpec, members: Members, costs: Costs, price: Price, constants: Constants) -> Figures:
    """The figures of a plan at the price of money that its own expected cost has."""
    positions = np.array(members.calls)
    if isinstance(plan, Samples):
        positions = np.repeat(positions, plan.n)
    forecast = costs.forecast
    cost_usd, counted = forecast.cost_usd[positions], costs.counted_usd[positions]
    latency_ms, ttft_ms = forecast.latency_ms[positions], forecast.ttft_ms[positions]
    if isinstance(plan, Panel):
        # The writer reads what the members wrote.
        read = forecast.written_tokens[positions[:-1]].sum() * costs.input_usd_per_token[positions[-1]]
        cost_usd, counted = cost_usd.copy(), counted.copy()
        cost_usd[-1] += read
        counted[-1] += 0.0 if np.isnan(read) else read
    columns = _columns(plan, members, forecast)
    value = price(float(counted[0]))
    result = _expected(plan, columns, value * counted, constants)
    if isinstance(plan, Cascade | Committee):
        # λ may depend on the plan's own cost. The first guess is the least one, so that more weight on money can only
        # lower what the second gives.
        again = price(float(result.reach @ counted))
        if again != value:
            value, result = again, _expected(plan, columns, again * counted, constants)
    quality = float(result.quality[0])
    std, independent = _deviations(plan, members, forecast, result)
    latency, most_latency, most_ttft = _times(plan, result.reach, latency_ms, ttft_ms)
    return Figures(
        quality=quality,
        compared=float(result.quality[1]),
        mean_quality=float(result.quality[2]),
        quality_std=std,
        independent_std=independent,
        cost_usd=float(result.reach @ cost_usd),
        counted_usd=float(result.reach @ counted),
        most_cost_usd=float(cost_usd.sum()),
        latency_ms=latency,
        most_latency_ms=most_latency,
        most_ttft_ms=most_ttft,
        written_tokens=float(forecast.written_tokens[positions] @ result.reach),
        quality_per_usd=value,
        calls=tuple(positions.tolist()),
        reach=tuple(result.reach.tolist()),
        answerer=_answerer(plan, members, result.reach),
    )


def _columns(plan: PlanSpec, members: Members, forecast: Forecast) -> Doubles:
    """The members' qualities: expected, compared, on an average prompt, then with each one changed by a step."""
    asked = np.array(members.calls[:-1] if isinstance(plan, Panel) else members.calls)
    base = forecast.quality[asked]
    varied = np.repeat(base[None], len(asked), axis=0)
    varied[np.arange(len(asked)), np.arange(len(asked))] += np.where(base > 0.5, -_STEP, _STEP)
    rows = np.vstack([base, forecast.choice_quality[asked], forecast.mean_quality[asked], varied])
    rows[np.isnan(rows)] = 0.0
    return rows


def _expected(  # noqa: PLR0911 - one case a kind
    plan: PlanSpec, p: Doubles, prices: Doubles, constants: Constants
) -> Expected:
    match plan:
        case Cascade(gate=gate):
            separation, threshold = _rule(gate, constants)
            return expected.cascade(p, prices, constants, separation=separation, threshold=threshold)
        case Committee(gate=gate, agree=agree):
            separation, threshold = _rule(gate, constants)
            return expected.committee(p, prices, constants, agree=agree, separation=separation, threshold=threshold)
        case Samples(n=n, confidence=confidence):
            return expected.samples(p, n, constants, agree=expected.equal_answers_needed(n, confidence))
        case BestOf(validators=validators, parallel=parallel):
            stated = (validators.json_schema, validators.regex, validators.syntax) != (None, None, None)
            caught = constants.caught if stated else constants.caught_by_text
            return expected.best_of(p, constants, caught=caught, parallel=parallel)
        case Panel():
            return expected.panel(p, p.shape[1] + 1)
        case Chain():
            return expected.chain(p)
        case Segments():
            return expected.segments(p)


def _rule(gate: GateRule, constants: Constants) -> tuple[float, float | None]:
    """How far apart the gate's signals are, and its threshold where that is fixed."""
    if isinstance(gate, FixedGate):
        return constants.separation, gate.threshold
    return (constants.separation if gate == "learned" else 0.0), None


def _deviations(plan: PlanSpec, members: Members, forecast: Forecast, result: Expected) -> tuple[float, float]:
    """The standard deviation of the plan's quality, and its part that cards do not share, by the delta method."""
    asked = np.array(members.calls[:-1] if isinstance(plan, Panel) else members.calls)
    steps = np.where(forecast.quality[asked] > 0.5, -_STEP, _STEP)
    gradient = np.clip((result.quality[3:] - result.quality[0]) / steps, 0.0, 1.0)
    independent = gradient * forecast.independent_std[asked]
    shared = gradient * np.sqrt(
        np.maximum(forecast.quality_std[asked] ** 2 - forecast.independent_std[asked] ** 2, 0.0)
    )
    own = float(independent @ independent)
    return float(np.sqrt(own + float(shared.sum()) ** 2)), float(np.sqrt(own))


def _times(plan: PlanSpec, reach: Doubles, latency_ms: Doubles, ttft_ms: Doubles) -> tuple[float, float, float]:
    """Expected latency, the longest path, and the time to the first token on it, all in milliseconds."""
    match plan:
        case Panel():
            members = float(latency_ms[:-1].max())
            whole = members + float(latency_ms[-1])
            return whole, whole, members + float(ttft_ms[-1])
        case BestOf(parallel=True):
            longest = float(latency_ms.max())
            return longest, longest, longest
        case Segments():
            longest = float(latency_ms.max())
            return longest, longest, float(ttft_ms[0])
        case Cascade() | BestOf() | Chain():
            # The last call is relayed as it arrives.
            return float(reach @ latency_ms), float(latency_ms.sum()), float(latency_ms[:-1].sum() + ttft_ms[-1])
        case _:
            return float(reach @ latency_ms), float(latency_ms.sum()), float(latency_ms.sum())


def _answerer(plan: PlanSpec, members: Members, reach: Doubles) -> int:
    """The position of the card that is expected to write what the client sees."""
    if members.writer is not None or isinstance(plan, Chain):
        return members.calls[-1]
    if not isinstance(plan, Cascade):
        return members.calls[0]
    delivers = reach - np.append(reach[1:], 0.0)
    return members.calls[int(delivers.argmax())]
